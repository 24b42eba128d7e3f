"""Keeps the sender's process alive while the configuration has a section `otel`, and ends it with the manager."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import gevent
import gevent.socket

from gearman_manager import __version__
from gearman_manager.config import Config
from gearman_manager.host import process
from gearman_manager.logs.output import ChildOutput
from gearman_manager.telemetry.order import SenderOrder

_log = logging.getLogger("otel")
#: How often the configuration in force is looked at, and for an end of the process.
LOOK_S: Final = 1.0
#: Before the next one if one has ended by itself: it doubles up to the other.
RETRY_S: Final = 2.0
LONGEST_RETRY_S: Final = 60.0
#: For its last attempts, with the time to end.
END_S: Final = 4.0
#: sun_path of unix(7), less its zero byte. Workers, which may change their working directory, use the whole path.
MAX_SOCKET_PATH_BYTES: Final = 107
#: Workers that connect while there is no sender, or while it is busy.
BACKLOG: Final = 1024


class SenderProcess:
    """The sender, if one is wanted."""

    def __init__(
        self, manager: str, control_socket: Path, span_socket: Path, config: Callable[[], Config], lifeline: int
    ) -> None:
        """The sockets are those of the run folder; `config` gives the configuration in force."""
        self._manager = manager
        self._control_socket = control_socket
        self._span_socket = span_socket
        self._config = config
        self._lifeline = lifeline
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._child: process.Child | None = None
        #: Of the child, while there is one.
        self._output: ChildOutput | None = None
        self._listener: socket.socket | None = None

    @property
    def pids(self) -> set[int]:
        """Its process, which is reaped here."""
        return {self._child.pid} if self._child is not None else set()

    def start(self) -> None:
        """Follow the configuration from now on."""
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        """End it; it has some time for what it has not sent."""
        if self._greenlet is not None:
            self._greenlet.kill()
        self._end_child()
        if self._listener is not None:
            self._listener.close()
            with suppress(OSError):
                self._span_socket.unlink()

    def _wanted(self) -> SenderOrder | None:
        otel = self._config().otel
        if otel is None or not (otel.metrics or otel.traces):
            return None
        return SenderOrder(
            manager=self._manager,
            version=__version__,
            control_socket=str(self._control_socket),
            endpoint=otel.endpoint or "",
            headers_file=otel.headers_file or "",
            interval_s=otel.interval,
            has_metrics=otel.metrics,
        )

    def _run(self) -> None:
        pause_s = RETRY_S
        while True:
            order = self._wanted()
            if order is None:
                gevent.sleep(LOOK_S)
                continue
            try:
                self._child = self._start(order)
            except OSError as error:
                _log.error("no process can be started: %s; trying again in %g s", error.strerror, pause_s)
            else:
                if self._is_replaced(order):
                    pause_s = RETRY_S
                    continue
                _log.warning("the sender has ended; another one follows in %g s", pause_s)
            gevent.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)

    def _is_replaced(self, order: SenderOrder) -> bool:
        """Watch it until it ends by itself (False), or another order is wanted, and it has ended by our wish (True)."""
        while self._child is not None:
            try:
                gevent.socket.wait_read(self._child.pidfd, timeout=LOOK_S)
            except TimeoutError:
                if self._wanted() == order:
                    continue
                self._end_child()
                return True
            self._reap()
        return False

    def _start(self, order: SenderOrder) -> process.Child:
        """Start it, with its output.

        Raises:
            OSError: the system refuses; nothing is left open but the socket of the workers.
        """
        listening = self._listening()
        with (
            os.fdopen(os.memfd_create("gearman-manager-otel", os.MFD_CLOEXEC), "w+b", buffering=0) as ordered,
            ExitStack() as undo,
        ):
            ordered.write(order.encode())
            ordered.seek(0)
            descriptors = [ordered.fileno(), self._lifeline, listening.fileno()]
            command = [sys.executable, "-P", "-m", "gearman_manager.telemetry.sender", *map(str, descriptors)]
            output = ChildOutput(gevent.get_hub().loop, "otel", {})
            undo.callback(output.close)
            child = process.start(command, descriptors, output.write_end)
            undo.pop_all()
        output.handed_over()
        output.follow(child.pid)
        self._output = output
        return child

    def _listening(self) -> socket.socket:
        """The socket of the workers, which outlives a sender."""
        if self._listener is None:
            path = self._span_socket
            if len(os.fsencode(path.absolute())) > MAX_SOCKET_PATH_BYTES:
                _log.error("no spans are sent: %s is too long for a socket; set run_dir to a shorter path", path)
            with suppress(FileNotFoundError):
                path.unlink()
            with ExitStack() as undo:
                listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                listener.bind(str(path))
                path.chmod(0o600)
                listener.listen(BACKLOG)
                undo.pop_all()
            self._listener = listener
        return self._listener

    def _end_child(self) -> None:
        if self._child is None:
            return
        process.send_signal(self._child.pidfd, signal.SIGTERM)
        with suppress(TimeoutError):
            gevent.socket.wait_read(self._child.pidfd, timeout=END_S)
        process.send_signal(self._child.pidfd, signal.SIGKILL)
        gevent.socket.wait_read(self._child.pidfd)
        self._reap()

    def _reap(self) -> None:
        if self._child is not None:
            process.exit_status(self._child.pidfd)
            os.close(self._child.pidfd)
            self._child = None
        if self._output is not None:
            self._output.close()
            self._output = None
