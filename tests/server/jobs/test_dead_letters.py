"""Dead letters: background jobs that failed for good. They are kept within limits and stored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs.dead_letters import DeadLetterBounds
from gearman_server.jobs.events import Event, LettersForgotten, StoreFailed
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.store import InsertsFailed

from ..broker_harness import BatchStore, BrokerHarness, DurableBroker
from ..dead_jobs import kill, listed, shown
from ..server_process import ServerProcess

# --- kept letters


def test_the_letter_of_a_failed_background_job_has_all_that_is_known_of_the_job(
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
        **dict.fromkeys((b"options", b"tags", b"key", b"headers", b"cursor"), b""),
        b"bytes": b"8",
        b"workload": b"to\\x00whom\\x0a",
    }


def test_printable_text_is_shown_unchanged_and_other_bytes_escaped(broker: BrokerHarness) -> None:
    handle = kill(broker, workload="größer\\kleiner \x1b[31m \u202e".encode() + b"\xff")
    assert shown(broker, handle)[b"workload"].decode() == r"größer\x5ckleiner \x1b[31m \xe2\x80\xae\xff"


@pytest.mark.parametrize("how", ["WORK_FAIL", "WORK_EXCEPTION", "fail job", "lost", "timeout", "rejected"])
def test_a_letter_is_kept_for_every_way_to_fail(make_broker: Callable[..., BrokerHarness], how: str) -> None:
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


# --- limits


def test_the_oldest_letters_are_removed_when_there_are_too_many(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_count=3))
    handles = [kill(broker) for _ in range(5)]
    assert listed(broker) == handles[2:]


def test_the_oldest_letters_are_removed_when_they_take_too_much_memory(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_bytes=20_000))
    handles = [kill(broker, workload=b"w" * 4000) for _ in range(9)]
    assert listed(broker) == handles[-4:]
    kill(broker, workload=b"w" * 30_000)  # more than all letters together may take; the log says so
    assert listed(broker) == handles[-4:]
    assert broker.broker.dead_letters.size_bytes <= 20_000


def test_letters_are_removed_when_they_are_too_old(make_broker: Callable[..., BrokerHarness]) -> None:
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


def test_a_function_can_have_its_letters_kept_for_a_shorter_time(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_age_s=100))
    long, short = kill(broker, b"f"), kill(broker, b"private")
    broker.broker.use_policies({b"private": FunctionPolicy(retention_s=30), b"other": FunctionPolicy(retention_s=500)})
    broker.advance(29)
    assert listed(broker) == [long, short]
    broker.advance(2)
    assert listed(broker) == [long]
    next_one = kill(broker, b"private")
    broker.advance(31)
    assert listed(broker) == [long]
    unlimited = kill(broker, b"other")
    broker.advance(39)
    assert listed(broker) == [unlimited]  # no age makes the general one longer
    broker.advance(62)
    assert listed(broker) == []
    assert next_one != short
    assert broker.broker.next_due is None


def test_letters_that_end_one_after_the_other_are_forgotten_together(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_age_s=100))
    broker.broker.use_policies({b"private": FunctionPolicy(retention_s=30)})
    forgotten: list[Event] = []
    broker.broker.events.subscribe(forgotten.append, LettersForgotten)
    for _ in range(5):
        kill(broker, b"private")
        broker.advance(0.1)
    broker.advance(29.5)
    for _ in range(20):
        broker.advance(0.1)
    letters = [event.letters for event in forgotten if isinstance(event, LettersForgotten)]
    assert sum(letters) == 5
    assert len(letters) <= 2


def test_a_new_letter_does_not_bring_the_next_look_forward(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_age_s=100))
    kill(broker)
    due = broker.broker.next_due
    for _ in range(3):  # within one pass the wall clock runs on, and the monotonic time does not
        broker.unix_time += 0.001
        kill(broker)
    assert broker.broker.next_due == due


def test_with_a_maximum_of_zero_no_letter_is_kept(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(dead_letters=DeadLetterBounds(max_count=0))
    kill(broker)
    assert listed(broker) == []


def test_long_errors_and_tracebacks_are_cut(broker: BrokerHarness) -> None:
    handle = kill(broker, error=b"e" * 100_000)
    fields = shown(broker, handle)
    assert len(fields[b"error"]) == 4096
    assert len(fields[b"traceback"]) == 32 * 1024


# --- durable


def kill_durably(durable: DurableBroker) -> bytes:
    client, worker = durable.peer(), durable.worker(b"f")
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.commit()
    [(_, handle)] = client.take()
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    return handle


def test_the_store_gets_every_letter(durable: DurableBroker, batch_store: BatchStore) -> None:
    handle = kill_durably(durable)
    assert list(batch_store.letters) == [handle]
    durable.commit()
    assert batch_store.rows == {}
    operator = durable.peer()
    assert operator.text(b"dead retry " + handle) == b""  # the answer waits for the commit
    assert batch_store.letters == {}
    durable.commit()
    durable.broker.settle()
    assert operator.take_bytes() == b"OK 1\n"
    assert list(batch_store.rows) == [handle]


def test_a_dead_job_that_can_not_be_stored_again_becomes_a_letter_again(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    handle = kill_durably(durable)
    durable.commit()
    durable.peer().text(b"dead retry " + handle)
    batch_store.start_commit()
    failed, batch_store.in_flight = batch_store.in_flight, []
    durable.broker._inserts.failed(InsertsFailed(failed))
    assert listed(durable) == [handle]
    assert list(batch_store.letters) == [handle]
    assert durable.status(b"f") == (0, 0, 1)


def test_a_dead_job_that_runs_though_it_can_not_be_stored_again_is_inserted_later(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    handle = kill_durably(durable)
    durable.commit()
    durable.peer().text(b"dead retry " + handle)
    worker = durable.worker(b"f")
    assert worker.grab() == handle
    durable.fail()
    assert listed(durable) == []  # it runs
    durable.commit()
    assert list(batch_store.rows) == [handle]
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"r") == []


def test_no_dead_job_is_tried_again_while_the_store_is_in_trouble(durable: DurableBroker) -> None:
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
    later.broker.dead_letters.restore(letters, later.now)
    assert listed(later) == [letter.handle for letter in letters[1:]]


# --- the running server


def test_options_limit_the_letters_of_a_server(start_server: Callable[..., ServerProcess]) -> None:
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
