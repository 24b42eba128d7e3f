"""The supervisor's side of a zygote: starts it, sends it orders, passes on its reports and the news of its end.

News of its workers goes to `ForkEvents`, news of its own end to the function that its starter gave.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Final, Protocol

import gevent
import gevent.event
import gevent.lock
import gevent.queue
import gevent.socket

from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.ipc import channel
from gearman_manager.ipc.links import Links, descriptor_options
from gearman_manager.logs.output import ChildOutput
from gearman_manager.worker.order import Order

_log = logging.getLogger("zygote")
LOAD_TIMEOUT_S: Final = 60.0
#: When a load that still goes on is worth a line in the log.
SLOW_LOAD_S: Final = (5.0, 15.0, 30.0)
END_TIMEOUT_S: Final = 5.0


class ForkEvents(Protocol):
    """The listener to the lives of the workers that a zygote forks."""

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """The worker was forked; the pidfd is the listener's to close."""

    def spawn_failed(self, name: str, reason: str) -> None:
        """The fork failed."""

    def exited(self, pid: int, status: int) -> None:
        """A worker was reaped; status as in `process.exit_status`."""

    def stopped(self, pid: int) -> None:
        """A worker was stopped by SIGSTOP, perhaps by ourselves."""


class ZygoteProcess:
    """One zygote, from its exec to its end."""

    def __init__(self, links: Links, log_level: str, forks: ForkEvents, gone: ZygoteEnd) -> None:
        """`gone` is called after its death, expected or not; its workers live on.

        Raises:
            StartError: the system refuses.
        """
        self._scoreboard = links.scoreboard
        self._forks = forks
        self._tell_gone = gone
        self._loaded: gevent.event.AsyncResult[channel.Message | None] = gevent.event.AsyncResult()
        self._sending = gevent.lock.RLock()
        self._outstanding: set[str] = set()
        self._is_dismissed = False
        self._has_heard_all = False
        #: The module that it imported last.
        self.loading = ""
        #: The exit status; None before the end.
        self.status: int | None = None
        self.took_too_long = False
        self._gone = gevent.event.Event()
        try:
            self._child, self._sock, self.output = _exec(links, log_level)
        except OSError as error:
            raise StartError(f"a zygote can't be started: {error.strerror}") from error
        self._watcher = gevent.get_hub().loop.io(self._child.pidfd, 1)
        self._watcher.start(self._ended)
        self._heard: gevent.queue.SimpleQueue[list[channel.Message] | None] = gevent.queue.SimpleQueue()
        self._reader = gevent.spawn(self._read)
        self._receiver = gevent.spawn(self._receive)
        self.is_alive = True

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._child.pid

    def load(
        self,
        folders: Sequence[str],
        without: Collection[str] = (),
        slow: Callable[[float], None] = lambda _seconds: None,
    ) -> channel.Message | None:
        """Let it import the modules of these folders, except some files; `slow` is called while that takes long.

        Returns its report, None if it died or took too long.
        """
        self._send({"type": "load", "folders": list(folders), "without": list(without)})
        began = time.monotonic()
        for seconds in (*SLOW_LOAD_S, LOAD_TIMEOUT_S):
            try:
                report: channel.Message | None = self._loaded.get(timeout=max(0.0, began + seconds - time.monotonic()))
            except gevent.Timeout:
                if seconds < LOAD_TIMEOUT_S:
                    slow(seconds)
            else:
                return report
        self.took_too_long = True
        return None

    def wait_for_end(self, timeout_s: float = END_TIMEOUT_S) -> bool:
        """Wait until it is gone and `status` is known; returns False if that takes too long."""
        return bool(self._gone.wait(timeout_s))

    def spawn(self, order: Order, log_pipe: int, stop_timeout_s: float, claims: tuple[int, ...] = ()) -> None:
        """Have a worker forked, with its output on this pipe; `claims` are its ends of a `ClaimPipe`, if it has one.

        It is guarded from then on. The answer comes as an event.
        """
        self._outstanding.add(order.name)
        message = {"type": "spawn", "stop_timeout_s": stop_timeout_s} | order.to_message()
        self._send(message, (log_pipe, self._scoreboard.descriptor, *claims))

    def guard(self, pidfd: int, pid: int, client_id: str, stop_timeout_s: float, *, is_program: bool) -> None:
        """Let it kill this worker if we are gone and it takes longer than its `stop_timeout` to leave."""
        if self._has_heard_all:
            return
        ward = {"pid": pid, "client_id": client_id, "stop_timeout_s": stop_timeout_s, "is_program": is_program}
        try:
            own = process.open_again(pidfd, pid)
        except OSError as error:
            _log.warning("no zygote guards the worker %d: %s", pid, error.strerror, extra={"pid": self.pid})
            return
        if own is None:
            return  # it has ended
        try:
            self._send({"type": "guard", "ward": ward}, (own,))
        finally:
            os.close(own)

    def dismiss(self) -> None:
        """Let it end once it has answered every order; its workers live on as the supervisor's own children."""
        if not self._is_dismissed:
            self._is_dismissed = True
            self._leave_when_done()

    def kill(self) -> None:
        """End it now."""
        if self.is_alive:
            process.send_signal(self._child.pidfd, signal.SIGKILL)

    def _leave_when_done(self) -> None:
        if self._is_dismissed and not self._outstanding and self.is_alive and not self._has_heard_all:
            self._has_heard_all = True  # reports that were under way still come
            self._send({"type": "dismiss"})
            with suppress(OSError):  # it may have died just now
                self._sock.shutdown(socket.SHUT_WR)

    def _send(self, message: channel.Message, descriptors: tuple[int, ...] = ()) -> None:
        try:
            with self._sending:
                channel.send(self._sock, message, descriptors)
        except OSError as error:
            _log.warning("can't talk to the zygote: %s", error, extra={"pid": self.pid})

    def _read(self) -> None:
        """Read on, whatever becomes of the messages. What one of them leads to may wait until the zygote reads, and a
        zygote that waits until we read would never do so."""
        reader = channel.FrameReader()
        try:
            while (messages := channel.receive(self._sock, reader)) is not None:
                self._heard.put(messages)
        except OSError:
            return  # it died: its pidfd reports the end
        except Exception:  # noqa: BLE001 (the loop's boundary: a zygote that sends nonsense is replaced)
            self._replace()
        finally:
            reader.close()
            self._heard.put(None)

    def _receive(self) -> None:
        try:
            while (messages := self._heard.get()) is not None:
                for message in messages:
                    self._dispatch(message)
        except Exception:  # noqa: BLE001 (the loop's boundary: as above)
            self._replace()

    def _replace(self) -> None:
        if self.is_alive:
            _log.exception("what the zygote says can't be understood: it is replaced", extra={"pid": self.pid})
            self.kill()

    def _dispatch(self, message: channel.Message) -> None:
        kind = message["type"]
        if kind == "loading":
            self.loading = message["file"]
        elif kind == "loaded":
            self._loaded.set(message)
        elif kind == "spawned":
            self._outstanding.discard(message["name"])
            self._forks.spawned(message["name"], message["pid"], message["descriptors"][0])
        elif kind == "spawn_failed":
            self._outstanding.discard(message["name"])
            self._forks.spawn_failed(message["name"], message["error"])
        elif kind == "exited":
            self._forks.exited(message["pid"], message["status"])
        elif kind == "stopped":
            self._forks.stopped(message["pid"])
        self._leave_when_done()

    def _ended(self) -> None:
        """In the hub: the process is gone. Its last messages are read before its end is reported."""
        self._watcher.stop()
        gevent.spawn(self._finish)

    def _finish(self) -> None:
        self._receiver.join(timeout=1)
        self.is_alive = False
        status = self.status = process.exit_status(self._child.pidfd)
        self._watcher.close()
        os.close(self._child.pidfd)
        self._sock.close()
        self.output.close()
        self._loaded.set(None)
        self._gone.set()
        self._tell_gone(self, status)


#: Takes a zygote that has ended, and its exit status if that is known.
ZygoteEnd = Callable[[ZygoteProcess, int | None], None]


def _exec(links: Links, log_level: str) -> tuple[process.Child, gevent.socket.socket, ChildOutput]:
    """Start a zygote; returns its process, our end of the channel, and its output.

    Raises:
        OSError: the system refuses; nothing is left open.
    """
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as undo:
        undo.callback(ours.close)
        output = ChildOutput(gevent.get_hub().loop, "zygote", {})
        undo.callback(output.close)
        descriptors = links.descriptors(channel=theirs.fileno())
        options = [*descriptor_options(descriptors), "--log-level", log_level]
        # -P: a file in the working directory must not shadow a library.
        arguments = [sys.executable, "-P", "-m", "gearman_manager.worker.zygote", *options]
        child = process.start(arguments, list(descriptors.values()), output.write_end)
        undo.pop_all()
    output.handed_over()
    output.follow(child.pid)
    return child, gevent.socket.socket(fileno=ours.detach()), output
