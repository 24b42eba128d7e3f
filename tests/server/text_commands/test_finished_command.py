"""`jobs finished`: the ends of late, of attempts and of jobs that had none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import STOP_JOB, SUBMIT_JOB_WITH, THROTTLE_KEY, WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.ending.late_ends import (
    ERROR_BYTES,
    FAILED_WORKLOAD_BYTES,
    PROGRESS_BYTES,
    TRACEBACK_BYTES,
    WORKLOAD_BYTES,
)
from gearman_server.jobs.dead_letters import DeadLetterBounds
from gearman_server.jobs.endings import RESULT_BYTES
from gearman_server.jobs.job import Job
from gearman_server.jobs.policies import TIMEOUT_GRACE_S, FunctionPolicy
from gearman_server.text_commands.finished_command import MAX_BYTES, MAX_LINES

from ..broker_harness import UNIX_TIME, BrokerHarness, Peer

COLUMNS = (
    *("number", "at", "handle", "function", "unique", "priority", "background", "end", "sequel", "attempt"),
    *("submitted", "started", "worker", "address", "error", "traceback", "bytes", "workload", "result", "progress"),
    "tags",
)


@pytest.fixture
def broker(make_broker: Callable[..., BrokerHarness]) -> BrokerHarness:
    return make_broker(finished_jobs=100)


def page(broker: BrokerHarness, words: bytes = b"") -> tuple[list[dict[str, bytes]], bytes, int]:
    """The rows of a page, the cursor of the next one, and how many are not kept."""
    answer = broker.peer("127.0.0.1").text(b"jobs finished " + words)
    assert answer.endswith(b".\n"), answer
    *rows, last = [line.split(b"\t") for line in answer.split(b"\n")[:-2]]
    assert last[0] == b"next"
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows], last[1], int(last[2])


def ends(broker: BrokerHarness) -> list[tuple[bytes, bytes, int, bytes]]:
    """How the attempts ended: end, what follows, the number of the attempt, the reason."""
    return [(row["end"], row["sequel"], int(row["attempt"]), row["error"]) for row in page(broker)[0]]


def failure(worker: Peer, handle: bytes, verdict: bytes, reason: bytes = b"why", attempts: bytes = b"") -> None:
    worker.send(WORK_FAILURE, handle, verdict, b"", attempts, reason, b"Traceback\n  boom")


def test_a_success_with_all_that_is_known_of_it(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer("192.0.2.7").can_do(b"f")
    worker.send(PacketType.SET_CLIENT_ID, b"box/f/1")
    client.send(SUBMIT_JOB_WITH, b"f", b"u\t1", b"background=1\0tag=a\0tag=b c\0", b"w" * 1000)
    broker.advance(2)
    handle = worker.grab_handle()
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"4")
    broker.advance(5)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r" * 1000)
    [row], _, missing = page(broker)
    assert missing == 0
    assert row == {
        "number": b"1",
        "at": b"%.3f" % (UNIX_TIME + 7),
        "handle": handle,
        "function": b"f",
        "unique": b"u\\x091",
        "priority": b"normal",
        "background": b"1",
        "end": b"complete",
        "sequel": b"",
        "attempt": b"1",
        "submitted": b"%.3f" % UNIX_TIME,
        "started": b"%.3f" % (UNIX_TIME + 2),
        "worker": b"box/f/1",
        "address": b"192.0.2.7",
        "error": b"",
        "traceback": b"",
        "bytes": b"1000",
        "workload": b"w" * WORKLOAD_BYTES,
        "result": b"r" * RESULT_BYTES,
        "progress": b"3/4",
        "tags": b"a\\x00b c",
    }


def test_the_attempts_of_a_job_until_its_dead_letter(broker: BrokerHarness) -> None:
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=10)})
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", b"w" * 5000, kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(WORK_FAILURE, handle, b"fail", b"", b"", b"e" * 2000, b"t" * 5000 + b"the end")
    broker.advance(20)
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    first, second = page(broker)[0]
    assert (first["end"], first["sequel"], first["attempt"]) == (b"exception", b"retry", b"1")
    assert first["error"] == b"e" * ERROR_BYTES
    assert (first["bytes"], first["workload"]) == (b"5000", b"w" * FAILED_WORKLOAD_BYTES)
    assert len(first["traceback"]) == TRACEBACK_BYTES
    assert first["traceback"].endswith(b"the end")
    assert (second["end"], second["sequel"], second["attempt"]) == (b"failed", b"dead", b"2")
    assert (second["started"], second["traceback"]) == (b"%.3f" % (UNIX_TIME + 20), b"")


def test_a_foreground_job_that_fails_leaves_no_letter(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    broker.peer().submit(b"f")
    worker.send(PacketType.WORK_EXCEPTION, worker.grab_handle(), b"boom")
    assert ends(broker) == [(b"exception", b"", 1, b"boom")]


def test_without_room_for_letters_nothing_follows(make_broker: Callable[..., BrokerHarness]) -> None:
    from gearman_server.jobs.dead_letters import DeadLetterBounds

    broker = make_broker(finished_jobs=10, dead_letters=DeadLetterBounds(max_count=0))
    worker = broker.worker(b"f")
    broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.send(PacketType.WORK_FAIL, worker.grab_handle())
    assert ends(broker) == [(b"failed", b"", 1, b"")]


def test_attempts_that_took_too_long(broker: BrokerHarness) -> None:
    broker.broker.use_policies({b"f": FunctionPolicy(timeout_s=5, retries=0)})
    worker = broker.worker(b"f")
    broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    broker.advance(5 + TIMEOUT_GRACE_S)
    assert ends(broker) == [(b"timeout", b"dead", 1, b"timeout")]


def test_the_loss_of_a_worker_and_who_it_was(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(finished_jobs=10, job_retries=2)
    for _ in range(2):
        worker = broker.worker(b"f")
        worker.send(PacketType.SET_CLIENT_ID, b"lost")
        broker.peer().submit(b"f", unique=b"u", kind="SUBMIT_JOB_BG")
        worker.grab()
        worker.leave()
    rows = page(broker)[0]
    assert [(row["end"], row["sequel"], row["attempt"], row["worker"]) for row in rows] == [
        (b"lost", b"retry", b"1", b"lost"),
        (b"lost", b"dead", b"2", b"lost"),
    ]
    assert rows[0]["started"]


def test_jobs_that_somebody_ended(broker: BrokerHarness) -> None:
    operator, client, worker = broker.peer("127.0.0.1"), broker.peer(), broker.worker(b"f", b"g")
    waiting, running, stopped, purged = (client.submit(b"f", kind="SUBMIT_JOB_BG") for _ in range(4))
    operator.text(b"cancel job " + waiting)
    assert [worker.grab(), worker.grab()] == [running, stopped]
    operator.text(b"cancel job " + running)
    operator.send(STOP_JOB, stopped)
    operator.take()
    operator.text(b"jobs purge function=f")
    abandoned = broker.peer()
    abandoned.submit(b"g")
    abandoned.leave()
    rows = page(broker)[0]
    assert [(row["handle"], row["end"], row["attempt"], row["error"]) for row in rows] == [
        (waiting, b"cancelled", b"0", b"cancelled"),
        (running, b"cancelled", b"1", b"cancelled while it ran"),
        (stopped, b"stopped", b"1", b"untold"),
        (purged, b"cancelled", b"0", b"purged"),
        (rows[4]["handle"], b"dropped", b"0", b"abandoned by its clients"),
    ]
    assert [bool(row["started"]) for row in rows] == [False, True, True, False, False]


@pytest.mark.parametrize("how", ["complete", "fail", "exception", "failure", "lost", "withdrawn"])
def test_a_job_that_was_cancelled_while_it_ran_has_no_other_end(broker: BrokerHarness, how: str) -> None:
    broker.broker.use_policies({b"f": FunctionPolicy(retries=3)})
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    assert worker.grab() == handle
    broker.peer("127.0.0.1").text(b"cancel job " + handle)
    if how == "lost":
        worker.leave()
    elif how == "withdrawn":
        worker.send(PacketType.CANT_DO, b"f")
    elif how == "failure":
        failure(worker, handle, b"retry")
    elif how == "fail":
        worker.send(PacketType.WORK_FAIL, handle)
    else:
        worker.send(PacketType.WORK_COMPLETE if how == "complete" else PacketType.WORK_EXCEPTION, handle, b"x")
    assert ends(broker) == [(b"cancelled", b"", 1, b"cancelled while it ran")]


def test_a_job_that_was_not_begun_in_time(broker: BrokerHarness) -> None:
    broker.peer().send(SUBMIT_JOB_WITH, b"f", b"", b"background=1\0expires_in=5000\0expired_letter=1\0", b"w")
    broker.peer().send(SUBMIT_JOB_WITH, b"f", b"", b"background=1\0expires_in=5000\0", b"w")
    broker.advance(6)
    reason = b"expired: it was not begun in time"
    assert ends(broker) == [(b"expired", b"dead", 0, reason), (b"expired", b"", 0, reason)]


def test_no_dead_letter_is_told_of_where_there_is_no_room_for_it(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(finished_jobs=100, dead_letters=DeadLetterBounds(max_bytes=5000))
    pairs = b"background=1\0expires_in=5000\0expired_letter=1\0"
    for workload in (b"w", b"w" * 5000):
        broker.peer().send(SUBMIT_JOB_WITH, b"f", b"", pairs, workload)
    broker.advance(6)
    worker = broker.worker(b"f")
    for workload in (b"w", b"w" * 5000):
        broker.peer().submit(b"f", workload, kind="SUBMIT_JOB_BG")
        failure(worker, worker.grab_handle(), b"reject")
    assert [(end, follows) for end, follows, _, _ in ends(broker)] == [
        (b"expired", b"dead"),
        (b"expired", b""),
        (b"exception", b"dead"),
        (b"exception", b""),
    ]


def test_jobs_that_went_back_to_their_queue(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    failure(worker, handle, b"throttle", attempts=THROTTLE_KEY)
    broker.advance(60)
    worker.grab()
    failure(worker, handle, b"yield")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert ends(broker) == [
        (b"throttled", b"retry", 1, b"why"),
        (b"returned", b"retry", 1, b"its worker leaves"),
        (b"complete", b"", 1, b""),
    ]


def complete(broker: BrokerHarness, worker: Peer, times: int) -> None:
    client = broker.peer()
    for _ in range(times):
        client.submit(b"f", kind="SUBMIT_JOB_BG")
        worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")


def test_failures_outlive_any_number_of_successes_and_what_is_not_kept_is_told(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker(finished_jobs=10)
    worker = broker.worker(b"f")
    broker.peer().submit(b"f")
    worker.send(PacketType.WORK_FAIL, worker.grab_handle())
    complete(broker, worker, 50)
    rows, cursor, missing = page(broker)
    assert [int(row["number"]) for row in rows] == [1, 47, 48, 49, 50, 51]
    assert missing == 45
    assert page(broker, b"after=" + cursor)[0::2] == ([], 0)
    complete(broker, worker, 2)
    rows, _, missing = page(broker, b"after=" + cursor)
    assert ([int(row["number"]) for row in rows], missing) == ([52, 53], 0)


def test_pages_are_bounded_and_go_on(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(finished_jobs=2000)
    worker = broker.worker(b"f")
    complete(broker, worker, MAX_LINES + 10)
    rows, cursor, _ = page(broker, b"limit=1000")
    assert len(rows) == MAX_LINES
    more, cursor, _ = page(broker, b"limit=7 after=" + cursor)
    assert [int(row["number"]) for row in more] == list(range(MAX_LINES + 1, MAX_LINES + 8))
    handle = broker.peer().submit(b"f", b"\0" * 5000, kind="SUBMIT_JOB_BG")
    for _ in range(100):
        worker.grab()
        failure(worker, handle, b"retry", b"\0" * 5000)
        broker.advance(1000)
    [_, _, _, *rows], _, _ = page(broker, b"limit=250 after=" + cursor)
    assert len(rows) < 100
    assert sum(map(len, rows[0].values())) * (len(rows) - 1) < MAX_BYTES


@pytest.mark.parametrize("cursor", [b"another-run.3", b"nonsense", b"x.99999999999999999999", b""])
def test_the_cursor_of_another_run_begins_at_the_first(broker: BrokerHarness, cursor: bytes) -> None:
    complete(broker, broker.worker(b"f"), 3)
    assert [row["number"] for row in page(broker, b"after=" + cursor)[0]] == [b"1", b"2", b"3"]


def test_who_asks_for_what_is_to_come_gets_nothing_and_the_true_cursor(broker: BrokerHarness) -> None:
    complete(broker, broker.worker(b"f"), 3)
    run = page(broker)[1].partition(b".")[0]
    assert page(broker, b"after=%s.999" % run) == ([], run + b".3", 0)


def test_nothing_is_kept_unless_the_operator_says_so(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker()
    complete(broker, broker.worker(b"f"), 1)
    answer = broker.peer("127.0.0.1").text(b"jobs finished")
    assert answer == b"ERR NOT_KEPT The+operator+has+them+kept+with+--finished-jobs\r\n"


def test_an_unknown_argument_is_refused(broker: BrokerHarness) -> None:
    for words in (b"H:x:1", b"function=f"):
        assert broker.peer().text(b"jobs finished " + words).startswith(b"ERR INVALID_ARGUMENTS ")


def test_a_kept_end_is_small_whatever_the_worker_sends(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    handle = worker.grab_handle()
    worker.send(PacketType.WORK_STATUS, handle, b"1" * 5000, b"2" * 5000)
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    [row] = page(broker)[0]
    assert row["progress"] == b"1" * PROGRESS_BYTES + b"/" + b"2" * PROGRESS_BYTES


def test_a_kept_end_holds_no_job(broker: BrokerHarness) -> None:
    """A job holds its workload and its session: the ring would keep megabytes alive."""
    import gc

    gc.collect()
    others = [each for each in gc.get_objects() if isinstance(each, Job)]  # other tests may have left some
    complete(broker, broker.worker(b"f"), 5)
    gc.collect()
    known = set(map(id, others))
    assert not [each for each in gc.get_objects() if isinstance(each, Job) and id(each) not in known]


def test_a_page_begins_behind_any_cursor_whichever_ring_its_rows_are_in(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker(finished_jobs=12)
    worker = broker.worker(b"f")
    for number in range(30):
        broker.peer().submit(b"f")
        if number % 5 in (0, 1):
            worker.send(PacketType.WORK_FAIL, worker.grab_handle())
        else:
            worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    rows, cursor, _ = page(broker)
    numbers = [int(row["number"]) for row in rows]
    assert numbers == [16, 17, *range(21, 31)]
    run = cursor.partition(b".")[0]
    for after in range(31):
        for most in (1, 3, 20):
            found = page(broker, b"after=%b.%d limit=%d" % (run, after, most))[0]
            assert [int(row["number"]) for row in found] == [each for each in numbers if each > after][:most]
