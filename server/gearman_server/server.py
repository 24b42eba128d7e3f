"""The job server as a running process: built from its settings, serving until a signal or its supervisor ends it."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import platform
import resource
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from gearman_server import __version__, log
from gearman_server.admin import ServerFacts
from gearman_server.broker import Broker
from gearman_server.errors import StartError
from gearman_server.job_table import BrokerSettings
from gearman_server.listener import Listener, ListenerSettings
from gearman_server.log import NOTICE, LogSettings, logger
from gearman_server.sockets import ListenSettings, describe_address, open_sockets
from gearman_server.store import MemoryStore

#: How long running jobs get to end after the supervisor is gone.
ORPHANED_PATIENCE_S: Final = 10.0

# Jobs are in no cycles, and a collection looks at every one there is: with Python's defaults a growing queue of a
# million jobs stops the server for 60 ms at a time, with these for 6 ms (99.9th percentile of a submission, measured).
_GARBAGE_THRESHOLDS: Final = (2_000, 10, 10_000)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything the command line decides."""

    listen: ListenSettings = field(default_factory=ListenSettings)
    bounds: ListenerSettings = field(default_factory=ListenerSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    log: LogSettings = field(default_factory=LogSettings)
    pid_file: str | None = None
    file_descriptors: int | None = None
    supervised_fd: int | None = None
    #: Options that were given and do nothing here.
    without_effect: tuple[str, ...] = ()


def default_handle_prefix() -> bytes:
    """`H:HOST`, as in gearmand."""
    return b"H:" + platform.node().encode("utf-8", "replace")


def run(settings: ServerSettings) -> None:
    """Serve until told to end.

    Raises:
        StartError: it can't start.
    """
    _limit_descriptors(settings.file_descriptors)
    sockets = open_sockets(settings.listen)
    addresses = [describe_address(listening) for listening in sockets]
    log.configure(settings.log)
    setproctitle(f"gearman-server: {', '.join(addresses)}")
    _write_pid_file(settings.pid_file)
    try:
        _serve(settings, sockets, addresses)
    finally:
        _remove_pid_file(settings.pid_file)


def _serve(settings: ServerSettings, sockets: list[socket.socket], addresses: list[str]) -> None:
    facts = ServerFacts(__version__, os.getpid(), settings.log.level)
    broker = Broker(MemoryStore(_first_handle_number()), settings.broker, facts)
    log.log_events(broker.events)
    loop = gevent.get_hub().loop
    listener = Listener(broker, loop, settings.bounds)
    listener.listen(sockets)
    life = Life(listener, loop)
    if settings.supervised_fd is not None:
        life.obey_supervisor(settings.supervised_fd, addresses)
    logger.log(NOTICE, "gearman-server %s listens on %s", __version__, ", ".join(addresses))
    for option in settings.without_effect:
        logger.log(NOTICE, "the option %s is accepted, and has no effect here", option)
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    gc.freeze()
    life.wait()
    listener.close()
    logger.log(NOTICE, "gearman-server ended: %s", life.end_reason)


def _first_handle_number() -> int:
    """Microseconds since 1970: no restarted server can have been counted that far, so no handle comes twice."""
    return time.time_ns() // 1000


class Life:
    """What ends the server: signals, and the supervisor's end of the socket."""

    def __init__(self, listener: Listener, loop: Any) -> None:
        self._listener = listener
        self._loop = loop
        self._ended = Event()
        self.end_reason = ""
        # The watchers must be kept: a collected one watches nothing.
        self._watchers: list[Any] = []
        for number, react in (
            (signal.SIGTERM, self._end_now),
            (signal.SIGINT, self._end_now),
            (signal.SIGUSR1, self._end_gracefully),
            (signal.SIGHUP, log.reopen),
        ):
            watcher = loop.signal(number)
            watcher.start(react)
            self._watchers.append(watcher)

    def wait(self) -> None:
        """Return when the server is to end."""
        self._ended.wait()

    def _end(self, reason: str) -> None:
        self.end_reason = self.end_reason or reason
        self._ended.set()

    def _end_now(self) -> None:
        self._end("signal")

    def _end_gracefully(self) -> None:
        logger.log(NOTICE, "ending gracefully: running jobs are finished, no other is started")
        self._listener.finish(lambda: self._end("graceful, no job is running any more"))

    def obey_supervisor(self, descriptor: int, addresses: list[str]) -> None:
        """Tell the supervisor where we listen, and end when it is gone: its end of the socket closes with it."""
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            os.set_blocking(descriptor, False)
        except OSError as failure:
            raise StartError(f"--supervised-fd {descriptor} is no open descriptor: {failure.strerror}") from failure
        watcher = self._loop.io(descriptor, 1)
        watcher.start(self._on_supervisor, descriptor, watcher)
        self._watchers.append(watcher)
        line = json.dumps({"listening": addresses, "pid": os.getpid()}) + "\n"
        try:
            os.write(descriptor, line.encode())
        except OSError as failure:
            logger.warning("the supervisor can't be told where we listen: %s", failure.strerror)

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
        self._listener.finish(lambda: self._end("the supervisor is gone, and no job is running any more"))
        timer = self._loop.timer(ORPHANED_PATIENCE_S)
        timer.start(self._end, "the supervisor is gone, and its jobs took too long")
        self._watchers.append(timer)


def _limit_descriptors(wanted: int | None) -> None:
    """Raise the soft limit on open files: to what `-f` says, or as far as this process may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (wanted, max(hard, wanted)) if wanted is not None else (hard, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (OSError, ValueError) as failure:
        if wanted is not None:
            raise StartError(f"-f {wanted} is more open files than this process may have ({hard})") from failure


def _write_pid_file(path: str | None) -> None:
    if path is None:
        return
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as failure:
        raise StartError(
            f"the pid file {path} can't be written: {failure.strerror}; choose another with -P"
        ) from failure


def _remove_pid_file(path: str | None) -> None:
    if path is not None:
        try:
            os.unlink(path)
        except OSError as failure:
            logger.warning("the pid file %s can't be removed: %s", path, failure.strerror)
