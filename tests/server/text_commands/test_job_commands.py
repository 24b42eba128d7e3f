"""`jobs list|show|keys|count|purge`: the queue as an operator sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType, encode_request
from gearman_server.jobs.access import THIS_MACHINE
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.options.text_search import READ_BYTES
from gearman_server.text_commands import listings
from gearman_server.text_commands.arguments import MAX_LINES
from gearman_server.text_commands.walk import LOOKS, STEP_BYTES

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess

#: What is read of a long workload.
BEGIN = b"-" * READ_BYTES


def rows_of(broker: BrokerHarness, conditions: bytes = b"") -> list[list[bytes]]:
    """The rows of `jobs list`, all pages together."""
    rows, after = [], b""
    operator = broker.peer()
    while True:
        answer = operator.text(b"jobs list " + conditions + after)
        assert answer.endswith(b".\n")
        page = [line.split(b"\t") for line in answer.split(b"\n")[:-2]]
        rows += [row for row in page if len(row) > 2]
        if not page or len(page[-1]) != 2:
            return rows
        after = b" after=" + page[-1][1]


def handles_of(broker: BrokerHarness, conditions: bytes = b"") -> list[bytes]:
    return [row[0] for row in rows_of(broker, conditions)]


def submit(
    broker: BrokerHarness,
    function: bytes = b"f",
    workload: bytes = b"w",
    unique: bytes = b"",
    kind: str = "SUBMIT_JOB_BG",
) -> bytes:
    return broker.peer().submit(function, workload, unique, kind)


def test_a_list_shows_state_attempt_age_and_a_preview(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=100)})
    running = submit(broker, workload=b"\x00\x01" + b"x" * 100, unique=b"u\t1")
    worker = broker.worker(b"f")
    failed = submit(broker)
    broker.advance(10)
    assert [worker.grab(), worker.grab()] == [running, failed]
    worker.send(PacketType.WORK_FAIL, failed)
    cancelled = submit(broker, b"g")
    worker.can_do(b"g").grab()
    broker.peer().text(b"cancel job " + cancelled)
    client = broker.peer()
    waiting = client.submit(b"g", kind="SUBMIT_JOB_HIGH")
    broker.advance(5)
    preview = b"\\x00\\x01" + b"x" * 62
    assert rows_of(broker) == [
        [running, b"f", b"running", b"normal", b"1", b"15.000", b"5.000", b"102", b"1", b"u\\x091", preview],
        [failed, b"f", b"delayed", b"normal", b"2", b"15.000", b"5.000", b"1", b"1", b"", b"w"],
        [cancelled, b"g", b"cancelled", b"normal", b"1", b"5.000", b"5.000", b"1", b"1", b"", b"w"],
        [waiting, b"g", b"waiting", b"high", b"1", b"5.000", b"5.000", b"0", b"0", b"", b""],
    ]
    assert handles_of(broker, b"state=running") == [running]
    assert handles_of(broker, b"function=g state=waiting") == [waiting]
    assert handles_of(broker, b"older=10") == [running, failed]


def test_show_gives_all_that_is_known_of_one_job(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0)})
    client, worker = broker.peer(), broker.worker(b"f")
    worker.send(PacketType.SET_CLIENT_ID, b"gm:box/f/1")
    handle = client.submit(b"f", b"a\\b", b"u", "SUBMIT_JOB_LOW")
    worker.grab()
    worker.send(PacketType.WORK_EXCEPTION, handle, b"boom")
    broker.advance(2)
    worker.grab()
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"3")
    lines = broker.peer().text(b"jobs show " + handle).split(b"\n")
    assert lines[-2:] == [b".", b""]
    assert dict(line.split(b"\t") for line in lines[:-2]) == {
        b"handle": handle,
        b"function": b"f",
        b"unique": b"u",
        b"priority": b"low",
        b"state": b"running",
        b"background": b"0",
        b"clients": b"1",
        b"attempt": b"2",
        b"failures": b"1",
        b"losses": b"0",
        b"submitted": b"%.3f" % (broker.unix_time - 2),
        b"since": b"%.3f" % broker.unix_time,
        b"not_before": b"",
        b"expires": b"",
        **dict.fromkeys((b"options", b"tags", b"key", b"headers", b"cursor"), b""),
        b"worker": b"gm:box/f/1",
        b"address": b"192.0.2.1:50000",
        b"progress": b"1/3",
        b"data": b"",
        b"error": b"boom",
        b"traceback": b"",
        b"bytes": b"3",
        b"workload": b"a\\x5cb",
    }


def test_a_running_background_job_shows_the_beginning_of_the_data_that_it_sent_last(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0)})
    handle, worker, looker = submit(broker), broker.worker(b"f"), broker.peer()
    worker.grab()

    def data() -> bytes:
        shown: bytes = looker.text(b"jobs show " + handle)
        return shown.partition(b"\ndata\t")[2].partition(b"\n")[0]

    worker.send(PacketType.WORK_DATA, handle, b"first")
    worker.send(PacketType.WORK_DATA, handle, b"a\tb\0" + b"x" * 600)
    assert data() == b"a\\x09b\\x00" + b"x" * 508
    worker.send(PacketType.WORK_DATA, handle)  # as Perl's worker sends none
    assert data() == b""
    worker.send(PacketType.WORK_DATA, handle, b"last")
    worker.send(PacketType.WORK_FAIL, handle)
    worker.grab()
    assert data() == b""  # another attempt
    client = broker.peer()
    waited_for = client.submit(b"f")
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    worker.grab()
    worker.send(PacketType.WORK_DATA, waited_for, b"its client has it")
    assert b"\ndata\t\n" in looker.text(b"jobs show " + waited_for)


@pytest.mark.parametrize("wait", ["epoch", "retry"])
def test_a_job_that_waits_shows_its_time(make_broker: Callable[..., BrokerHarness], wait: str) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=50)})
    if wait == "epoch":
        at = int(broker.unix_time) + 50
        [(_, handle)] = broker.peer().ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % at, b"w")
    else:
        handle = submit(broker)
        worker = broker.worker(b"f")
        worker.grab()
        worker.send(PacketType.WORK_FAIL, handle)
    assert b"\nnot_before\t%.3f\n" % (broker.unix_time + 50) in broker.peer().text(b"jobs show " + handle)


def test_purging_cancels_the_waiting_jobs_of_a_function_and_nothing_else(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=100)})
    worker = broker.worker(b"f")
    running, failed = submit(broker), submit(broker)
    assert [worker.grab(), worker.grab()] == [running, failed]
    worker.send(PacketType.WORK_FAIL, failed)
    client = broker.peer()
    waiting = client.submit(b"f")
    epoch = b"%d" % (broker.unix_time + 100)
    client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", epoch, b"w")
    other = submit(broker, b"g")
    assert broker.peer().text(b"jobs purge function=f") == b"OK 3\n"
    assert client.take() == [(PacketType.WORK_FAIL, waiting)]
    assert handles_of(broker) == [running, other]
    assert broker.status(b"f") == (1, 1, 1)
    broker.advance(200)
    assert worker.grab() is None


def test_purging_can_spare_young_jobs(broker: BrokerHarness) -> None:
    submit(broker)
    broker.advance(100)
    young = submit(broker)
    assert broker.peer().text(b"jobs purge function=f older=50") == b"OK 1\n"
    assert handles_of(broker) == [young]


def test_jobs_that_came_after_a_moment_are_neither_counted_nor_purged(broker: BrokerHarness) -> None:
    early = [submit(broker), submit(broker)]
    assert broker.worker(b"f").grab() == early[0]
    operator = broker.peer()
    moment = operator.text(b"jobs clock").split()[1]
    broker.advance(0.001)
    late = submit(broker, b"g")
    counts = dict(line.split(b"\t") for line in operator.text(b"jobs count").splitlines()[:-1])
    assert counts == {
        b"waiting": b"2",
        b"running": b"1",
        **dict.fromkeys((b"delayed", b"stopping", b"cancelled", b"ended"), b"0"),
    }
    assert b"waiting\t1\n" in operator.text(b"jobs count until=" + moment)
    assert b"waiting\t0\n" in operator.text(b"jobs count state=running until=" + moment)
    assert handles_of(broker, b"until=" + moment) == early
    assert operator.text(b"jobs purge all state=delayed until=" + moment) == b"OK 0\n"
    assert operator.text(b"jobs purge all until=" + moment) == b"OK 1\n"
    assert handles_of(broker) == [early[0], late]


def test_very_many_jobs_are_purged_a_few_at_a_time(broker: BrokerHarness) -> None:
    for _ in range(1300):
        submit(broker)
    operator = broker.peer()
    operator.begin((0, b"jobs purge function=f"))
    assert operator.take_bytes() == b""
    late = submit(broker)
    assert 0 < broker.status(b"f")[0] < 1300
    broker.do_chores()
    assert operator.take_bytes() == b"OK 1300\n"
    assert handles_of(broker) == [late]


def test_only_administrators_can_purge(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    submit(broker)
    assert broker.peer().text(b"jobs purge function=f").startswith(b"ERR NOT_ALLOWED ")
    assert broker.peer("::1").text(b"jobs purge function=f") == b"OK 1\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"jobs", b"INVALID_ARGUMENTS"),
        (b"jobs eat", b"INVALID_ARGUMENTS"),
        (b"jobs list state=sleeping", b"INVALID_ARGUMENTS"),
        (b"jobs list f", b"INVALID_ARGUMENTS"),
        (b"jobs list after=7.1", b"UNKNOWN_CURSOR"),
        (b"jobs list after=7.1.9", b"UNKNOWN_CURSOR"),
        (b"jobs list text=", b"INVALID_ARGUMENTS"),
        (b"jobs list looks=few", b"INVALID_ARGUMENTS"),
        (b"jobs count looks=1", b"INVALID_ARGUMENTS"),
        (b"jobs list since=yesterday", b"INVALID_ARGUMENTS"),
        (b"jobs purge since=1", b"INVALID_ARGUMENTS"),
        (b"jobs show H:x:1", b"UNKNOWN_JOB"),
        (b"jobs purge", b"INVALID_ARGUMENTS"),
        (b"jobs purge f", b"INVALID_ARGUMENTS"),
        (b"jobs purge function=f f", b"INVALID_ARGUMENTS"),
        (b"jobs purge function=f limit=1", b"INVALID_ARGUMENTS"),
        (b"jobs purge all f", b"INVALID_ARGUMENTS"),
        (b"jobs purge all state=running", b"INVALID_ARGUMENTS"),
        (b"jobs count state=idle", b"INVALID_ARGUMENTS"),
        (b"jobs count H:x:1", b"INVALID_ARGUMENTS"),
    ],
)
def test_mistakes_are_named(broker: BrokerHarness, line: bytes, code: bytes) -> None:
    assert broker.peer().text(line).startswith(b"ERR " + code + b" ")


def test_a_page_of_a_long_queue_is_limited(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    client = server.peer()
    submission = encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    for _ in range(10):
        client.socket.sendall(submission * 1000)
        for _ in range(1000):
            client.receive()
    operator = server.peer()
    assert operator.text(b"jobs list limit=1000000").count(b"\n") == MAX_LINES + 2
    assert operator.text(b"jobs list function=none") == b".\n"  # all of them were looked at
    assert operator.text(b"jobs purge function=f") == b"OK 10000\n"


# --- by text, unique key and time


def test_jobs_are_found_by_a_text_in_their_workload_or_error(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=100)})
    failed = submit(broker, workload=b"x")
    worker = broker.worker(b"f")
    worker.grab()
    worker.send(WORK_FAILURE, failed, b"fail", b"", b"", b"No route to Host", b"in dial.py")
    running = submit(broker, workload=b'{"to": "Ann@example.com"}')
    worker.grab()
    waiting = submit(broker, b"g", b"100% of ann@example.com\n")
    epoch = b"%d" % (broker.unix_time + 100)
    [(_, delayed)] = broker.peer().ask(PacketType.SUBMIT_JOB_EPOCH, b"g", b"", epoch, b"ann@example.org")
    assert handles_of(broker, b"text=ANN@EXAMPLE.com") == [running, waiting]
    assert handles_of(broker, b"text=ann@ state=delayed") == [delayed]
    assert handles_of(broker, b"text=to%20host") == handles_of(broker, b"text=dial.py") == [failed]
    assert handles_of(broker, b"text=100%25%20of%20ann@example.com%0a") == [waiting]
    assert handles_of(broker, b"text=nobody") == []
    operator = broker.peer()
    assert b"waiting\t1\nrunning\t1\n" in operator.text(b"jobs count text=ann@example.com").replace(
        b"delayed\t0\n", b""
    )
    assert operator.text(b"jobs purge text=ann@") == b"OK 2\n"  # not the one that runs
    assert handles_of(broker) == [failed, running]


def test_jobs_are_found_by_unique_key_and_by_the_time_of_their_submission(broker: BrokerHarness) -> None:
    first = submit(broker, unique=b"a b")
    broker.advance(10)
    begin = broker.unix_time
    second = submit(broker, unique=b"a")
    broker.advance(10)
    third = submit(broker)
    assert handles_of(broker, b"unique=a%20b") == [first]
    assert handles_of(broker, b"unique=a") == [second]
    assert handles_of(broker, b"since=%f" % begin) == [second, third]
    assert handles_of(broker, b"since=%f until=%f" % (begin, begin + 5)) == [second]
    operator = broker.peer()
    assert operator.text(b"jobs purge unique=a") == b"OK 1\n"
    assert operator.text(b"jobs purge all since=%f" % begin) == b"OK 1\n"
    assert handles_of(broker) == [first]


def test_of_given_jobs_those_that_wait_are_purged(broker: BrokerHarness) -> None:
    running, waiting, other = submit(broker), submit(broker), submit(broker)
    assert broker.worker(b"f").grab() == running
    assert broker.peer().text(b"jobs purge %s %s H:gone:1" % (running, waiting)) == b"OK 1\n"
    assert handles_of(broker) == [running, other]


def test_long_searches_are_made_in_steps_and_a_cursor_says_where_they_stopped(
    broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MAX_LOOKS", 2 * LOOKS)
    for _ in range(2 * LOOKS):
        submit(broker)
    last = submit(broker, workload=b"needle")
    operator = broker.peer()
    operator.begin((0, b"jobs list text=needle"))
    assert operator.take_bytes() == b""  # others have their turns after the first step
    broker.do_chores()
    answer = operator.take_bytes()
    assert answer == b"next\t1.%d.%d\n.\n" % (2 * LOOKS, 2 * LOOKS + 1)
    assert operator.text(b"jobs list text=needle after=" + answer.split()[1]).startswith(last + b"\t")
    assert operator.text(b"jobs list text=needle after=" + answer.split()[1]).startswith(b"ERR UNKNOWN_CURSOR ")


def test_a_page_ends_behind_so_many_jobs_as_it_is_to_look_at(broker: BrokerHarness) -> None:
    handles = [submit(broker, workload=b"needle" if number in (0, 1, 4) else b"hay") for number in range(5)]
    operator = broker.peer()
    assert operator.text(b"jobs list text=straw looks=2") == b"next\t1.2.5\n.\n"
    for looks, found in ((2, handles[:2]), (4, handles[:2]), (5, [handles[0], handles[1], handles[4]])):
        rows = operator.text(b"jobs list text=needle looks=%d" % looks).split(b"\n")[:-2]
        assert [row.split(b"\t")[0] for row in rows if not row.startswith(b"next")] == found
    answer = operator.text(b"jobs list text=needle looks=4 limit=1")
    assert answer.endswith(b"\nnext\t5.1.5\n.\n")


def test_long_workloads_make_shorter_steps_and_pages_and_are_read_in_part(
    broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = STEP_BYTES // len(BEGIN) * len(BEGIN)
    monkeypatch.setattr(listings, "MAX_PAGE_BYTES", most)
    for _ in range(most // len(BEGIN)):
        submit(broker, workload=BEGIN + b"needle")
    found = submit(broker, workload=b"needle" + BEGIN)
    operator = broker.peer()
    operator.begin((0, b"jobs count text=needle"))
    assert operator.take_bytes() == b""
    broker.do_chores()
    assert operator.take_bytes().startswith(b"waiting\t1\n")
    assert operator.text(b"jobs list text=needle").startswith(b"next\t")
    assert handles_of(broker, b"text=needle") == [found]
