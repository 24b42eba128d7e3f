"""Acknowledged jobs come back after the server was killed, unchanged and in their order, in every database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.extensions import (
    CHECKPOINT,
    GET_RESULT,
    JOB_ASSIGN_WITH,
    MAX_CURSOR_BYTES,
    RESULT,
    SUBMIT_JOB_WITH,
)
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import StoreDatabase

BACKGROUND = PacketType.SUBMIT_JOB_BG
BYTES = bytes(range(256))


def submit(
    peer: StreamPeer, function: bytes = b"f", unique: bytes = b"", workload: bytes = b"w", kind: int = BACKGROUND
) -> bytes:
    packet_type, handle = peer.ask(kind, function, unique, workload)
    assert packet_type == PacketType.JOB_CREATED
    return handle


def grab(peer: StreamPeer, kind: int = PacketType.GRAB_JOB_UNIQ) -> tuple[bytes, ...] | None:
    """Handle, function, unique, workload; None without a job."""
    packet_type, body = peer.ask(kind)
    return None if packet_type == PacketType.NO_JOB else tuple(body.split(b"\0", 3))


def grab_handle(peer: StreamPeer) -> bytes:
    """The handle of a job that must be there."""
    job = grab(peer)
    assert job is not None
    return job[0]


def worker_of(server: ServerProcess, *functions: bytes) -> StreamPeer:
    worker = server.peer()
    for function in functions:
        worker.send(PacketType.CAN_DO, function)
    return worker


def grab_all(worker: StreamPeer) -> list[tuple[bytes, ...]]:
    """All jobs; each is completed before the next one is grabbed."""
    jobs = []
    while (job := grab(worker)) is not None:
        jobs.append(job)
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
    return jobs


@pytest.fixture
def crash(start_durable: Callable[..., ServerProcess], database: StoreDatabase) -> Callable[..., ServerProcess]:
    """Kills a server without a warning, starts another one on the same database, and waits for the jobs."""

    def again(server: ServerProcess, *options: str) -> ServerProcess:
        server.process.kill()
        server.process.wait()
        successor = start_durable(database, *options)
        successor.wait_for_log("jobs are back from the store")
        return successor

    return again


@pytest.mark.in_every_database
def test_acknowledged_jobs_come_back_byte_for_byte(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    long_name, long_unique = b"n" * 8192, b"u" * 64
    sent = [
        (b"f", b"", BYTES),
        (b"f", b"u1", b""),
        (b"f", b"-", b"the key is this \0 text"),
        (b"f", b"\xff\xfe'\"\\%s", b"'quoted' \\ %s {} :name ?"),
        (long_name, long_unique, b"x" * 100_000),
    ]
    handles = [submit(client, *job) for job in sent]
    server = crash(server)
    jobs = grab_all(worker_of(server, b"f")) + grab_all(worker_of(server, long_name))
    assert jobs == [(handle, *job) for handle, job in zip(handles, sent, strict=True)]


def test_priorities_and_the_order_of_submission_survive(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    kinds = [PacketType.SUBMIT_JOB_LOW_BG, BACKGROUND, PacketType.SUBMIT_JOB_HIGH_BG]
    for number in range(30):
        submit(client, workload=b"%d" % number, kind=kinds[number % 3])
    server = crash(server)
    workloads = [int(job[3]) for job in grab_all(worker_of(server, b"f"))]
    assert workloads == [*range(2, 30, 3), *range(1, 30, 3), *range(0, 30, 3)]


@pytest.mark.in_every_database
def test_reducers_run_times_and_options_survive(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    packet_type, reduced = client.ask(PacketType.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"u", b"sum", b"", b"w")
    assert packet_type == PacketType.JOB_CREATED
    later, soon = int(time.time()) + 3600, int(time.time()) + 1
    client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"later", b"%d" % later, b"w")
    _, due_soon = client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"soon", b"%d" % soon, b"w")
    pairs = b"background=1", b"tag=a", b"header:x=y", b"expires_in=3600000", b"priority=2", b""
    _, tagged = client.ask(SUBMIT_JOB_WITH, b"g", b"", *pairs, b"w")
    own = [b"retries=1\0header:n=%d" % number for number in range(5)]
    for pair in own:
        client.send(SUBMIT_JOB_WITH, b"h", b"", b"background=1", pair, b"", b"w")
    handles = [client.receive()[1] for _ in own]
    server = crash(server)
    worker = worker_of(server, b"h")
    worker.ask(PacketType.OPTION_REQ, b"job-options")
    for number, handle in enumerate(handles):
        told = b"%s\0h\0\x001\0header:n=%d\0\0w" % (handle, number)
        assert worker.ask(PacketType.GRAB_JOB_UNIQ) == (JOB_ASSIGN_WITH, told)
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
    worker = worker_of(server, b"g")
    worker.ask(PacketType.OPTION_REQ, b"job-options")
    told = b"tag=a\0priority=2\0header:x=y\0\0w"
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == (JOB_ASSIGN_WITH, tagged + b"\0g\0\x001\0" + told)
    worker = worker_of(server, b"f")
    assert worker.ask(PacketType.GRAB_JOB_ALL) == (PacketType.JOB_ASSIGN_ALL, reduced + b"\0f\0u\0sum\0w")
    worker.send(PacketType.PRE_SLEEP)
    assert worker.receive() == (PacketType.NOOP, b"")
    assert time.time() >= soon
    assert grab(worker) == (due_soon, b"f", b"soon", b"w")
    assert grab(worker) is None
    assert server.text(b"show unique jobs").splitlines().count(b"later") == 1


@pytest.mark.in_every_database
def test_ids_of_submissions_kept_keys_and_newer_workloads_survive(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    def ask(peer: StreamPeer, unique: bytes, *pairs: bytes, workload: bytes = b"w") -> bytes:
        packet_type, handle = peer.ask(SUBMIT_JOB_WITH, b"f", unique, b"background=1", *pairs, b"", workload)
        assert packet_type == PacketType.JOB_CREATED, handle
        return handle

    server = start_durable(database)
    client, worker = server.peer(), worker_of(server, b"f")
    kept = ask(client, b"kept", b"unique_for=3600000")
    assert ask(client, b"kept", b"submission=joined") == kept
    assert grab_handle(worker) == kept
    worker.send(PacketType.WORK_COMPLETE, kept, b"")
    worker.ask(PacketType.ECHO_REQ, b"the end has come")
    sent = ask(client, b"", b"submission=one")
    replaced = ask(client, b"u", workload=b"old")
    assert ask(client, b"u", b"replace=1", b"submission=newer", workload=b"new") == replaced
    server = crash(server)
    client = server.peer()
    assert ask(client, b"kept") == kept
    again = [ask(client, b"", b"submission=" + text) for text in (b"joined", b"one", b"newer")]
    assert again == [kept, sent, replaced]
    assert [(job[0], job[3]) for job in grab_all(worker_of(server, b"f"))] == [(sent, b"w"), (replaced, b"new")]


def test_jobs_that_have_ended_do_not_come_back(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    crash: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), worker_of(server, b"f")
    ended = [submit(client, workload=b"%d" % number) for number in range(5)]
    for handle in ended[:3]:
        assert grab_handle(worker) == handle
    worker.send(PacketType.WORK_COMPLETE, ended[0], b"r")
    worker.send(PacketType.WORK_FAIL, ended[1])
    worker.send(PacketType.WORK_EXCEPTION, ended[2], b"e")
    worker.sync()
    assert server.text(b"cancel job " + ended[3]) == b"OK\r\n"
    until(lambda: len(database.rows("id")) == 1)
    server = crash(server)
    assert [job[0] for job in grab_all(worker_of(server, b"f"))] == ended[4:]


@pytest.mark.in_every_database
def test_a_job_that_was_running_comes_back_in_its_place_with_its_attempt_counted(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    crash: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), worker_of(server, b"f")
    first, second = submit(client, workload=b"1"), submit(client, workload=b"2")
    assert grab_handle(worker) == first
    until(lambda: database.rows("state") == [(1,), (0,)])
    server = crash(server)
    assert server.text(b"show jobs") == first + b"\t1\t0\t1\n" + second + b"\t0\t0\t1\n.\n"
    worker = worker_of(server, b"f")
    assert [grab_handle(worker), grab_handle(worker)] == [first, second]
    until(lambda: database.rows("state, requeues") == [(1, 1), (1, 0)])


def test_a_job_that_crashes_servers_runs_out_of_attempts(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    crash: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database)
    submit(server.peer())
    for losses in range(2):
        assert grab(worker_of(server, b"f")) is not None
        until(lambda: database.rows("state, requeues") == [(1, losses)])  # noqa: B023 - called at once
        server = crash(server, "--job-retries", "2")
    assert grab(worker_of(server, b"f")) is None
    until(lambda: database.rows() == [])


@pytest.mark.in_every_database
def test_a_unique_key_of_an_earlier_run_still_belongs_to_its_job(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    keyed, by_workload = submit(client, unique=b"u"), submit(client, unique=b"-", workload=b"same")
    server = crash(server)
    client = server.peer()
    assert submit(client, unique=b"u", workload=b"other") == keyed
    assert submit(client, unique=b"-", workload=b"same") == by_workload
    assert submit(client, unique=b"-", workload=b"another") not in (keyed, by_workload)
    assert client.ask(PacketType.GET_STATUS, keyed)[1] == keyed + b"\0001\0000\0000\0000"


def test_handles_never_repeat(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    handles = []
    server = start_durable(database)
    for round_ in range(3):
        client = server.peer()
        handles += [submit(client, workload=b"%d" % round_) for _ in range(20)]
        _, handle = client.ask(PacketType.SUBMIT_JOB, b"g", b"", b"")
        handles.append(handle)
        server = crash(server)
    assert len(set(handles)) == len(handles)


def test_a_server_that_ends_in_order_writes_everything(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), worker_of(server, b"f")
    first, second = submit(client), submit(client)
    assert grab_handle(worker) == first
    worker.send(PacketType.WORK_COMPLETE, first, b"r")
    worker.sync()
    server.process.terminate()
    assert server.wait() == 0
    assert [handle for (handle,) in database.rows("handle")] == [second]


def test_a_row_that_is_no_job_is_set_aside_and_logged_with_its_number(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    handles = [submit(client, workload=b"%d" % number) for number in range(3)]
    number = int(handles[1].rpartition(b":")[2])
    database.execute(f"UPDATE gearman_jobs SET handle = function_name WHERE id = {number}")
    database.execute(f"UPDATE gearman_jobs SET function_name = unique_key WHERE id = {number}")
    server.process.kill()
    server = start_durable(database)
    assert f"row {number}: it is no job" in server.wait_for_log("set aside")
    server.wait_for_log("jobs are back")
    assert [job[0] for job in grab_all(worker_of(server, b"f"))] == [handles[0], handles[2]]
    assert (number,) in database.rows("id")


@pytest.mark.parametrize("is_supervised", [True, False])
def test_a_job_whose_stop_was_acknowledged_never_runs_again(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    crash: Callable[..., ServerProcess],
    tmp_path: Path,
    is_supervised: bool,
) -> None:
    """A supervised worker is told and has not answered at the kill; another one goes on for nothing."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {keep_result: 1h}}")
    server = start_durable(database, "--policies", str(policies))
    client, worker, supervisor = server.peer(), worker_of(server, b"f"), server.peer()
    if is_supervised:
        assert supervisor.ask(PacketType.OPTION_REQ, b"job-stopping")[0] == PacketType.OPTION_RES
    running, waiting, untouched = (submit(client) for _ in range(3))
    assert grab_handle(worker) == running
    assert server.text(b"stop job " + running + b" " + waiting) == b"OK 2\n"
    successor = crash(server, "--policies", str(policies))
    assert [job[0] for job in grab_all(worker_of(successor, b"f"))] == [untouched]
    client = successor.peer()
    for handle in (running, waiting):
        packet_type, body = client.ask(GET_RESULT, handle, b"0")
        assert (packet_type, body.split(b"\0")[1]) == (RESULT, b"failed")
    wait_until_empty(database)


def test_a_job_whose_cancellation_was_acknowledged_does_not_come_back(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], crash: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), worker_of(server, b"dies")
    cancelled, _, untouched = submit(client), submit(client, b"purged"), submit(client, b"stays")
    dead = submit(client, b"dies")
    assert grab_handle(worker) == dead
    worker.send(PacketType.WORK_FAIL, dead)
    assert worker.ask(PacketType.ECHO_REQ, b"")[0] == PacketType.ECHO_RES
    assert server.text(b"cancel job " + cancelled) == b"OK\r\n"
    assert server.text(b"jobs purge function=purged") == b"OK 1\n"
    assert server.text(b"dead drop " + dead) == b"OK 1\n"
    successor = crash(server)
    assert successor.text(b"dead list") == b".\n"
    assert [job[0] for job in grab_all(worker_of(successor, b"f", b"purged", b"stays"))] == [untouched]


def wait_until_empty(database: StoreDatabase) -> None:
    deadline = time.monotonic() + 10
    while database.rows():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.in_every_database
def test_cursors_of_jobs_come_back_and_go_with_their_jobs(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    crash: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    def cursors() -> list[bytes]:
        return [bytes(row[0]) for row in database.rows("job_cursor", "gearman_cursors ORDER BY id")]

    def our_worker(server: ServerProcess) -> StreamPeer:
        worker = worker_of(server, b"f")
        for option in (b"job-attempt", b"job-options"):
            worker.ask(PacketType.OPTION_REQ, option)
        return worker

    server = start_durable(database)
    client, worker = server.peer(), our_worker(server)
    plain = submit(client)
    _, tagged = client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"tag=a", b"", b"w")
    large = bytes(1 + number % 255 for number in range(MAX_CURSOR_BYTES))
    for handle in (plain, tagged):
        worker.ask(PacketType.GRAB_JOB_UNIQ)
        for cursor in (b"1", b"2", large):
            worker.send(CHECKPOINT, handle, cursor)
    until(lambda: cursors() == [large, large])
    database.execute("INSERT INTO gearman_cursors (id, job_cursor) VALUES (1, 'left behind')")
    server = crash(server)
    assert cursors() == [large, large]
    worker = our_worker(server)
    start = b"\0f\0\x002\0"
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == (JOB_ASSIGN_WITH, plain + start + b"cursor=" + large + b"\0\0w")
    body = tagged + start + b"tag=a\0cursor=" + large + b"\0\0w"
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == (JOB_ASSIGN_WITH, body)
    worker.send(PacketType.WORK_COMPLETE, plain, b"")
    worker.send(PacketType.WORK_FAIL, tagged)
    until(lambda: cursors() == [])
    server.process.kill()
    server.process.wait()
    server = start_durable(database)
    assert server.peer().text(b"dead retry all") == b"OK 1\n"
    until(lambda: len(database.rows("id")) == 1)
    server = crash(server)
    assert our_worker(server).ask(PacketType.GRAB_JOB_UNIQ)[1] == body.replace(b"\x002\0tag", b"\x001\0tag")


@pytest.mark.in_every_database
def test_the_row_of_a_look_for_room_does_not_outlive_its_run(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    submit(server.peer())
    server.process.kill()
    server.stop()
    database.execute("UPDATE gearman_jobs SET id = -id")  # as it is while one is made
    start_durable(database).wait_for_log("listens on")
    assert database.rows("id") == []
