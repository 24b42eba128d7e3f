"""The server as a process of its own: background, user, limits, log and pid file, in the order that works.

Everything that only root may do comes before the change of user. It decides nothing about jobs, and `server_process`
decides about the server's end.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import gevent
from setproctitle import setproctitle

from gearman_process import early_signals
from gearman_process.activation import inherited_sockets, listening_socket
from gearman_process.background import StartingChild, detach
from gearman_process.errors import ProcessError
from gearman_process.pid_file import PidFile
from gearman_process.service_manager import ServiceManager
from gearman_server.edge.ports import PURPOSES
from gearman_server.errors import StartError
from gearman_server.log import NOTICE, logger
from gearman_server.process import log_handlers
from gearman_server.process.log_handlers import LogSettings
from gearman_server.process.memory import FreedMemory, GarbageCollection
from gearman_server.process.privileges import become, find_user
from gearman_server.process.server_process import ServerProcess, supervisor_hears_of_failure
from gearman_server.server import Server


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The command line's settings for the process around the server."""

    log: LogSettings = field(default_factory=LogSettings)
    daemon: bool = False
    user: str | None = None
    pid_file: str | None = None
    file_descriptors: int | None = None
    supervised_fd: int | None = None
    #: A manager started the server, and ends it: signals do not.
    is_bundled: bool = False
    #: Listening sockets that the manager has kept over the end of the process before, each as `PURPOSE=FD`.
    listening_fds: tuple[str, ...] = ()
    #: Options that are accepted, but have no effect.
    without_effect: tuple[str, ...] = ()


def run(server: Server, settings: ProcessSettings) -> None:
    """Serve until told to end.

    Raises:
        StartError: it can't start.
    """
    say_ready = detach(_wait_until_ready) if settings.daemon else None
    user = find_user(settings.user) if settings.user is not None else None
    _limit_descriptors(settings.file_descriptors)
    inherited = _sockets_by_purpose(settings.listening_fds)
    with supervisor_hears_of_failure(settings.supervised_fd):
        server.open(inherited)
    gevent.get_hub()  # now: another user may not be allowed to read the files that gevent still loads
    if user is not None:
        become(user, server.addresses)
    log_handlers.configure(settings.log)
    setproctitle(f"gearman-server: {server.describe_addresses()}")
    pid_file = _make_pid_file(settings.pid_file) if settings.pid_file is not None else None
    try:
        _serve(server, settings, say_ready)
    finally:
        server.stop()
        if pid_file is not None:
            _remove(pid_file)


def _serve(server: Server, settings: ProcessSettings, say_ready: Callable[[], None] | None) -> None:
    with supervisor_hears_of_failure(settings.supervised_fd):
        server.start()
    loop = gevent.get_hub().loop
    service_manager = ServiceManager(os.environ, _log_unheard)
    process = ServerProcess(server, loop, service_manager, is_bundled=settings.is_bundled)
    if settings.supervised_fd is not None:
        process.obey_supervisor(settings.supervised_fd)
    for option in settings.without_effect:
        logger.log(NOTICE, "the option %s is accepted, and has no effect here", option)
    garbage = GarbageCollection(loop, lambda: server.size)
    freed_memory = FreedMemory(loop, server.shrink)  # noqa: F841 - kept as long as the server runs
    if say_ready is not None:
        say_ready()
    service_manager.tell(READY=1)
    process.reassure_service_manager()
    process.wait()
    process.ignore_signals()
    service_manager.tell(STOPPING=1)
    server.stop()
    garbage.close()
    logger.log(NOTICE, "gearman-server ended: %s", process.end_reason)
    if process.failure is not None:
        raise StartError(process.failure)


def _wait_until_ready(child: StartingChild) -> int:
    """The command's exit code. A Ctrl-C ends only the command."""
    for number in early_signals.ENDING:
        signal.signal(number, signal.SIG_DFL)
    return 0 if child.gets_up() else 1


def _sockets_by_purpose(kept: Iterable[str]) -> dict[str, list[socket.socket]]:
    """The sockets of the service manager, and those that our manager has kept. `FileDescriptorName` names those for
    `tls`, `http` and `metrics`; all others are for jobs."""
    found: dict[str, list[socket.socket]] = {}
    try:
        named = [each.partition("=") for each in kept]
        own = [(purpose, listening_socket(int(descriptor))) for purpose, _, descriptor in named]
        for name, listening in [*inherited_sockets(os.environ), *own]:
            found.setdefault(name if name in PURPOSES else "jobs", []).append(listening)
    except (ProcessError, ValueError) as error:
        raise StartError(str(error)) from error
    return found


def _make_pid_file(path: str) -> PidFile:
    try:
        return PidFile(path, owner="server", remedy="choose another with -P FILE")
    except ProcessError as error:
        raise StartError(str(error)) from error


def _remove(pid_file: PidFile) -> None:
    try:
        pid_file.remove()
    except OSError as error:
        logger.warning("the pid file %s can't be removed: %s", pid_file.path, error.strerror)


def _log_unheard(state: str, reason: str) -> None:
    logger.warning("the service manager can't be told %s: %s", state, reason)


def _limit_descriptors(wanted: int | None) -> None:
    """Raise the soft limit on open files: to the value of `-f`, or as far as this process may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (wanted, max(hard, wanted)) if wanted is not None else (hard, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (OSError, ValueError) as error:
        if wanted is not None:
            raise StartError(f"-f {wanted} is more open files than this process may have ({hard})") from error
