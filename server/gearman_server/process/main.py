"""The server as a process of its own: limits, log, pid file, signals, and the supervisor that may have started it.

It decides when the server ends and what a signal does, and nothing about jobs. Signal handlers only note and wake.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from gearman_server import log
from gearman_server.errors import StartError
from gearman_server.log import NOTICE, LogSettings, logger
from gearman_server.process.daemon import detach
from gearman_server.process.garbage import GarbageCollection
from gearman_server.process.memory import FreedMemory
from gearman_server.process.pid_file import PidFile
from gearman_server.process.privileges import become, find_user
from gearman_server.process.systemd import inherited_sockets, notify, watchdog_interval_s
from gearman_server.server import Server

#: How long running jobs get to end after the supervisor is gone.
ORPHANED_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What the command line decides about the process around the server."""

    log: LogSettings = field(default_factory=LogSettings)
    daemon: bool = False
    user: str | None = None
    pid_file: str | None = None
    file_descriptors: int | None = None
    supervised_fd: int | None = None
    #: Options that were given and do nothing here.
    without_effect: tuple[str, ...] = ()


def run(server: Server, settings: ProcessSettings) -> None:
    """Serve until told to end.

    Raises:
        StartError: it can't start.
    """
    say_ready = detach() if settings.daemon else None
    user = find_user(settings.user) if settings.user is not None else None
    _limit_descriptors(settings.file_descriptors)
    with _supervisor_hears_of_failure(settings.supervised_fd):
        server.open(inherited_sockets())
    gevent.get_hub()  # now: who becomes another user may not be able to load what gevent still needs
    if user is not None:
        become(user, server.addresses)
    log.configure(settings.log)
    setproctitle(f"gearman-server: {server.describe_addresses()}")
    pid_file = PidFile(settings.pid_file) if settings.pid_file is not None else None
    try:
        _serve(server, settings, say_ready)
    finally:
        server.stop()
        if pid_file is not None:
            pid_file.remove()


def _serve(server: Server, settings: ProcessSettings, say_ready: Callable[[], None] | None) -> None:
    with _supervisor_hears_of_failure(settings.supervised_fd):
        server.start()
    loop = gevent.get_hub().loop
    life = ServerProcess(server, loop)
    if settings.supervised_fd is not None:
        life.obey_supervisor(settings.supervised_fd)
    for option in settings.without_effect:
        logger.log(NOTICE, "the option %s is accepted, and has no effect here", option)
    garbage = GarbageCollection(loop, lambda: server.job_count)
    freed_memory = FreedMemory(loop, server.shrink)  # noqa: F841 - kept as long as the server runs
    if say_ready is not None:
        say_ready()
    notify("READY=1")
    life.reassure_service_manager()
    life.wait()
    notify("STOPPING=1")
    server.stop()
    garbage.close()
    logger.log(NOTICE, "gearman-server ended: %s", life.end_reason)
    if life.failure is not None:
        raise StartError(life.failure)


@contextmanager
def _supervisor_hears_of_failure(descriptor: int | None) -> Iterator[None]:
    """A start that fails is told in place of the ready message; the error goes on its way."""
    try:
        yield
    except StartError as error:
        if descriptor is not None:
            line = json.dumps({"failed": error.failure.value, "reason": error.reason, "option": error.option}) + "\n"
            with suppress(OSError):  # nobody listens: the error is said on standard error all the same
                os.write(descriptor, line.encode())
        raise


class ServerProcess:
    """What ends the server: signals, and the supervisor's end of the socket."""

    def __init__(self, server: Server, loop: Any) -> None:
        self._server = server
        self._loop = loop
        self._ended = Event()
        self.end_reason = ""
        #: Why it could not go on; None: it was told to end.
        self.failure: str | None = None
        # The watchers must be kept: a collected one watches nothing.
        self._watchers: list[Any] = []
        for number, react in (
            (signal.SIGTERM, self._end_now),
            (signal.SIGINT, self._end_now),
            (signal.SIGUSR1, self._end_gracefully),
            (signal.SIGHUP, self._reload),
        ):
            watcher = loop.signal(number)
            watcher.start(react)
            self._watchers.append(watcher)
        server.on_shutdown_command(self._on_shutdown_command)
        server.on_store_lost(self._fail)

    def _on_shutdown_command(self, is_graceful: bool) -> None:
        if is_graceful:
            self._end_gracefully()
        else:
            self._end("the command shutdown")

    def wait(self) -> None:
        """Return when the server is to end."""
        self._ended.wait()

    def reassure_service_manager(self) -> None:
        """Tell it that the loop goes round, if it wants to hear that."""
        interval_s = watchdog_interval_s()
        if interval_s is not None:
            timer = self._loop.timer(0.0, interval_s)
            timer.start(notify, "WATCHDOG=1")
            self._watchers.append(timer)

    def _end(self, reason: str) -> None:
        self.end_reason = self.end_reason or reason
        self._ended.set()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._end(reason)

    def _end_now(self) -> None:
        self._end("signal")

    def _end_gracefully(self) -> None:
        logger.log(NOTICE, "ending gracefully: running jobs are finished, no other is started")
        notify("STOPPING=1")
        self._server.finish(lambda: self._end("graceful, no job is running any more"))

    def _reload(self) -> None:
        notify("RELOADING=1")
        log.reopen()
        self._server.reload()
        notify("READY=1")

    def obey_supervisor(self, descriptor: int) -> None:
        """Tell the supervisor where we listen, and end when it is gone: its end of the socket closes with it."""
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            os.set_blocking(descriptor, False)
        except OSError as error:
            raise StartError(f"--supervised-fd {descriptor} is no open descriptor: {error.strerror}") from error
        watcher = self._loop.io(descriptor, 1)
        watcher.start(self._on_supervisor, descriptor, watcher)
        self._watchers.append(watcher)
        addresses = dict(self._server.addresses_by_purpose)
        line = json.dumps({"listening": addresses.pop("jobs", ()), "pid": os.getpid(), **addresses}) + "\n"
        try:
            os.write(descriptor, line.encode())
        except OSError as error:
            logger.warning("the supervisor can't be told where we listen: %s", error.strerror)

    def _on_supervisor(self, descriptor: int, watcher: Any) -> None:
        try:
            if os.read(descriptor, 4096):
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


def _limit_descriptors(wanted: int | None) -> None:
    """Raise the soft limit on open files: to what `-f` says, or as far as this process may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (wanted, max(hard, wanted)) if wanted is not None else (hard, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (OSError, ValueError) as error:
        if wanted is not None:
            raise StartError(f"-f {wanted} is more open files than this process may have ({hard})") from error
