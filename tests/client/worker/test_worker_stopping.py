"""The worker against a scripted server: grabs that end without a job, ways to stop, and the fate of pending answers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from gearman_client import Worker
from gearman_client.packet import PacketType
from gearman_client.worker.worker import LOOK_INTERVAL_S

from ..conftest import RecordingObserver, ScriptedServer

T = PacketType


def test_an_interrupt_descriptor_ends_an_idle_grab(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    reader, writer = os.pipe()
    worker.interrupt_on(reader)
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    os.close(writer)  # the manager has died
    assert grabbed.result(10) is None
    assert worker.grab() is None
    os.close(reader)


def test_an_interrupt_is_seen_within_a_millisecond_before_the_next_job_is_requested(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    reader, writer = os.pipe()
    worker.interrupt_on(reader)
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(b"r")
    os.write(writer, b"!")
    time.sleep(LOOK_INTERVAL_S)
    assert worker.grab() is None
    assert peer.read_once() == [(T.WORK_COMPLETE, b"H:x:1\0r")]
    os.read(reader, 1)
    grabbed = in_thread(worker.grab)  # the descriptor can't be read any more: the worker goes on
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"")
    assert grabbed.result(10).handle == "H:x:2"
    os.close(reader)
    os.close(writer)


def test_a_grab_without_a_job_returns_at_its_timeout(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    started = time.monotonic()
    grabbed = in_thread(worker.grab, 0.2)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    assert grabbed.result(10) is None
    assert 0.2 <= time.monotonic() - started < 5


def test_a_job_that_was_requested_before_stop_is_returned_and_its_answer_is_sent(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")  # returns when the grab has arrived
    worker.stop()
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(b"r")
    assert worker.grab() is None
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"r")


def test_stop_wakes_an_idle_worker_and_no_further_grab_is_sent(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    worker.stop()
    assert grabbed.result(10) is None
    assert worker.grab() is None
    closing = in_thread(worker.close)
    assert peer.read_to_end() == []
    peer.close()
    closing.result(10)


def test_stop_before_a_connection_is_made_returns_at_once(worker: Worker, scripted_server: ScriptedServer) -> None:
    worker.stop()
    assert worker.grab() is None


def test_stop_may_be_called_from_a_signal_handler_while_the_worker_sleeps(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    def play() -> None:
        peer = scripted_server.accept()
        peer.greet(b"f")
        peer.put_to_sleep()
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, lambda _number, _frame: worker.stop())
    try:
        playing = in_thread(play)
        assert worker.grab() is None
        playing.result(10)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_close_sends_the_pending_result_and_waits_until_the_server_has_read_it(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    result = bytes(4 * 1024 * 1024)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(result)
    closing = in_thread(worker.close)
    peer.send(T.NOOP)  # unread bytes would make the kernel send RST at a close
    assert peer.read_to_end() == [(T.WORK_COMPLETE, b"H:x:1\0" + result)]
    assert not closing.done()
    peer.close()
    closing.result(10)


def test_close_waits_only_a_limited_time_for_a_server_that_keeps_its_end_open(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab, 0)
    scripted_server.accept()
    grabbed.result(10)
    started = time.monotonic()
    worker.close()
    assert time.monotonic() - started < 5
    worker.close()  # a second close is allowed


def test_a_result_whose_connection_is_gone_is_dropped_and_reported(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    job = grabbed.result(10)
    peer.close()
    grabbed = in_thread(worker.grab)  # notices the end of the connection and connects again
    again = scripted_server.accept()
    again.greet(b"f")
    job.status(1, 2)
    job.complete(b"too late")
    again.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(b"second time")
    worker.flush()
    again.expect(T.WORK_COMPLETE, b"H:x:1", b"second time")
    assert observer.named("result_lost") == [("result_lost", scripted_server.address, "H:x:1")]


def test_a_result_that_no_reply_confirmed_is_reported_when_the_connection_ends(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(b"confirmed by the next assignment")
    grabbed = in_thread(worker.grab)
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"confirmed by the next assignment")
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"")
    grabbed.result(10).complete(b"sent, but never confirmed")
    grabbed = in_thread(worker.grab)
    peer.expect(T.WORK_COMPLETE, b"H:x:2", b"sent, but never confirmed")
    peer.close()
    again = scripted_server.accept()
    again.greet(b"f")
    again.send(T.JOB_ASSIGN_UNIQ, b"H:x:3", b"f", b"", b"")
    grabbed.result(10)
    assert [event[2] for event in observer.named("result_lost")] == ["H:x:2"]
