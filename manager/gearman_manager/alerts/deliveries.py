"""Delivers messages: a process for each attempt, so that neither a mail server nor a name server is waited for here.

Each target has its own line. One that can't be reached is tried again after growing pauses, and given up after some.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import BinaryIO, Final

import gevent
import gevent.queue
import gevent.socket

from gearman_manager.alerts.message import Message
from gearman_manager.alerts.targets import Target
from gearman_manager.host import process

_log = logging.getLogger("alerts")
#: After each attempt that failed.
PAUSES_S: Final = (5.0, 30.0, 120.0, 300.0)
#: For one attempt, with the start of its process.
ATTEMPT_S: Final = 60.0
#: Messages that wait for one target; beyond them the oldest is lost.
MOST_WAITING: Final = 20
_MOST_OUTPUT_BYTES: Final = 65536


class Deliveries:
    """The lines of all targets."""

    def __init__(self, pauses_s: tuple[float, ...] = PAUSES_S) -> None:
        self._pauses_s = pauses_s
        self._lines: dict[Target, _Line] = {}
        #: The processes that deliver now; they are reaped here.
        self.pids: set[int] = set()

    def send(self, message: Message, targets: Iterable[Target]) -> None:
        """Deliver a message to these targets, soon. Targets that are not named any more are forgotten."""
        named = list(targets)
        for target in self._lines.keys() - set(named):
            self._lines.pop(target).close()
        for target in named:
            if target not in self._lines:
                self._lines[target] = _Line(target, self._pauses_s, self.pids)
            self._lines[target].add(message)

    def close(self) -> None:
        """Deliver nothing more."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


class _Line:
    """The messages for one target, one after the other."""

    def __init__(self, target: Target, pauses_s: tuple[float, ...], pids: set[int]) -> None:
        self._target = target
        self._pauses_s = pauses_s
        self._pids = pids
        self._waiting: gevent.queue.Queue[Message] = gevent.queue.Queue()
        self._greenlet = gevent.spawn(self._run)

    def add(self, message: Message) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            lost = self._waiting.get_nowait()
            _log.error("%s: a message is lost, too many wait: %s", self._target.title, lost.subject)
        self._waiting.put_nowait(message)

    def close(self) -> None:
        self._greenlet.kill(block=False)

    def _run(self) -> None:
        while True:
            message = self._waiting.get()
            try:
                self._deliver(message)
            except Exception:  # noqa: BLE001 (the loop's boundary: the next message may be delivered)
                _log.exception("%s: unexpected", self._target.title)

    def _deliver(self, message: Message) -> None:
        title = self._target.title
        for pause_s in (*self._pauses_s, None):
            reason = self._attempt(message)
            if reason is None:
                _log.info("%s: told: %s", title, message.subject)
                return
            if pause_s is None:
                _log.error("%s: given up: %s; %s", title, reason, message.subject)
            else:
                _log.warning("%s: %s; trying again in %g s", title, reason, pause_s)
                gevent.sleep(pause_s)

    def _attempt(self, message: Message) -> str | None:
        """Have a process deliver the message; returns the reason why it could not, None if it could."""
        try:
            with _file(_order(self._target, message)) as ordered, _file(b"") as output:
                command = [sys.executable, "-P", "-m", "gearman_manager.alerts.deliver", str(ordered.fileno())]
                child = process.start(command, [ordered.fileno()], output.fileno())
                return self._outcome(child, output)
        except OSError as error:
            return f"no process can be started: {error.strerror}"

    def _outcome(self, child: process.Child, output: BinaryIO) -> str | None:
        """Wait for the end of a delivery. Its output, if there is any, ends with the reason why it failed."""
        self._pids.add(child.pid)
        try:
            status = _end_of(child)
        finally:
            self._pids.discard(child.pid)
            os.close(child.pidfd)
        if status == 0:
            return None
        output.seek(0)
        said = output.read(_MOST_OUTPUT_BYTES).decode(errors="backslashreplace").strip()
        return said.rpartition("\n")[2] or f"its process ended without a word ({process.describe_status(status)})"


def _order(target: Target, message: Message) -> bytes:
    """The order, as `deliver.py` reads it."""
    parts = {"subject": message.subject, "text": message.text, "data": message.data}
    return json.dumps({"target": target.to_json(), "message": parts}).encode()


def _file(content: bytes) -> BinaryIO:
    """A file without a name."""
    file = os.fdopen(os.memfd_create("gearman-manager-alert", os.MFD_CLOEXEC), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file


def _end_of(child: process.Child) -> int | None:
    """Wait for the end of a process, and reap it; one that takes too long is killed."""
    try:
        gevent.socket.wait_read(child.pidfd, timeout=ATTEMPT_S)
    except TimeoutError:
        pass
    finally:
        process.send_signal(child.pidfd, signal.SIGKILL)
    gevent.socket.wait_read(child.pidfd)
    return process.exit_status(child.pidfd)
