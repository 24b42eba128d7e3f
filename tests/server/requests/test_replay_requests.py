"""Requests that name stored jobs: they wait until the store has answered, and delay only their own connection."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy

from .replayed import CREATED, Replayed, stored, submit, workloads


def test_a_unique_key_that_is_not_in_memory_is_looked_up_and_only_that_connection_waits(replayed: Replayed) -> None:
    client, other = replayed.harness.peer(), replayed.harness.peer()
    replayed.read_to(1)
    assert submit(client, b"w", unique=b"u") == []
    assert client.ask(PacketType.ECHO_REQ, b"behind") == []
    assert other.ask(PacketType.ECHO_REQ, b"not held up") == [(PacketType.ECHO_RES, b"not held up")]
    assert submit(other, b"no key")[0][0] == CREATED
    replayed.answer(stored(7, unique=b"u"))
    assert client.take() == [(CREATED, b"H:old:7"), (PacketType.ECHO_RES, b"behind")]
    assert client.session.withheld_bytes == 0
    # It takes its place when its turn comes.
    replayed.load(stored(5), stored(7, unique=b"u"), stored(8))
    assert workloads(replayed.harness.worker(b"f")) == [b"old 5", b"old 7", b"old 8"]


def test_an_unknown_unique_key_makes_a_new_job(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"w", unique=b"u")
    replayed.answer()
    [(packet_type, handle)] = client.take()
    assert packet_type == CREATED
    # From now on it is in memory.
    assert submit(client, b"w", unique=b"u") == [(CREATED, handle)]
    assert replayed.questions == []


def test_many_requests_for_one_key_are_one_question_to_the_store(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    requests = [(PacketType.SUBMIT_JOB, b"f\0u%d\0w" % number) for number in range(10)]
    replayed.harness.broker.receive(client.session, requests, replayed.harness.now)
    assert [len(wanted) for wanted, _ in replayed.questions] == [10]
    replayed.answer()
    assert [packet_type for packet_type, _ in client.take()] == [CREATED] * 10


def test_requests_that_come_while_a_connection_waits_keep_their_order(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"1", unique=b"u1")
    submit(client, b"2", unique=b"u2")
    client.send(PacketType.ECHO_REQ, b"last")
    replayed.answer()
    assert [packet_type for packet_type, _ in client.take()] == [CREATED]
    replayed.answer()
    assert [packet_type for packet_type, _ in client.take()] == [CREATED, PacketType.ECHO_RES]


def test_a_late_answer_of_the_store_does_not_revive_a_job_that_has_ended(replayed: Replayed) -> None:
    client, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    replayed.read_to(1)
    submit(client, b"w", unique=b"u")
    replayed.load(stored(1, unique=b"u"))
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    replayed.answer(stored(1, unique=b"u"))
    [(packet_type, handle)] = client.take()
    assert (packet_type, handle) != (CREATED, b"H:old:1")


def test_a_job_that_was_looked_up_and_cancelled_stays_cancelled_when_its_turn_comes(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    replayed.read_to(1)
    assert client.text(b"cancel job H:old:3") == b""
    replayed.answer(stored(3))
    replayed.write_changes()
    assert client.take_bytes() == b"OK\r\n"
    assert replayed.harness.status(b"f") == (0, 0, 0)
    replayed.load(stored(2), stored(3), stored(4))
    assert replayed.harness.status(b"f") == (2, 0, 0)
    assert workloads(replayed.harness.worker(b"f")) == [b"old 2", b"old 4"]


def test_the_status_of_an_unread_job_is_known(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    assert client.ask(PacketType.GET_STATUS, b"H:old:9") == []
    replayed.answer(stored(9))
    assert client.take() == [(PacketType.STATUS_RES, b"H:old:9\0001\0000\0000\0000")]
    assert client.ask(PacketType.GET_STATUS_UNIQUE, b"u") == []
    replayed.answer(stored(10, unique=b"u"))
    assert client.take() == [(PacketType.STATUS_RES_UNIQUE, b"u\0001\0000\0000\0000\0000")]


def test_a_delayed_job_that_was_looked_up_waits_for_its_time_once(replayed: Replayed) -> None:
    client, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    row = stored(1, unique=b"u", run_at=replayed.harness.unix_time + 10)
    submit(client, b"w", unique=b"u", kind=PacketType.SUBMIT_JOB_BG)
    replayed.answer(row)
    assert client.take() == [(CREATED, b"H:old:1")]
    replayed.read_to(1)
    replayed.load(row)
    replayed.end()
    replayed.end()
    assert worker.grab() is None
    replayed.harness.advance(10)
    assert worker.grab() == b"H:old:1"
    assert worker.grab() is None


@pytest.mark.parametrize("end", ["runs", "is cancelled"])
def test_a_delayed_job_that_was_looked_up_and_becomes_due_before_its_turn_has_one_place(
    replayed: Replayed, end: str
) -> None:
    client, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    row = stored(2, unique=b"u", run_at=replayed.harness.unix_time + 10)
    replayed.read_to(1)
    submit(client, b"w", unique=b"u", kind=PacketType.SUBMIT_JOB_BG)
    replayed.answer(row)
    if end == "runs":
        replayed.harness.advance(10)
    else:
        client.text(b"cancel job H:old:2")
    replayed.load(stored(1), row, stored(3))
    replayed.end()
    replayed.end()
    waiting = [b"old 1", b"old 3"] + ([b"old 2"] if end == "runs" else [])
    assert replayed.harness.status(b"f") == (len(waiting), 0, 1)
    assert workloads(worker) == waiting
    assert replayed.harness.status(b"f") == (len(waiting), len(waiting), 1)


def test_a_job_that_was_looked_up_and_has_used_its_attempts_does_not_return_when_its_turn_comes(
    replayed: Replayed,
) -> None:
    client = replayed.harness.peer()
    replayed.harness.broker.use_policies({b"f": FunctionPolicy(crash_retries=0)})
    row = stored(2, was_running=True, requeues=1)
    replayed.read_to(1)
    client.send(PacketType.GET_STATUS, b"H:old:2")
    replayed.answer(row)
    assert list(replayed.store.letters) == [b"H:old:2"]
    client.send(0, b"dead drop H:old:2")
    replayed.answer()
    assert replayed.store.letters == {}
    replayed.load(row)
    assert replayed.store.letters == {}


def test_only_the_request_that_the_store_can_not_answer_is_refused(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"w", unique=b"u")
    client.send(PacketType.ECHO_REQ, b"behind")
    _, answer = replayed.questions.pop()
    answer(None, replayed.harness.now)
    assert client.take() == [
        (PacketType.ERROR, b"QUEUE_ERROR\0The store can't be asked for the job"),
        (PacketType.ECHO_RES, b"behind"),
    ]


def test_the_end_of_the_replay_answers_all_requests_that_still_wait(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"w", unique=b"u")
    for _ in range(3):
        replayed.replay.end_of_priority(replayed.harness.now)
    replayed.harness.broker.end_replay(replayed.harness.now)
    assert [packet_type for packet_type, _ in client.take()] == [CREATED]
    replayed.answer(stored(1, unique=b"u"))  # too late, and without effect
    assert replayed.harness.status(b"f") == (1, 0, 0)


def test_what_waited_until_the_end_is_carried_out_as_if_it_came_at_once(replayed: Replayed) -> None:
    replayed.harness.broker.use_policies({b"f": FunctionPolicy(max_running=1)})
    replayed.read_to(1)
    replayed.load(stored(1), stored(2))
    worker = replayed.harness.worker(b"f")
    assert worker.grab() == b"H:old:1"
    worker.send(PacketType.PRE_SLEEP)
    worker.send(PacketType.GET_STATUS, b"H:old:3")
    worker.send(PacketType.WORK_COMPLETE, b"H:old:1", b"")
    worker.send(PacketType.GRAB_JOB)
    replayed.end()
    # No NOOP for the job that it has asked for itself.
    assert [packet_type for packet_type, _ in worker.take()] == [PacketType.STATUS_RES, PacketType.JOB_ASSIGN]


def test_a_connection_that_leaves_while_it_waits_changes_nothing(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"w", unique=b"u")
    client.leave()
    replayed.answer()
    assert replayed.harness.status(b"f") == (0, 0, 0)


def test_requests_that_wait_for_the_store_count_towards_the_limit_of_their_connection(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    submit(client, b"x" * 5000, unique=b"u")
    assert 5000 < client.session.withheld_bytes < 6000
    replayed.answer()
    assert client.session.withheld_bytes == 0


def test_a_function_without_stored_jobs_waits_for_nothing(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    worker = replayed.harness.worker(b"g")
    worker.send(PacketType.PRE_SLEEP)
    assert client.ask(PacketType.SUBMIT_JOB, b"g", b"", b"early")[0][0] == CREATED
    worker.take()
    assert worker.grab() is None  # it is unknown yet whether there are stored jobs
    worker.send(PacketType.PRE_SLEEP)
    replayed.replay.note_stored({(b"f", 1), (b"g", 2)}, replayed.harness.now)
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab_workload() == b"early"
    client.ask(PacketType.SUBMIT_JOB, b"h", b"key", b"new function, no question")
    assert replayed.harness.worker(b"h").grab_workload() == b"new function, no question"
    assert replayed.questions == []
    # Functions with stored jobs do wait.
    submit(client, b"behind")
    client.ask(PacketType.SUBMIT_JOB_LOW, b"g", b"", b"behind low")
    assert worker.grab() is None
    assert replayed.harness.worker(b"f").grab() is None


def test_no_reply_overtakes_the_answer_to_a_grab(replayed: Replayed) -> None:
    peer = replayed.harness.worker(b"f")
    requests = [
        (PacketType.SUBMIT_JOB, b"f\0u1\0w"),
        (PacketType.GRAB_JOB, b""),
        (PacketType.SUBMIT_JOB, b"f\0u2\0w"),
    ]
    replayed.harness.broker.receive(peer.session, requests, replayed.harness.now)
    _, answer = replayed.questions.pop(0)
    answer(None, replayed.harness.now)  # the store can't be asked
    assert [packet_type for packet_type, _ in peer.take()] == [PacketType.ERROR, PacketType.NO_JOB, PacketType.ERROR]


def test_a_dead_job_is_queued_again_only_when_the_owner_of_its_unique_key_is_known(replayed: Replayed) -> None:
    operator, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    client = replayed.harness.peer()
    submit(client, b"w", unique=b"u", kind=PacketType.SUBMIT_JOB_BG)
    replayed.answer()
    replayed.read_to(2)
    worker.send(PacketType.WORK_FAIL, worker.grab_handle())
    [handle] = replayed.store.letters
    operator.send(0, b"dead retry " + handle)
    replayed.answer()
    assert b"".join(operator.session.out).startswith(b"ERR QUEUE_ERROR ")
    replayed.load(stored(5, priority=2, unique=b"u"))
    replayed.replay.end_of_priority(replayed.harness.now)
    replayed.harness.broker.end_replay(replayed.harness.now)
    assert replayed.harness.peer().text(b"dead retry " + handle) == b"OK 0\n"
    assert replayed.harness.status(b"f") == (1, 0, 1)
