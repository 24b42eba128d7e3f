"""A process that has imported a command and forks itself for each start of it: `warm.py` asks it to.

A start costs the import of some hundred modules, most of the time of many tests. Each fork runs the command's own entry
function from the first line on, with the streams, the descriptors, the folder and the arguments that it was given.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The descriptors of a child get numbers below this one.
_ABOVE = 700
MOST_BYTES = 1 << 16
MOST_DESCRIPTORS = 16
#: The network namespace of a thread, and the number that it has in a child until that is there.
NETWORK = Path("/proc/thread-self/ns/net")
NETWORK_NUMBER = _ABOVE - 1

#: What the entry functions in `gearman_process.early_signals` import, and what they import later.
MODULES = {
    "gearman_manager": (
        "gearman_manager.command.command_line",
        "gearman_manager.command.launch",
        "gearman_manager.supervisor.announcer",
        "gearman_manager.supervisor.build",
        "gearman_manager.supervisor.routes",
    ),
    "gearman_server": ("gearman_server.command.command_line",),
    "gearman_server with a store": (
        "gearman_server.command.command_line",
        "gearman_server.sharing.shared_store",
        "gearman_server.stores.remote",
        "gearman_server.stores.sqlite",
        "psycopg",
        "pymysql",
        "sqlalchemy.dialects.mysql.pymysql",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite.pysqlite",
    ),
}


def serve(asked: socket.socket) -> dict[str, Any]:
    """Fork at each request, and tell of each child's end; returns only in a child, with what it shall run."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    poller = select.poll()
    poller.register(asked, select.POLLIN)
    poller.register(wake_read, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if wake_read in ready:
            os.read(wake_read, 4096)
            _tell_of_ends(asked)
        if asked.fileno() in ready:
            data, descriptors, _, _ = socket.recv_fds(asked, MOST_BYTES, MOST_DESCRIPTORS)
            if not data:
                os._exit(0)
            order: dict[str, Any] = json.loads(data)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (wake_read, wake_write, asked.detach()):
                    os.close(descriptor)
                _take(descriptors, order["numbers"])
                return order
            for descriptor in descriptors:
                os.close(descriptor)
            asked.send(json.dumps({"started": pid}).encode())


def _tell_of_ends(asked: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        asked.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _take(descriptors: list[int], numbers: list[int]) -> None:
    """Give the descriptors these numbers; the first three are inherited by further processes."""
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _enter_network() -> None:
    """Be in the network namespace of whoever asked for the start."""
    if os.stat(NETWORK).st_ino != os.fstat(NETWORK_NUMBER).st_ino:
        import ctypes  # in few tests

        if ctypes.CDLL(None).setns(NETWORK_NUMBER, 0) != 0:
            raise OSError("setns")
    os.close(NETWORK_NUMBER)


def _run(entry: Callable[[], None]) -> None:
    """Run the command, and end as Python ends after it, but without taking all modules apart: that takes most of the
    time of a short run, because each page of the template's is copied for it."""
    try:
        entry()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    if isinstance(code, int):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # Python itself has more to say on that
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code & 0xFF)
    sys.exit(code)  # type: ignore[arg-type]


def main(command: str, descriptor: int) -> None:
    """Run a fork's command."""
    for module in MODULES[command]:
        importlib.import_module(module)
    entry: Callable[[], None] = getattr(importlib.import_module("gearman_process.early_signals"), command.split()[0])
    order = serve(socket.socket(fileno=descriptor))
    _enter_network()
    os.chdir(order["folder"])
    sys.argv[:] = order["arguments"]
    _run(entry)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
