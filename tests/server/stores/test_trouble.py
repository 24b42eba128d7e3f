"""A store in trouble, under load: submitters hear of it in time, acknowledged jobs stay, and the rest goes on."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

from ...small_disk import fill
from ..server_process import ServerProcess
from .conftest import Disk, StoreDatabase
from .proxy import Proxy

BACKGROUND = PacketType.SUBMIT_JOB_BG
CREATED = PacketType.JOB_CREATED
TIMEOUT_S = 0.6


class Load(threading.Thread):
    """A client that submits background jobs all the time, one after the other."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._is_told_to_stop = threading.Event()
        self.acknowledged: set[bytes] = set()
        self.refused = 0
        self.start()

    def run(self) -> None:
        parser = PacketParser(RESPONSE_MAGIC)
        with self._connection:
            while not self._is_told_to_stop.is_set():
                self._connection.sendall(encode_request(BACKGROUND, b"f", b"", b"w"))
                answers: list[tuple[int, bytes]] = []
                while not answers:
                    answers = parser.feed(self._connection.recv(65536))
                ((packet_type, body),) = answers
                if packet_type == CREATED:
                    self.acknowledged.add(body)
                else:
                    assert body.startswith(b"QUEUE_ERROR\0")
                    self.refused += 1
                    self._is_told_to_stop.wait(0.01)

    def stop(self) -> None:
        self._is_told_to_stop.set()
        self.join(30)


@pytest.fixture
def put_under_load() -> Iterator[Callable[..., list[Load]]]:
    """`put_under_load(server)`: three clients that submit until the test is over."""
    loads: list[Load] = []

    def put(server: ServerProcess) -> list[Load]:
        loads.extend(Load(server.port) for _ in range(3))
        return loads

    yield put
    for load in loads:
        load.stop()


def stop(loads: list[Load]) -> set[bytes]:
    """Stop; returns all acknowledged jobs."""
    for load in loads:
        load.stop()
    return set().union(*(load.acknowledged for load in loads))


def foreground_job_works(server: ServerProcess) -> None:
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"g")
    _, handle = client.ask(PacketType.SUBMIT_JOB, b"g", b"", b"w")
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.JOB_ASSIGN
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")


def page(server: ServerProcess, path: str) -> tuple[int, str]:
    host, _, port = server.announced["metrics"][0].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def stored(database: StoreDatabase) -> set[bytes]:
    return {bytes(handle) for (handle,) in database.rows("handle")}


def test_a_full_disk_refuses_background_jobs_until_it_has_room_again(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    put_under_load: Callable[..., list[Load]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database, "--metrics-listen", "127.0.0.1:0")
    loads = put_under_load(server)
    until(lambda: all(load.acknowledged for load in loads))
    assert page(server, "/healthz") == (200, "ok\n")
    # No file of the server may grow beyond this: writes fail, as on a full disk.
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    until(lambda: all(load.refused > 3 for load in loads))
    foreground_job_works(server)
    status, reason = page(server, "/healthz")
    assert status == 503
    assert "jobs.db fails: " in reason
    assert "\ngearman_store_up 0.0\n" in page(server, "/metrics")[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    server.wait_for_log("background jobs are refused")
    server.wait_for_log("NOTICE the store can be written again")
    assert not [line for line in server.passed if "refused until" in line]
    assert page(server, "/healthz") == (200, "ok\n")
    assert "\ngearman_store_failures_total 1.0\n" in page(server, "/metrics")[1]
    acknowledged = stop(loads)
    until(lambda: stored(database) == acknowledged)


class Outage:
    """A server with a job that waits, and the checks for the times while its store can't be written, afterwards, and
    after the server was killed."""

    def __init__(
        self,
        server: ServerProcess,
        database: StoreDatabase,
        loads: list[Load],
        until: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._server, self._database, self._loads, self._until = server, database, loads, until
        until(lambda: all(load.acknowledged for load in loads))
        packet_type, self._waiting = server.peer().ask(BACKGROUND, b"waits", b"", b"w")
        assert packet_type == CREATED

    def begins(self, reason: str) -> None:
        """Submitters are refused, and nothing else changes."""
        self._until(lambda: all(load.refused > 3 for load in self._loads))
        foreground_job_works(self._server)
        worker = self._server.peer()
        worker.send(PacketType.CAN_DO, b"waits")
        assert worker.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, self._waiting + b"\0waits\0w")
        worker.send(PacketType.WORK_COMPLETE, self._waiting, b"r")
        worker.sync()
        status, text = page(self._server, "/healthz")
        assert (status, text.count(reason)) == (503, 1), text
        assert reason in self._server.wait_for_log("background jobs are refused")

    def ends(self) -> set[bytes]:
        """The trouble ends without a restart. Returns the jobs acknowledged before and since."""
        self._server.wait_for_log("NOTICE the store can be written again")
        assert not [line for line in self._server.passed if "refused until" in line]
        assert page(self._server, "/healthz") == (200, "ok\n")
        before = sum(len(load.acknowledged) for load in self._loads)
        self._until(lambda: sum(len(load.acknowledged) for load in self._loads) > before + 20)
        acknowledged = stop(self._loads)
        # The refused jobs are gone, and so is the job that was done meanwhile.
        self._until(lambda: stored(self._database) == acknowledged)
        self._server.process.kill()
        self._server.process.wait()
        return acknowledged


def test_a_full_disk_refuses_background_jobs_until_there_is_room(
    small_disk: Path,
    database_in: Callable[[Path], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
    put_under_load: Callable[..., list[Load]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database, filler = database_in(small_disk), small_disk / "filler"
    server = start_durable(database, "--metrics-listen", "127.0.0.1:0")
    outage = Outage(server, database, put_under_load(server), until)
    fill(filler)
    outage.begins("database or disk is full")
    filler.unlink()
    acknowledged = outage.ends()
    server = start_durable(database)
    server.wait_for_log(f"{len(acknowledged)} jobs are back")
    assert server.text(b"status") == b"f\t%d\t0\t0\n.\n" % len(acknowledged)


def test_a_small_disk_that_was_full_works_again_once_there_is_room(
    small_disk: Path, database_in: Callable[[Path], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    kept, freed = small_disk / "kept", small_disk / "freed"
    kept.write_bytes(bytes(15 << 20))
    freed.write_bytes(bytes(20 << 20))
    server = start_durable(database_in(small_disk))
    client, worker = server.peer(), server.peer()
    worker.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    worker.send(PacketType.CAN_DO, b"f")

    def submit_until_refused() -> int:
        jobs = 0
        while client.ask(BACKGROUND, b"f", b"", bytes(50_000))[0] == CREATED:
            jobs += 1
        return jobs

    assert submit_until_refused() > 300
    server.wait_for_log("background jobs are refused")
    freed.unlink()
    server.wait_for_log("NOTICE the store can be written again")
    assert submit_until_refused() > 300
    server.wait_for_log("background jobs are refused")
    # Nobody frees anything but the store itself, whose jobs are done.
    while (answer := worker.ask(PacketType.GRAB_JOB))[0] == PacketType.JOB_ASSIGN:
        worker.send(PacketType.WORK_COMPLETE, answer[1].split(b"\0")[0], b"")
    server.wait_for_log("NOTICE the store can be written again")
    assert submit_until_refused() > 300


def test_a_disk_that_became_read_only_refuses_background_jobs_until_it_can_be_written(
    disk: Disk,
    database_in: Callable[[Path], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
    put_under_load: Callable[..., list[Load]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database = database_in(disk.read_only.parent)
    server = start_durable(database, "--metrics-listen", "127.0.0.1:0", **disk.environment)
    outage = Outage(server, database, put_under_load(server), until)
    disk.read_only.touch()
    outage.begins("disk I/O error")
    disk.read_only.unlink()
    acknowledged = outage.ends()
    server = start_durable(database)
    server.wait_for_log(f"{len(acknowledged)} jobs are back")


def test_a_job_that_a_broken_disk_may_have_kept_is_neither_refused_nor_given_out_until_it_is_known(
    disk: Disk, database_in: Callable[[Path], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    database = database_in(disk.fails.parent)
    server = start_durable(database, **disk.environment)
    client, worker = server.peer(), server.peer()
    disk.fails.touch()
    client.send(BACKGROUND, b"f", b"", b"w")
    assert "disk I/O error" in server.wait_for_log("background jobs are refused")
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.NO_JOB, b"")
    foreground_job_works(server)
    disk.fails.unlink()
    packet_type, handle = client.receive()
    assert packet_type == CREATED
    server.process.kill()
    server.process.wait()
    server = start_durable(database)
    server.wait_for_log("1 jobs are back")
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, handle + b"\0f\0w")


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_terminated_connections_are_reopened_and_no_job_is_refused(
    kind: str,
    database_of: Callable[[str], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
    put_under_load: Callable[..., list[Load]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database = database_of(kind)
    server = start_durable(database)
    loads = put_under_load(server)
    until(lambda: all(load.acknowledged for load in loads))
    for _ in range(5):
        before = sum(len(load.acknowledged) for load in loads)
        until(lambda: database.terminate_others() > 0)
        until(lambda: sum(len(load.acknowledged) for load in loads) > before + 20)  # noqa: B023 - called at once
    acknowledged = stop(loads)
    assert [load.refused for load in loads] == [0, 0, 0]
    until(lambda: stored(database) == acknowledged)


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_lost_database_costs_submitters_at_most_the_timeout(
    kind: str,
    fault: str,
    database_of: Callable[[str], StoreDatabase],
    start_server: Callable[..., ServerProcess],
    put_under_load: Callable[..., list[Load]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database = database_of(kind)
    url = make_url(database.url)
    proxy = Proxy(url.port or {"postgresql": 5432, "mysql": 3306}[kind])
    away = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    with contextlib.closing(proxy):
        server = start_server("--store", away, "--store-timeout", str(TIMEOUT_S), "--verbose", "NOTICE")
        loads = put_under_load(server)
        until(lambda: all(load.acknowledged for load in loads))
        getattr(proxy, fault)()
        client = server.peer()
        for _ in range(4):
            started = time.monotonic()
            assert client.ask(BACKGROUND, b"f", b"", b"refused")[1].startswith(b"QUEUE_ERROR\0")
            assert time.monotonic() - started < TIMEOUT_S + 1.5  # more on a busy machine
        foreground_job_works(server)
        proxy.heal()
        server.wait_for_log("background jobs are refused")
        server.wait_for_log("NOTICE the store can be written again")
        before = sum(len(load.acknowledged) for load in loads)
        until(lambda: sum(len(load.acknowledged) for load in loads) > before + 20)
        acknowledged = stop(loads)
        # Jobs in the batch whose commit was cut are stored once, and refused ones are not.
        until(lambda: stored(database) == acknowledged)


def test_a_broken_page_costs_its_own_rows_and_no_others(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database)
    client = server.peer()
    handles = [client.ask(BACKGROUND, b"f", b"", b"%04d" % number + b"x" * 200)[1] for number in range(100)]
    server.process.terminate()
    server.wait()
    with database.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    path = database.file
    with open(path, "rb") as file:
        content = file.read()
    at = content.index(b"0050" + b"x" * 200) // 4096 * 4096
    broken = {handle for number, handle in enumerate(handles) if b"%04dxxx" % number in content[at : at + 4096]}
    assert 5 < len(broken) < 50
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 200)
    server = start_durable(database)
    assert "malformed" in server.wait_for_log("set aside, and not run: the store's rows ")
    server.wait_for_log("jobs are back")
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    served = []
    while (answer := worker.ask(PacketType.GRAB_JOB))[0] == PacketType.JOB_ASSIGN:
        served.append(answer[1].split(b"\0")[0])
    assert served == [handle for handle in handles if handle not in broken]
    assert server.peer().ask(BACKGROUND, b"f", b"", b"new")[0] == CREATED


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_whose_lock_did_not_hold_soon_hears_of_it_and_ends(
    kind: str, database_of: Callable[[str], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    database = database_of(kind)
    server = start_durable(database)
    # As if another node of a cluster had given the same lock to another server.
    database.execute("UPDATE gearman_store SET content = '17' WHERE name = 'epoch'")
    with contextlib.suppress(ConnectionError):
        client = server.peer()
        while True:
            client.ask(BACKGROUND, b"f", b"", b"w")
    assert "another gearman-server has owned the store" in server.wait_for_log("this server ends")
    assert server.wait() == 1


def test_a_server_whose_store_was_taken_by_another_ends(
    database_of: Callable[[str], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    database = database_of("postgresql")
    server = start_durable(database)
    # As if another server had owned it while this one's connection was lost.
    database.execute("UPDATE gearman_store SET content = '17' WHERE name = 'epoch'")
    database.terminate_others()
    server.peer().send(BACKGROUND, b"f", b"", b"w")
    assert "another gearman-server has owned the store" in server.wait_for_log("this server ends")
    assert server.wait() == 1
