"""Batches of jobs in a broker without sockets: they are done when the last job has ended, in whatever way."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gearman_client.extensions import (
    BATCH,
    CLOSE_BATCH,
    END_BATCH,
    JOB_ASSIGN_WITH,
    OPEN_BATCH,
    SUBMIT_JOB_WITH,
)
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType
from gearman_server.jobs.access import THIS_MACHINE
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.batch_rows import BatchEnded, BatchRow, BatchState, Outcome, StoredBatch
from gearman_server.jobs.events import Event
from gearman_server.jobs.policies import KeyPolicy
from gearman_server.sequels import job_batches
from gearman_server.sequels.job_batches import ABANDONED_AFTER_S, KEEP_DONE_S

from ..broker_harness import BatchStore, BrokerHarness, DurableBroker, Peer
from ..requests.replayed import Replayed, stored
from .batch_peer import (
    CALLBACKS,
    cancel_batch,
    close_batch,
    facts,
    get_batch,
    open_batch,
    refusal,
    submit,
    submitted_callbacks,
)

COMPLETE, FAIL = PacketType.WORK_COMPLETE, PacketType.WORK_FAIL


def text(broker: BrokerHarness, line: bytes) -> bytes:
    return broker.peer(address="127.0.0.1").text(line)


def complete(broker: BrokerHarness, worker: Peer) -> None:
    worker.send(COMPLETE, worker.grab_handle(), b"r")


def fail(broker: BrokerHarness, worker: Peer) -> None:
    worker.send(FAIL, worker.grab_handle())


def crash(broker: BrokerHarness, worker: Peer) -> None:
    worker.grab_handle()
    worker.leave()


def cancel_waiting(broker: BrokerHarness, worker: Peer) -> None:
    [handle] = [handle for handle, job in broker.broker.table.jobs.items() if job.function.name == b"f"]
    assert text(broker, b"cancel job " + handle).startswith(b"OK")


def cancel_running(broker: BrokerHarness, worker: Peer) -> None:
    assert text(broker, b"cancel job " + worker.grab_handle()).startswith(b"OK")


def purge(broker: BrokerHarness, worker: Peer) -> None:
    assert text(broker, b"jobs purge function=f") == b"OK 1\n"


def expire(broker: BrokerHarness, worker: Peer) -> None:
    broker.advance(11.0)


ENDS: dict[Callable[[BrokerHarness, Peer], None], str] = {
    complete: "complete",
    fail: "failed",
    crash: "failed",
    cancel_waiting: "cancelled",
    cancel_running: "cancelled",
    purge: "cancelled",
    expire: "expired",
}


@pytest.mark.parametrize("is_closed_before", [False, True])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_batch_is_done_when_it_is_closed_and_its_last_job_has_ended_somehow(
    broker_with: Callable[..., BrokerHarness], end: Callable[[BrokerHarness, Peer], None], is_closed_before: bool
) -> None:
    broker = broker_with(crash_retries=0)
    told: list[Event] = []
    broker.broker.events.subscribe(told.append, BatchEnded)
    client = broker.peer()
    assert open_batch(client, b"b")["state"] == "open"
    submit(client, b"batch=b")
    submit(client, b"batch=b", b"expires_in=10000")
    complete(broker, broker.worker(b"f"))
    if is_closed_before:
        assert close_batch(client, b"b")["state"] == "closed"
    assert submitted_callbacks(broker) == {}
    end(broker, broker.worker(b"f"))
    if not is_closed_before:
        assert submitted_callbacks(broker) == {}
        close_batch(client, b"b")
    done = get_batch(client, b"b")
    counts = {ENDS[end]: 1} if end is not complete else {}
    counts["complete"] = 1 + (end is complete)
    assert (done["state"], done["jobs"], done["waiting"]) == ("done", "2", "0")
    assert {key: int(done[key]) for key in ("complete", "failed", "expired", "cancelled", "stopped")} == {
        **dict.fromkeys(("complete", "failed", "expired", "cancelled", "stopped"), 0),
        **counts,
    }
    callbacks = submitted_callbacks(broker)
    assert set(callbacks) == {b"on_complete", b"on_success" if end is complete else b"on_failure"}
    facts = json.loads(callbacks[b"on_complete"])
    assert (facts["batch"], facts["jobs"], facts["success"]) == ("b", 2, end is complete)
    assert told == [BatchEnded(b"b", 2, counts["complete"], is_success=end is complete)]
    assert close_batch(client, b"b") == done
    assert submitted_callbacks(broker) == {}


def test_a_failed_attempt_with_retries_left_is_no_end(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=1, backoff_s=0.0)
    client, worker = broker.peer(), broker.worker(b"f")
    open_batch(client, b"b")
    submit(client, b"batch=b")
    close_batch(client, b"b")
    fail(broker, worker)
    assert get_batch(client, b"b")["waiting"] == "1"
    complete(broker, worker)
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_success"}


def test_a_revived_letter_is_no_part_of_its_batch_any_more(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    open_batch(client, b"b")
    handle = submit(client, b"batch=b", b"tag=t")
    close_batch(client, b"b")
    fail(broker, worker)
    done = get_batch(client, b"b")
    assert text(broker, b"dead retry " + handle) == b"OK 1\n"
    assert broker.broker.table.jobs[handle].rare.options is not None  # the others stay
    complete(broker, worker)
    assert get_batch(client, b"b") == done
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_failure"}


def test_jobs_of_a_batch_are_told_of_it_and_add_others(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for option in (b"job-attempt", b"job-options"):
        worker.send(PacketType.OPTION_REQ, option)
    worker.take()
    open_batch(client, b"b")
    submit(client, b"batch=b")
    [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert (packet_type, body.split(b"\0")[4:]) == (JOB_ASSIGN_WITH, [b"batch=b", b"", b"w"])
    submit(broker.peer(), b"batch=b")
    worker.send(COMPLETE, body.split(b"\0")[0], b"")
    close_batch(client, b"b")
    assert get_batch(client, b"b")["waiting"] == "1"


def test_a_batch_without_jobs_is_a_success_once_it_is_closed(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    assert close_batch(client, b"b")["state"] == "done"
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_success"}


def test_to_open_a_batch_twice_changes_nothing_but_other_callbacks_are_another_batch(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    submit(client, b"batch=b")
    assert open_batch(client, b"b")["jobs"] == "1"
    [(packet_type, body)] = client.ask(OPEN_BATCH, b"b", CALLBACKS[0])
    assert (packet_type, body) == (
        PacketType.ERROR,
        b"INVALID_BATCH\0there is another batch of this id: choose another id",
    )
    assert get_batch(client, b"c") == {"state": "unknown"}


def test_callbacks_have_workloads_unique_keys_and_options(broker: BrokerHarness) -> None:
    client = broker.peer()
    link = encode_link(b"g", b"u", b"a\0&=%", [(b"priority", b"9"), (b"tag", b"t")])
    open_batch(client, b"b", b"on_complete=" + link)
    close_batch(client, b"b")
    [job] = broker.broker.table.jobs.values()
    assert (job.function.name, job.unique, job.workload, job.priority) == (b"g", b"u", b"a\0&=%", 0)
    assert job.rare.options is not None
    assert job.rare.options.tags == (b"t",)


def test_a_callback_comes_though_its_queue_is_full(broker: BrokerHarness) -> None:
    client = broker.peer()
    client.submit(b"on_complete", kind="SUBMIT_JOB_BG")
    assert text(broker, b"maxqueue on_complete 1") == b"OK\r\n"
    open_batch(client, b"b", CALLBACKS[0])
    close_batch(client, b"b")
    assert broker.status(b"on_complete")[0] == 2


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ((b"batch=b",), b"INVALID_OPTION\0batch, then, on_failure: only background"),
        ((b"background=1", b"batch=c"), b"INVALID_BATCH\0there is no batch of this id"),
        ((b"background=1", b"batch=closed"), b"INVALID_BATCH\0the batch is closed"),
        ((b"background=1", b"batch="), b"INVALID_OPTION\0batch: a text of 1 to 64 bytes"),
        ((b"background=1", b"then=f"), b"INVALID_OPTION\0a job that is to follow: function=NAME"),
        ((b"background=1", b"then=unique=f"), b"INVALID_OPTION\0a job that is to follow: function=NAME is missing"),
        ((b"background=1", b"then=function=f&batch=b"), b"INVALID_OPTION\0a job that is to follow: batch: a job"),
        ((b"background=1", b"then=function=f&retries=x"), b"INVALID_OPTION\0a job that is to follow: retries: a whole"),
        ((b"background=1", *[b"then=function=f"] * 17), b"INVALID_OPTION\0then: at most 16"),
        ((b"background=1", b"on_failure=function=%0a"), b"INVALID_FUNCTION_NAME"),
        ((b"background=1", b"then=function=f&tag=schedule%3at"), b"INVALID_OPTION\0tag: only jobs of schedules"),
    ],
)
def test_what_can_not_follow_is_refused(broker: BrokerHarness, pairs: tuple[bytes, ...], why: bytes) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    open_batch(client, b"closed", b"on_complete=function=f")
    submit(client, b"batch=closed")
    close_batch(client, b"closed")
    assert refusal(client, *pairs).startswith(why)
    assert broker.status(b"f") == (1, 0, 0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ((b"", b"on_complete=function=f"), b"INVALID_BATCH\0an id of 1 to 64 bytes"),
        ((b"b", b"on_end=function=f"), b"INVALID_BATCH\0each of on_complete"),
        ((b"b", b"on_complete=f"), b"INVALID_BATCH\0on_complete: function=NAME"),
        ((b"b", b"on_complete=function=%01"), b"INVALID_BATCH\0on_complete: The function name"),
        ((b"b", b"on_complete=function=f&tag=schedule:t"), b"INVALID_BATCH\0on_complete: tag: only jobs of schedules"),
    ],
)
def test_a_batch_that_could_not_end_is_refused(broker: BrokerHarness, body: tuple[bytes, ...], why: bytes) -> None:
    [(packet_type, answer)] = broker.peer().ask(OPEN_BATCH, *body)
    assert packet_type == PacketType.ERROR
    assert answer.startswith(why)


def test_a_function_that_allows_no_batches_refuses_them(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(allow_options=frozenset({"retries"}))
    open_batch(broker.peer(), b"b", b"on_complete=function=g")
    assert b"batch: the function does not allow it" in refusal(broker.peer(), b"background=1", b"batch=b")
    assert b"then: the function does not allow it" in refusal(broker.peer(), b"background=1", b"then=function=g")
    [(_, answer)] = broker.peer().ask(OPEN_BATCH, b"c", b"on_complete=function=f&tag=t")
    assert b"tags: the function does not allow it" in answer


def test_a_cancelled_batch_ends_its_waiting_and_its_running_jobs_and_no_others(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    open_batch(client, b"b")
    for number in range(250):
        submit(client, *([b"batch=b"] if number % 2 else []))
    worker.grab_handle()
    running = worker.grab_handle()
    answer = cancel_batch(broker, client, b"b")
    assert (answer["is_cancelled"], answer["state"], answer["cancelled"]) == ("1", "done", "125")
    assert get_batch(client, b"b") == answer
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_failure"}
    worker.send(COMPLETE, running, b"")  # nobody asks for it any more
    assert worker.take() == []
    assert broker.status(b"f")[0] == 125


def test_a_stopped_batch_stops_its_running_jobs_too(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    client, operator, worker = broker.peer(), broker.peer(address="127.0.0.1"), broker.worker(b"f")
    open_batch(client, b"b")
    for _ in range(2):
        submit(client, b"batch=b")
    worker.grab_handle()
    assert client.ask(END_BATCH, b"b", b"stop")[0][0] == PacketType.ERROR
    operator.send(END_BATCH, b"b", b"stop")
    broker.do_chores()
    done = get_batch(client, b"b")
    assert (done["state"], done["stopped"], done["cancelled"]) == ("done", "1", "1")
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_failure"}


def test_a_job_that_was_cancelled_while_it_ran_ends_with_its_batch_once(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    open_batch(client, b"b")
    handle = submit(client, b"batch=b")
    assert worker.grab() == handle
    submit(client, b"batch=b")
    assert text(broker, b"cancel job " + handle) == b"OK\r\n"
    told = cancel_batch(broker, client, b"b")
    assert (told["state"], told["jobs"], told["cancelled"]) == ("done", "2", "2")
    assert worker.ask(COMPLETE, handle, b"r") == []


@pytest.mark.parametrize("unique", [b"", b"u"])
@pytest.mark.parametrize("pairs", [(), (b"key=a",), (b"expires_in=5000",), (b"delay=50",)])
def test_jobs_of_a_function_whose_keys_take_turns_are_counted_too(
    broker_with: Callable[..., BrokerHarness], pairs: tuple[bytes, ...], unique: bytes
) -> None:
    broker = broker_with(keys=KeyPolicy(is_fair=True))
    client = broker.peer()
    open_batch(client, b"b")
    submit(client, b"batch=b", *pairs, unique=unique)
    again = submit(client, b"batch=b", *pairs, unique=unique)
    assert get_batch(client, b"b")["jobs"] == ("1" if unique else "2")
    close_batch(client, b"b")
    client.text(b"cancel job " + again)
    assert get_batch(client, b"b")["cancelled"] == "1"


def test_an_empty_batch_that_is_cancelled_is_no_success(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    cancel_batch(broker, client, b"b")
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_failure"}
    [(packet_type, _)] = client.ask(END_BATCH, b"b", b"keep")
    assert packet_type == PacketType.ERROR


def test_a_known_unique_key_adds_nothing(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    client.submit(b"f", b"w", b"u", kind="SUBMIT_JOB_BG")
    submit(client, b"batch=b", unique=b"u")
    assert get_batch(client, b"b")["jobs"] == "0"
    submit(client, b"batch=b", unique=b"v")
    submit(client, b"batch=b", unique=b"v")
    assert get_batch(client, b"b")["jobs"] == "1"


@pytest.mark.parametrize("pairs", [(b"batch=b",), (b"batch=b", b"header:n=1")])
def test_a_batch_that_has_got_jobs_of_the_kind_before_is_looked_at_again(
    broker: BrokerHarness, pairs: tuple[bytes, ...]
) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    open_batch(client, b"b")
    for unique in (b"", b"", b"u", b"u", b""):
        submit(client, *pairs, unique=unique)
    assert get_batch(client, b"b")["jobs"] == "4"
    close_batch(client, b"b")
    assert b"the batch is closed" in refusal(client, b"background=1", *pairs)
    for _ in range(4):
        complete(broker, worker)
    assert get_batch(client, b"b")["state"] == "done"
    broker.advance(KEEP_DONE_S + 700)
    assert b"there is no batch of this id" in refusal(client, b"background=1", *pairs)
    open_batch(client, b"b")
    submit(client, *pairs)
    assert get_batch(client, b"b")["jobs"] == "1"


def test_there_is_a_bound_for_batches_that_are_not_done(broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_batches, "MAX_UNDONE", 2)
    monkeypatch.setattr(job_batches, "MAX_CALLBACK_BYTES", 100)
    client = broker.peer()
    assert b"too much memory" in client.ask(OPEN_BATCH, b"large", b"on_complete=function=" + b"f" * 100)[0][1]
    for name in (b"a", b"b"):
        open_batch(client, name, b"on_complete=function=g")
    [(packet_type, body)] = client.ask(OPEN_BATCH, b"c", b"on_complete=function=g")
    assert (packet_type, body[:27]) == (PacketType.ERROR, b"INVALID_BATCH\x002 batches are")
    close_batch(client, b"a")
    assert open_batch(client, b"c", b"on_complete=function=g")["state"] == "open"


def test_what_is_done_is_forgotten_after_a_while_and_what_nobody_uses_is_cancelled(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"done")
    close_batch(client, b"done")
    open_batch(client, b"left")
    submitted_callbacks(broker)
    broker.advance(KEEP_DONE_S - 700)
    broker.advance(600)
    assert get_batch(client, b"done")["state"] == "done"
    broker.advance(800)
    assert get_batch(client, b"done") == {"state": "unknown"}
    assert get_batch(client, b"left")["state"] == "open"
    broker.advance(ABANDONED_AFTER_S)
    assert get_batch(client, b"left")["is_cancelled"] == "1"
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_failure"}


def test_a_million_jobs_take_no_list(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    submit(client, b"batch=b")
    first = next(iter(broker.broker.table.jobs.values()))
    submit(client, b"batch=b")
    second = list(broker.broker.table.jobs.values())[1]
    assert first.rare.options is second.rare.options  # a reference


def test_a_durable_server_answers_once_the_batch_is_written(durable: DurableBroker) -> None:
    client = durable.peer()
    assert client.ask(OPEN_BATCH, b"b", *CALLBACKS) == []
    durable.commit()
    assert [packet_type for packet_type, _ in client.take()] == [BATCH]
    assert client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=b", b"", b"w") == []
    worker = durable.worker(b"f")
    assert worker.grab() is None  # not before it is written
    durable.commit()
    assert [packet_type for packet_type, _ in client.take()] == [PacketType.JOB_CREATED]
    worker.send(COMPLETE, worker.grab_handle(), b"")
    assert client.ask(CLOSE_BATCH, b"b") == []
    callbacks = durable.worker(b"on_complete")
    assert callbacks.grab() is None
    durable.commit()
    assert callbacks.grab() is not None
    assert [packet_type for packet_type, _ in client.take()] == [BATCH]


def test_who_ends_a_batch_hears_once_the_ends_of_all_its_jobs_are_written(durable: DurableBroker) -> None:
    client = durable.peer()
    client.send(OPEN_BATCH, b"b", *CALLBACKS)
    for _ in range(STEP + 1):
        client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=b", b"", b"w")
    durable.commit()
    client.take()
    assert client.ask(END_BATCH, b"b", b"cancel") == []
    assert durable.store.job_batches[b"b"].is_cancelled
    durable.commit()  # a kill now brings one of the jobs back
    assert len(durable.store.rows) == 1
    assert client.take() == []
    durable.do_chores()
    assert client.take() == []
    durable.commit()
    assert facts(client.take())["cancelled"] == str(STEP + 1)
    assert client.ask(END_BATCH, b"b", b"cancel") == []
    durable.fail()
    assert [packet_type for packet_type, _ in client.take()] == [PacketType.ERROR]


def test_no_job_of_a_cancelled_batch_comes_back(
    make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    replayed = Replayed(make_broker, batch_store)
    client, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    row = BatchRow(b"b", BatchState.CLOSED, True, 0.0, 0.0, None, b"", {})
    replayed.harness.broker.job_batches.restore([StoredBatch(row, {Outcome.COMPLETE: 1})], replayed.harness.now)
    options = b"batch=b"
    assert replayed.load(stored(1, options=options), stored(2, options=options, was_running=True)) == []
    assert worker.grab() is None
    found = get_batch(client, b"b")
    assert (found["waiting"], found["cancelled"], found["is_counting"]) == ("0", "2", "1")
    replayed.read_to(2)
    replayed.end()
    assert get_batch(client, b"b")["state"] == "done"


def test_a_job_that_could_not_be_stored_is_no_part_of_the_batch(durable: DurableBroker) -> None:
    client = durable.peer()
    client.send(OPEN_BATCH, b"b", *CALLBACKS)
    durable.commit()
    client.take()
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=b", b"", b"w")
    durable.fail()
    assert client.take()[0][0] == PacketType.ERROR
    assert get_batch(client, b"b")["jobs"] == "0"


@pytest.mark.parametrize("are_unknown", [False, True])
def test_a_callback_that_could_not_be_stored_is_tried_again(durable: DurableBroker, are_unknown: bool) -> None:
    client, worker = durable.peer(), durable.worker(b"on_complete")
    client.send(OPEN_BATCH, b"b", CALLBACKS[0])
    client.send(CLOSE_BATCH, b"b")
    for _ in range(2):
        durable.fail(are_unknown=are_unknown)
        assert worker.grab() is None
    durable.commit()
    assert worker.grab() is not None
    assert worker.grab() is None


def test_batches_are_listed_shown_closed_and_cancelled_by_text(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    client = broker.peer()
    for name in (b"a", b"b"):
        open_batch(client, name)
        submit(client, b"batch=" + name)
    listed = text(broker, b"jobs batches").splitlines()
    assert [line.split(b"\t")[:4] for line in listed] == [
        [b"a", b"open", b"1", b"1"],
        [b"b", b"open", b"1", b"1"],
        [b"."],
    ]
    assert b"\ncancelled\t0\n" in text(broker, b"jobs batch a")
    assert b"id\ta\n" in text(broker, b"jobs batch id=%61")
    assert text(broker, b"jobs batch a close") == b"OK\r\n"
    assert text(broker, b"jobs batches state=open limit=1").splitlines()[0].startswith(b"b\t")
    assert broker.peer().text(b"jobs batch b cancel").startswith(b"ERR NOT_ALLOWED")
    assert text(broker, b"jobs batch b cancel") == b"OK 1\n"
    assert get_batch(client, b"b")["state"] == "done"
    open_batch(client, b"s")
    submit(client, b"batch=s")
    assert text(broker, b"jobs batch s stop") == b"OK 1\n"
    assert text(broker, b"jobs batch c").startswith(b"ERR UNKNOWN_BATCH")
    assert text(broker, b"jobs batch a start").startswith(b"ERR INVALID_ARGUMENTS")
    assert text(broker, b"jobs batches state=lost").startswith(b"ERR INVALID_ARGUMENTS")
