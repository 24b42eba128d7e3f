"""Dead letters: background jobs that failed for good, kept within bounds, shown, tried again and dropped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs.access import THIS_MACHINE
from gearman_server.jobs.dead_letters import DeadLetterBounds
from gearman_server.jobs.events import StoreFailed
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.text_commands.listings import MAX_LOOKS, PATIENCE_S

from ..broker_harness import BatchStore, BrokerHarness, DurableBroker
from ..server_process import ServerProcess


def kill(
    broker: BrokerHarness, function: bytes = b"f", workload: bytes = b"w", unique: bytes = b"", error: bytes = b"boom"
) -> bytes:
    """A background job that fails; its handle."""
    handle = broker.peer().submit(function, workload, unique, "SUBMIT_JOB_BG")
    worker = broker.worker(function)
    assert worker.grab() == handle
    worker.send(WORK_FAILURE, handle, b"fail", b"", b"", error, b"Traceback:\n  line 1\n" + error)
    worker.leave()
    return handle


def listed(broker: BrokerHarness, conditions: bytes = b"") -> list[bytes]:
    """The handles that `dead list` names, all pages together."""
    handles, after = [], b""
    operator = broker.peer()
    while True:
        *rows, end = operator.text(b"dead list " + conditions + after).split(b"\n")[:-1]
        assert end == b"."
        cells = [row.split(b"\t") for row in rows]
        handles += [row[0] for row in cells if len(row) > 2]
        if not cells or len(cells[-1]) != 2:
            return handles
        after = b" after=" + cells[-1][1]


def shown(broker: BrokerHarness, handle: bytes) -> dict[bytes, bytes]:
    """What `dead show` says, by name."""
    answer = broker.peer().text(b"dead show " + handle)
    assert answer.endswith(b"\n.\n")
    return dict(line.split(b"\t") for line in answer.split(b"\n")[:-2])


# --- what is kept


def test_a_background_job_that_failed_is_kept_with_all_that_is_known_of_it(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"mail": FunctionPolicy(retries=1, backoff_s=10, crash_retries=5)})
    broker.now = 5000.0
    started = broker.unix_time
    handle = broker.peer().submit(b"mail", b"to\0whom\n", b"u1", "SUBMIT_JOB_LOW_BG")
    broker.advance(3)
    worker = broker.worker(b"mail")
    worker.grab()
    worker.leave()
    worker = broker.worker(b"mail")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    broker.advance(10)
    worker.grab()
    broker.advance(2)
    worker.send(WORK_FAILURE, handle, b"fail", b"", b"", b"ValueError: no\tsuch", b"Traceback\nhere")
    assert broker.status(b"mail") == (0, 0, 1)
    line = broker.peer().text(b"dead list")
    assert line == (
        handle + b"\tmail\tlow\t3\t%.3f\t8\tu1\tValueError: no\\x09such\tto\\x00whom\\x0a\n.\n" % (started + 15)
    )
    assert shown(broker, handle) == {
        b"handle": handle,
        b"function": b"mail",
        b"unique": b"u1",
        b"priority": b"low",
        b"failures": b"2",
        b"losses": b"1",
        b"submitted": b"%.3f" % started,
        b"first_attempt": b"%.3f" % (started + 3),
        b"last_attempt": b"%.3f" % (started + 13),
        b"died": b"%.3f" % (started + 15),
        b"error": b"ValueError: no\\x09such",
        b"traceback": b"Traceback\\x0ahere",
        b"bytes": b"8",
        b"workload": b"to\\x00whom\\x0a",
    }


def test_what_text_prints_is_shown_as_it_is_and_nothing_else(broker: BrokerHarness) -> None:
    handle = kill(broker, workload="größer\\kleiner \x1b[31m \u202e".encode() + b"\xff")
    assert shown(broker, handle)[b"workload"].decode() == r"größer\x5ckleiner \x1b[31m \xe2\x80\xae\xff"


@pytest.mark.parametrize("how", ["WORK_FAIL", "WORK_EXCEPTION", "fail job", "lost", "timeout", "rejected"])
def test_however_it_failed_it_is_kept(make_broker: Callable[..., BrokerHarness], how: str) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(crash_retries=0, timeout_s=5, retries=0)})
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker = broker.worker(b"f")
    worker.grab()
    if how == "lost":
        worker.leave()
    elif how == "fail job":
        broker.peer().text(b"fail job " + handle + b" timeout")
    elif how == "timeout":
        broker.advance(7)
    elif how == "rejected":
        worker.send(WORK_FAILURE, handle, b"reject", b"", b"", b"why", b"")
    else:
        worker.send(PacketType[how], handle, *([b"why"] if how == "WORK_EXCEPTION" else []))
    assert listed(broker) == [handle]


def test_foreground_cancelled_abandoned_and_finished_jobs_are_not_kept(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    foreground = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, foreground)
    client.take()
    cancelled = client.submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    client.text(b"cancel job " + cancelled)
    worker.send(PacketType.WORK_FAIL, cancelled)
    waiting = client.submit(b"f", kind="SUBMIT_JOB_BG")
    client.text(b"cancel job " + waiting)
    done = client.submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, done, b"r")
    assert listed(broker) == []


# --- bounds


def test_the_oldest_go_when_there_are_too_many(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_count=3))
    handles = [kill(broker) for _ in range(5)]
    assert listed(broker) == handles[2:]


def test_the_oldest_go_when_they_take_too_much(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_bytes=20_000))
    handles = [kill(broker, workload=b"w" * 4000) for _ in range(9)]
    assert listed(broker) == handles[-4:]
    kill(broker, workload=b"w" * 30_000)  # more than all together may take: it is told in the log
    assert listed(broker) == handles[-4:]
    assert broker.broker.dead_letters.size_bytes <= 20_000


def test_they_go_when_they_are_too_old(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_age_s=100))
    old = kill(broker)
    broker.advance(60)
    young = kill(broker)
    broker.advance(39)
    assert listed(broker) == [old, young]
    broker.advance(2)
    assert listed(broker) == [young]
    broker.advance(61)
    assert listed(broker) == []
    assert broker.broker.next_due is None


def test_with_a_count_of_zero_none_are_kept(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_count=0))
    kill(broker)
    assert listed(broker) == []


def test_errors_and_tracebacks_are_cut(broker: BrokerHarness) -> None:
    handle = kill(broker, error=b"e" * 100_000)
    fields = shown(broker, handle)
    assert len(fields[b"error"]) == 4096
    assert len(fields[b"traceback"]) == 32 * 1024


# --- lists


def test_a_list_comes_by_function_and_age(broker: BrokerHarness) -> None:
    first = kill(broker, b"f")
    broker.advance(100)
    second, third = kill(broker, b"a b"), kill(broker, b"f")
    assert listed(broker, b"function=f") == [first, third]
    assert listed(broker, b"function=a%20b") == [second]
    assert listed(broker, b"older=99") == [first]
    assert listed(broker, b"function=f older=101") == []


def test_a_long_list_comes_in_pages_that_bear_changes(broker: BrokerHarness) -> None:
    handles = [kill(broker) for _ in range(25)]
    operator = broker.peer()
    rows = operator.text(b"dead list limit=10").split(b"\n")[:-2]
    assert [row.split(b"\t")[0] for row in rows[:-1]] == handles[:10]
    cursor = rows[-1].split(b"\t")[1]
    operator.text(b"dead drop " + b" ".join(handles[5:12]))
    kill(broker)
    rows = operator.text(b"dead list limit=100 after=" + cursor).split(b"\n")[:-2]
    assert [row.split(b"\t")[0] for row in rows] == handles[12:]


def test_a_cursor_is_good_for_a_while(broker: BrokerHarness) -> None:
    for _ in range(3):
        kill(broker)
    operator = broker.peer()
    cursor = operator.text(b"dead list limit=1").split(b"\t")[-1].split(b"\n")[0]
    broker.advance(PATIENCE_S + 1)
    assert operator.text(b"dead list after=" + cursor).startswith(b"ERR UNKNOWN_CURSOR ")
    assert operator.text(b"dead list after=1.x").startswith(b"ERR UNKNOWN_CURSOR ")


def test_of_begun_lists_a_few_are_kept(broker: BrokerHarness) -> None:
    for _ in range(3):
        kill(broker)
    operator = broker.peer()
    cursors = [operator.text(b"dead list limit=1").split(b"\t")[-1].split(b"\n")[0] for _ in range(5)]
    assert operator.text(b"dead list after=" + cursors[0]).startswith(b"ERR UNKNOWN_CURSOR ")
    assert operator.text(b"dead list after=" + cursors[4]).count(b"\n") == 3


def test_a_page_looks_at_so_many_and_may_be_empty(broker: BrokerHarness) -> None:
    for number in range(MAX_LOOKS + 10):
        kill(broker, b"f" if number else b"g")
    answer = broker.peer().text(b"dead list function=h")
    assert answer.startswith(b"next\t")
    assert len(listed(broker, b"function=g")) == 1
    assert listed(broker, b"function=h") == []


# --- trying again


def test_a_dead_job_is_tried_again_under_its_handle_as_if_for_the_first_time(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0)})
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", b"load", b"u", "SUBMIT_JOB_HIGH_BG")
    for _ in range(2):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_FAIL, handle)
    worker.send(PacketType.PRE_SLEEP)
    assert client.text(b"dead retry " + handle) == b"OK 1\n"
    assert listed(broker) == []
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert client.submit(b"f", b"load", b"u", "SUBMIT_JOB_BG") == handle
    worker.ask(PacketType.OPTION_REQ, b"job-attempt")
    [(_, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert body == b"\0".join((handle, b"f", b"u", b"1", b"load"))
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    assert listed(broker) == [handle]


def test_one_whose_unique_key_another_job_has_stays(broker: BrokerHarness) -> None:
    handle = kill(broker, unique=b"u")
    other = broker.peer().submit(b"f", unique=b"u")
    assert broker.peer().text(b"dead retry " + handle) == b"OK 0\n"
    assert listed(broker) == [handle]
    broker.peer().text(b"cancel job " + other)
    assert broker.peer().text(b"dead retry " + handle) == b"OK 1\n"


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_many_are_chosen_by_function_by_age_or_all(broker: BrokerHarness, command: bytes) -> None:
    old = [kill(broker, b"f"), kill(broker, b"g")]
    broker.advance(100)
    young = [kill(broker, b"f"), kill(broker, b"g")]
    operator = broker.peer()
    assert operator.text(b"dead " + command + b" function=f older=50") == b"OK 1\n"
    assert listed(broker) == [old[1], *young]
    assert operator.text(b"dead " + command + b" function=g") == b"OK 2\n"
    assert operator.text(b"dead " + command + b" all") == b"OK 1\n"
    assert operator.text(b"dead " + command + b" all") == b"OK 0\n"
    assert sum(broker.status(name)[0] for name in (b"f", b"g")) == (4 if command == b"retry" else 0)


def test_very_many_are_changed_a_few_at_a_time_and_the_answer_follows(broker: BrokerHarness) -> None:
    for _ in range(1200):
        kill(broker)
    operator, other = broker.peer(), broker.peer()
    assert operator.text(b"dead retry all") == b""
    assert operator.text(b"version") == b""  # answered in its turn
    assert other.text(b"version") == b"OK 1.2.3\n"
    assert 0 < broker.status(b"f")[0] < 1200
    while broker.broker.next_due is not None and broker.broker.next_due <= broker.now:
        broker.advance(0)
    assert b"".join(operator.session.out) == b"OK 1200\nOK 1.2.3\n"
    assert broker.status(b"f")[0] == 1200


def test_who_leaves_before_the_answer_misses_nothing_but_that(broker: BrokerHarness) -> None:
    for _ in range(1200):
        kill(broker)
    operator = broker.peer()
    operator.text(b"dead drop all")
    operator.leave()
    broker.advance(0)
    broker.advance(0)
    broker.advance(0)
    assert listed(broker) == []


# --- who may, and mistakes


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_only_administrators_change_something(make_broker: Callable[..., BrokerHarness], command: bytes) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    handle = kill(broker)
    assert broker.peer().text(b"dead " + command + b" " + handle).startswith(b"ERR NOT_ALLOWED ")
    assert listed(broker) == [handle]
    assert broker.peer("127.0.0.1").text(b"dead " + command + b" " + handle) == b"OK 1\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"dead", b"INVALID_ARGUMENTS"),
        (b"dead rise", b"INVALID_ARGUMENTS"),
        (b"dead list H:x:1", b"INVALID_ARGUMENTS"),
        (b"dead list limit=many", b"INVALID_ARGUMENTS"),
        (b"dead list older=-1", b"INVALID_ARGUMENTS"),
        (b"dead list older=nan", b"INVALID_ARGUMENTS"),
        (b"dead list state=running", b"INVALID_ARGUMENTS"),
        (b"dead show", b"UNKNOWN_JOB"),
        (b"dead show H:x:1", b"UNKNOWN_JOB"),
        (b"dead retry", b"INVALID_ARGUMENTS"),
        (b"dead drop limit=3", b"INVALID_ARGUMENTS"),
    ],
)
def test_mistakes_are_named(broker: BrokerHarness, line: bytes, code: bytes) -> None:
    answer = broker.peer().text(line)
    assert answer.startswith(b"ERR " + code + b" ")
    assert answer.endswith(b"\r\n")
    assert b" " not in answer.removeprefix(b"ERR " + code + b" ")


def test_handles_that_are_not_there_count_for_nothing(broker: BrokerHarness) -> None:
    assert broker.peer().text(b"dead drop H:x:1 H:x:2 H:x:3 H:x:4") == b"OK 0\n"


# --- durable


def kill_durably(durable: DurableBroker) -> bytes:
    client, worker = durable.peer(), durable.worker(b"f")
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.commit()
    [(_, handle)] = client.take()
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    return handle


def test_the_store_is_told_of_every_letter(durable: DurableBroker, batch_store: BatchStore) -> None:
    handle = kill_durably(durable)
    assert list(batch_store.letters) == [handle]
    durable.commit()
    assert batch_store.rows == {}
    assert durable.peer().text(b"dead retry " + handle) == b"OK 1\n"
    assert batch_store.letters == {}
    durable.commit()
    assert list(batch_store.rows) == [handle]


def test_a_dead_job_that_can_not_be_stored_again_is_a_letter_again(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    handle = kill_durably(durable)
    durable.commit()
    durable.peer().text(b"dead retry " + handle)
    batch_store.start_commit()
    failed, batch_store.in_flight = batch_store.in_flight, []
    durable.broker.inserts_failed(failed)
    assert listed(durable) == [handle]
    assert list(batch_store.letters) == [handle]
    assert durable.status(b"f") == (0, 0, 1)


def test_the_letter_of_a_job_that_runs_though_it_could_not_be_stored_again_is_kept(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    handle = kill_durably(durable)
    durable.commit()
    durable.peer().text(b"dead retry " + handle)
    worker = durable.worker(b"f")
    assert worker.grab() == handle
    batch_store.start_commit()
    failed, batch_store.in_flight = batch_store.in_flight, []
    durable.broker.inserts_failed(failed)
    # Were the server killed now, nothing else would be left of the job.
    assert (listed(durable), list(batch_store.letters)) == ([handle], [handle])
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"r") == []


def test_nothing_is_tried_again_while_the_store_is_in_trouble(durable: DurableBroker) -> None:
    handle = kill_durably(durable)
    durable.store.verdicts.append(StoreFailed("no space left"))
    durable.broker.settle()
    assert durable.peer().text(b"dead retry " + handle).startswith(b"ERR QUEUE_ERROR ")
    assert listed(durable) == [handle]


def test_letters_of_an_earlier_run_come_back(make_broker: Callable[..., BrokerHarness]) -> None:
    earlier, later = make_broker(), make_broker(dead_letters=DeadLetterBounds(max_count=2))
    letters = []
    for _ in range(3):
        handle = kill(earlier)
        letters.append(earlier.broker.dead_letters.by_handle[handle])
        earlier.advance(1)
    later.broker.restore_dead(letters, later.now)
    assert listed(later) == [letter.handle for letter in letters[1:]]


# --- the running server


def test_the_options_bound_what_a_server_keeps(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--dead-letters", "1", "--dead-letters-size", "10000", "--dead-letters-age", "3600", "-vvv")
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handles = []
    for _ in range(2):
        handles.append(client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[1])
        worker.ask(PacketType.GRAB_JOB)
        worker.send(PacketType.WORK_EXCEPTION, handles[-1], b"boom")
        worker.sync()
        server.wait_for_log(f"job {handles[-1].decode()} of f: kept as a dead letter after 1 attempts: boom")
    server.wait_for_log("1 dead letters are forgotten: there are too many")
    rows = server.text(b"dead list").split(b"\n")
    assert [row.split(b"\t")[0] for row in rows] == [handles[1], b".", b""]
    assert server.text(b"dead drop all") == b"OK 1\n"
