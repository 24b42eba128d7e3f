"""The signals to a server that is a process of its own, and all reasons for its end.

It decides nothing about jobs. `main` makes a `ServerProcess` once the server listens, and waits for its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gevent.event import Event

from gearman_process import early_signals
from gearman_process.service_manager import ServiceManager
from gearman_server.errors import StartError
from gearman_server.log import NOTICE, logger
from gearman_server.loop import READABLE, Loop, Watcher
from gearman_server.process import log_handlers
from gearman_server.server import Server

#: How long running jobs may go on after the supervisor is gone.
ORPHANED_PATIENCE_S: Final = 10.0
#: The supervisor's order to end. The manager's `job_servers.bundled_process` has it too.
STOP: Final = b"stop\n"
#: The supervisor's order to end once no job is running; STOP may follow.
FINISH: Final = b"finish\n"


class ServerProcess:
    """Ends the server on a signal, on the command `shutdown`, or when its supervisor or its store is gone."""

    def __init__(
        self, server: Server, loop: Loop, service_manager: ServiceManager, *, is_bundled: bool = False
    ) -> None:
        """`is_bundled`: leave the end to the supervisor, who may have got the same signal."""
        self._server = server
        self._is_bundled = is_bundled
        self._loop = loop
        self._service_manager = service_manager
        self._ended = Event()
        self.end_reason = ""
        #: The reason why it could not go on; None: it was told to end.
        self.failure: str | None = None
        # Kept, because a garbage-collected watcher watches nothing.
        self._watchers: list[Watcher] = []
        self._signal_watchers: dict[int, Watcher] = {}
        reactions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._end_now,
            signal.SIGINT: self._end_now,
            signal.SIGQUIT: self._end_now,
            signal.SIGUSR1: self._end_gracefully,
        }
        if is_bundled:
            reactions = dict.fromkeys(reactions, self._leave_to_supervisor) | {signal.SIGPWR: self._do_nothing}
        reactions |= {signal.SIGHUP: self._reload, signal.SIGUSR2: self._do_nothing}
        for number, react in reactions.items():
            watcher = self._signal_watchers[number] = loop.signal(number)
            watcher.start(react)
        self._came_early = [reactions[number] for number in early_signals.take()]
        server.on_shutdown_command(self._on_shutdown_command)
        server.on_store_lost(self._fail)

    def ignore_signals(self) -> None:
        """At the end: a signal must not turn it into a crash."""
        for watcher in self._signal_watchers.values():
            watcher.stop()
        early_signals.ignore_all()

    def _on_shutdown_command(self, is_graceful: bool) -> None:
        if is_graceful:
            self._end_gracefully()
        else:
            self._end("the command shutdown")

    def wait(self) -> None:
        """Return when the server has to end."""
        for react in self._came_early:
            react()
        self._ended.wait()

    def reassure_service_manager(self) -> None:
        """Report regularly that the loop goes round, if the service manager wants that."""
        patience_s = self._service_manager.patience_s
        if patience_s is not None:
            timer = self._loop.timer(0.0, patience_s / 2)
            timer.start(lambda: self._service_manager.tell(WATCHDOG=1))
            self._watchers.append(timer)

    def _end(self, reason: str) -> None:
        self.end_reason = self.end_reason or reason
        self._ended.set()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._end(reason)

    def _end_now(self) -> None:
        self._end("signal")

    def _leave_to_supervisor(self) -> None:
        logger.log(NOTICE, "a signal to end: the manager that started this server ends it, after its workers")

    def _do_nothing(self) -> None:
        """A signal that means something to the manager alone, and may have been sent to all processes."""

    def _end_gracefully(self) -> None:
        logger.log(NOTICE, "ending gracefully: running jobs are finished, no other is started")
        self._service_manager.tell(STOPPING=1)
        self._server.finish(lambda: self._end("graceful, no job is running any more"))

    def _reload(self) -> None:
        self._service_manager.tell_reloading()
        log_handlers.reopen()
        self._server.reload()
        self._service_manager.tell(READY=1)

    def obey_supervisor(self, descriptor: int) -> None:
        """Tell the supervisor our addresses, and end when it is gone: its end of the socket closes with it.

        A manager gets our listening sockets too, to keep them for the process that follows this one.
        """
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            os.set_blocking(descriptor, False)
        except OSError as error:
            raise StartError(f"--supervised-fd {descriptor} is no open descriptor: {error.strerror}") from error
        watcher = self._loop.io(descriptor, READABLE)
        watcher.start(self._on_supervisor, descriptor, watcher)
        self._watchers.append(watcher)
        addresses = dict(self._server.addresses_by_purpose)
        sockets = self._server.sockets_to_keep if self._is_bundled else []
        kept = [purpose for purpose, _ in sockets]
        told = {"listening": addresses.pop("jobs", ()), "pid": os.getpid(), **addresses}
        if kept:
            told["kept"] = kept
        try:
            with socket.socket(fileno=os.dup(descriptor)) as supervisor:
                numbers = [listening.fileno() for _, listening in sockets]
                socket.send_fds(supervisor, [json.dumps(told).encode() + b"\n"], numbers)
        except OSError as error:
            logger.warning("the supervisor can't be told where we listen: %s", error.strerror)

    def _on_supervisor(self, descriptor: int, watcher: Watcher) -> None:
        try:
            if told := os.read(descriptor, 4096):
                if told.endswith(STOP):
                    self._end("the supervisor")
                elif told.endswith(FINISH):
                    self._end_gracefully()
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # as good as the end of file
        watcher.stop()
        logger.log(NOTICE, "the supervisor is gone: running jobs get %g s", ORPHANED_PATIENCE_S)
        self._server.finish(lambda: self._end("the supervisor is gone, and no job is running any more"))
        timer = self._loop.timer(ORPHANED_PATIENCE_S)
        timer.start(self._end, "the supervisor is gone, and its jobs took too long")
        self._watchers.append(timer)


@contextmanager
def supervisor_hears_of_failure(descriptor: int | None) -> Iterator[None]:
    """Report a failed start to the supervisor, instead of the ready message, and raise the error further."""
    try:
        yield
    except StartError as error:
        if descriptor is not None:
            line = json.dumps({"failed": error.failure.value, "reason": error.reason, "option": error.option}) + "\n"
            with suppress(OSError):  # nobody listens; the error appears on standard error anyway
                os.write(descriptor, line.encode())
        raise
