"""An idle worker whose connection dies without a word: within seconds it is on a new one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import Client, Worker, WorkerSettings, connect_admin
from gearman_client.packet import PacketType
from gearman_client.worker.concurrent_worker import ConcurrentWorker

from ...gearmand import Gearmand
from ...silent_proxy import silent_proxy
from ..conftest import RecordingObserver, RunningWorker, ScriptedServer

T = PacketType
QUICK = WorkerSettings(probe_s=0.2)


def test_a_waiting_worker_finds_a_new_connection_when_a_balancer_has_forgotten_its_own(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker], wait_for: Callable[..., Any]
) -> None:
    observer = RecordingObserver()
    with silent_proxy(gearmand.address) as proxy, Client(gearmand.address, timeout_s=20) as client:
        start_worker(proxy.address, {"f": lambda job: b"done"}, observer=observer)
        assert client.submit("f", b"") == b"done"
        proxy.wait_for_sleeper()
        before = time.monotonic()
        proxy.forget()
        wait_for(lambda: len(observer.named("connected")) == 2, "a new connection")
        assert time.monotonic() - before < 12, "with the settings that everybody gets"
        assert "is there" in observer.named("disconnected")[0][2]
        assert client.submit("f", b"") == b"done"


def test_a_waiting_concurrent_worker_finds_a_new_connection_too(
    gearmand: Gearmand, in_thread: Callable[..., Future[Any]], wait_for: Callable[..., Any]
) -> None:
    observer = RecordingObserver()
    with (
        silent_proxy(gearmand.address) as proxy,
        ConcurrentWorker(proxy.address, QUICK, observer=observer) as worker,
        Client(gearmand.address, timeout_s=20) as client,
    ):
        worker.register("f")

        def work() -> None:
            while not worker.stopping:
                for job in worker.take(2):
                    job.complete(b"done")

        working = in_thread(work)
        assert client.submit("f", b"") == b"done"
        proxy.wait_for_sleeper()
        proxy.forget()
        wait_for(lambda: len(observer.named("connected")) == 2, "a new connection")
        assert client.submit("f", b"") == b"done"
        worker.stop()
        working.result(10)


def test_a_server_that_answers_keeps_its_connection_and_wakes_the_worker_as_ever(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    observer = RecordingObserver()
    start_worker(gearmand.address, {"f": lambda job: b"done"}, observer=observer, settings=WorkerSettings(probe_s=0.5))
    with Client(gearmand.address, timeout_s=20) as client:
        for _ in range(2):
            time.sleep(0.7)  # longer than a silence before a probe; the answer has half a second
            assert client.submit("f", b"") == b"done"
    assert len(observer.events) == 1


@pytest.fixture
def asleep(scripted_server: ScriptedServer, observer: RecordingObserver, in_thread: Callable[..., Future[Any]]) -> Any:
    """A sleeping worker that probes after 0.2 s, and the server's end of its connection."""
    with Worker(scripted_server.address, QUICK, observer=observer) as worker:
        worker.register("f")
        grabbed = in_thread(worker.grab)
        peer = scripted_server.accept()
        peer.greet(b"f")
        peer.put_to_sleep()
        yield peer, grabbed, observer
        worker.stop()
        scripted_server.close()


def test_a_wake_up_that_crosses_a_probe_counts_as_an_answer(asleep: Any) -> None:
    peer, grabbed, observer = asleep
    peer.expect(T.ECHO_REQ, b"there?")
    peer.send(T.NOOP)
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.ECHO_RES, b"there?")
    peer.put_to_sleep()
    peer.expect(T.ECHO_REQ, b"there?")
    peer.send(T.ECHO_RES, b"there?")
    peer.expect(T.ECHO_REQ, b"there?")
    peer.send(T.NOOP)
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"w")
    assert grabbed.result(10).workload == b"w"
    assert len(observer.events) == 1


def test_a_server_that_refuses_the_question_is_not_asked_again_and_not_reported(asleep: Any) -> None:
    peer, grabbed, observer = asleep
    peer.expect(T.ECHO_REQ, b"there?")
    peer.send(T.ERROR, b"UNKNOWN", b"no echo here")
    peer.socket.settimeout(0.6)
    with pytest.raises(TimeoutError):
        peer.next()
    peer.socket.settimeout(10)
    peer.send(T.NOOP)
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"w")
    assert grabbed.result(10).workload == b"w"
    assert len(observer.events) == 1


def test_the_kernel_asks_a_silent_peer_once_a_minute(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client, connect_admin(gearmand.address) as admin:
        client.echo()
        (pool,) = client._pools._idle
        connection = pool.servers[0].connection
        assert connection is not None
        for descriptor in (connection.fileno(), admin._socket.fileno()):  # type: ignore[attr-defined]
            with socket.socket(fileno=descriptor) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
                sock.detach()
