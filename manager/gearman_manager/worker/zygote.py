"""The zygote: imports the worker modules once, then forks workers on request. Started by exec; no gevent, no threads.

Because of the exec it has none of the supervisor's greenlets or sockets, and because only this loop runs in it, a fork
is safe and cheap. It opens a pidfd for each child before it can reap the child, and passes it to the supervisor, which
learns of a worker's death from the kernel, whatever happens to this process.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from gearman_manager.bridge.functions import find_php_functions
from gearman_manager.errors import ManagerError
from gearman_manager.ipc import channel, child_log
from gearman_manager.ipc.lifeline import ends_with_supervisor
from gearman_manager.ipc.links import Links, read_arguments
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.modules import discovery
from gearman_manager.modules.generators import find_generators, reseed
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.source_files import content_hashes
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker import forked, group_signals
from gearman_manager.worker.bare_signals import SIG_DFL, install
from gearman_manager.worker.order import Order
from gearman_manager.worker.wards import Ward, Wards
from gearman_process.early_signals import NOTED

_log = logging.getLogger("zygote")


class Zygote:
    """Serves one supervisor over its channel until that ends."""

    def __init__(self, sock: socket.socket, arguments: Namespace) -> None:
        """`arguments` hold the inherited descriptors, for itself and its workers."""
        self._sock = sock
        self._arguments = arguments
        self._lifeline: int = arguments.lifeline
        self._reader = channel.FrameReader()
        self._inbox: deque[channel.Message] = deque()
        self._code = UserCode({}, Hooks())
        self._children: set[int] = set()
        self._generators: list[Any] = []
        self._wards = Wards()
        self._is_dismissed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the supervisor dismisses us or is gone. Then the workers are its business, or else ours."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the supervisor may go away while we answer
            self._serve()
        if not self._is_dismissed:
            self._take_last_wards()
            self._wards.outlive_supervisor(self._lifeline)

    def _serve(self) -> None:
        self._watch_children()
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        poller.register(self._lifeline, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._lifeline in ready:
                return
            if self._sock.fileno() in ready:
                messages = channel.receive(self._sock, self._reader)
                if messages is None:
                    return
                self._inbox.extend(messages)
                while self._inbox:
                    self._handle(self._inbox.popleft())

    def _take_last_wards(self) -> None:
        """Guard those of which the supervisor has written in its last moments."""
        self._sock.setblocking(False)
        with suppress(BlockingIOError, ConnectionResetError):
            while messages := channel.receive(self._sock, self._reader):
                self._inbox.extend(messages)
        for message in self._inbox:
            if message["type"] == "guard":
                self._handle(message)

    def _watch_children(self) -> None:
        """Hear of each child's end."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only the wake-up descriptor matters
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _handle(self, message: channel.Message) -> None:
        if message["type"] == "load":
            self._load([Path(folder) for folder in message["folders"]], message["without"])
        elif message["type"] == "spawn":
            self._spawn(message)
        elif message["type"] == "guard":
            (pidfd,) = message["descriptors"]
            self._wards.add(pidfd, Ward(**message["ward"]))
        elif message["type"] == "dismiss":
            self._is_dismissed = True
        else:
            raise ManagerError(f"the zygote does not know the message {message['type']!r}")

    def _load(self, folders: Sequence[Path], without: Sequence[str]) -> None:
        with ends_with_supervisor(self._lifeline):
            found = discovery.load_all(folders, without, self._starting)
        # Modules may have taken the signals over, or blocked them, or left an alarm: workers would inherit all of this.
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        group_signals.leave_to_supervisor({signal.SIGTERM})
        self._watch_children()
        self._code = UserCode({(f.file, f.name): f for f in found.functions}, found.hooks)
        php = find_php_functions(folders)  # only found: programs of their own serve them
        included = {file for files in php.needs.values() for file in files}
        child_log.flush_output()  # every worker would inherit half a line that a module printed
        if any(function.is_async for function in found.functions):
            import gearman_manager.worker.async_worker  # noqa: F401 (asyncio is large: only once, and only if needed)
        # All workers share the objects that are alive now: to collect or move them there would only unshare pages.
        gc.collect()
        self._generators = find_generators()
        _forget_lookups()
        gc.freeze()
        channel.send(
            self._sock,
            {
                "type": "loaded",
                "functions": [
                    *(
                        _reported(f.name, f.file, f.line, f.options, is_async=f.is_async, parameters=f.parameters)
                        for f in found.functions
                    ),
                    *(_reported(f.name, f.file, f.line, {}) for f in php.functions),
                ],
                "errors": [
                    {"file": e.file, "line": e.line, "message": e.message, "modules": e.modules}
                    for e in [*found.errors, *php.errors]
                ],
                "hashes": found.hashes | content_hashes((), included),
                "needs": found.needs | php.needs,
                "tainted": found.tainted,
                "passed_over": found.passed_over,
                "is_settled": found.is_settled,
            },
        )

    def _starting(self, file: Path) -> None:
        channel.send(self._sock, {"type": "loading", "file": str(file)})

    def _spawn(self, message: channel.Message) -> None:
        order = Order.from_message(message)
        if order.spans:
            with suppress(ImportError):  # the worker says so; here the import is only for all to share
                import gearman_manager.worker.job_spans  # noqa: F401
        try:
            with group_signals.term_is_kept():
                pid = os.fork()
                if pid == 0:
                    self._become_worker(order, *message["descriptors"])
        except OSError as error:
            _close(message["descriptors"])
            channel.send(self._sock, {"type": "spawn_failed", "name": order.name, "error": error.strerror})
            return
        self._children.add(pid)
        _close(message["descriptors"])
        # First: the supervisor may be gone before it hears of it. By a descriptor of our own: the supervisor's poll set
        # would go on telling of one that somebody else holds open.
        self._wards.add(os.pidfd_open(pid), Ward(pid, order.client_id, message["stop_timeout_s"], is_program=False))
        pidfd = os.pidfd_open(pid)
        channel.send(self._sock, {"type": "spawned", "name": order.name, "pid": pid}, (pidfd,))
        os.close(pidfd)

    def _become_worker(self, order: Order, log_pipe: int, scoreboard: int, *claims: int) -> NoReturn:
        """The child's side of the fork. It never returns into the zygote's loop."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            install(signal.SIGCHLD, SIG_DFL)
            self._sock.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wards.close()
            for message in self._inbox:  # the orders for other workers
                _close(message["descriptors"])
            child_log.redirect_output(log_pipe)
            os.close(log_pipe)
            links = Links.inherited(
                self._arguments, Scoreboard.take_over(scoreboard, order.slot, 1 + len(order.job_slots))
            )
            reseed(self._generators)
            status = forked.main(order, self._code, links, claims)
        except BaseException:  # noqa: BLE001 (a boundary: the zygote's own loop lies below it)
            _log.critical("the worker %s broke down", order.name, exc_info=True)
        finally:
            child_log.flush_output()
            os._exit(status)

    def _reap(self) -> None:
        """Collect the children that ended, and report how. A fork does not inherit children, so all of them are ours.

        A stopped child is reported, too: nothing else would tell the supervisor.
        """
        while self._children:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG)
            if result is None:
                return
            if result.si_code == os.CLD_STOPPED:
                channel.send(self._sock, {"type": "stopped", "pid": result.si_pid})
            elif result.si_pid in self._children:
                self._children.discard(result.si_pid)
                signalled = result.si_code != os.CLD_EXITED
                status = -result.si_status if signalled else result.si_status
                channel.send(self._sock, {"type": "exited", "pid": result.si_pid, "status": status})


def _forget_lookups() -> None:
    """Empty the interpreter's table of looked-up attributes.

    The imports have filled it. Each look-up of a worker that took another's place would count down the references of
    that one's name, which lies on a page of its own: 200 kB in each worker. Since Python 3.12 names are not counted.
    """
    if sys.version_info < (3, 12):
        sys._clear_type_cache()


def _reported(
    name: str, file: str, line: int, options: dict[str, object], *, is_async: bool = False, parameters: str = ""
) -> dict[str, object]:
    place = {"name": name, "file": file, "line": line}
    return {**place, "options": options, "is_async": is_async, "parameters": parameters}


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="gearman-manager zygote", description="started by the supervisor only")
    parser.add_argument("--log-level", default="INFO")
    return read_arguments(parser, ["channel"], argv)


def main(argv: Sequence[str]) -> int:
    """Entry point after the exec; the numbers in `argv` are inherited descriptors."""
    arguments = _arguments(argv)
    setproctitle("gearman-manager: zygote")
    child_log.redirect_output(1)
    child_log.set_up(arguments.log_level)
    group_signals.leave_to_supervisor(NOTED | {signal.SIGPWR})  # SIGTERM too: the end of the channel is the zygote's
    Zygote(socket.socket(fileno=arguments.channel), arguments).run()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    child_log.flush_output()
    os._exit(code)  # a thread that a module started must not keep it alive
