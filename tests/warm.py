"""Starts the commands `gearman-manager` and `gearman-server` without their imports: forks of a process that has them.

It is the same command in a process of its own, from its entry function on. Whoever needs the start itself (other
variables, a wrapper, a signal before the first line) uses `subprocess` as ever.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

from .warm_template import MOST_BYTES, NETWORK, NETWORK_NUMBER

_TEMPLATE: Final = Path(__file__).with_name("warm_template.py")
_DEADLINE_S: Final = 60.0
#: It changes with each test.
_OF_THE_TEST: Final = "PYTEST_CURRENT_TEST"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _OF_THE_TEST}


#: What the templates, which live as long as this process, have seen.
_ENVIRONMENT: Final = _environment()


class _Template:
    """The process that forks; it ends with this one."""

    def __init__(self, command: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", _TEMPLATE, command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_ENVIRONMENT,
            )
        self._socket.settimeout(_DEADLINE_S)
        self._lock = threading.RLock()
        self._codes: dict[int, int] = {}
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, arguments: Sequence[str], descriptors: dict[int, int], folder: Path) -> int:
        """Fork; `descriptors` are ours by the numbers that they get there. Returns the pid."""
        with self._lock, NETWORK.open("rb") as network:  # the calling thread's: the child is there too
            descriptors = {**descriptors, NETWORK_NUMBER: network.fileno()}
            order = {"arguments": arguments, "folder": str(folder), "numbers": list(descriptors)}
            socket.send_fds(self._socket, [json.dumps(order).encode()], list(descriptors.values()))
            while (pid := self._hear()) is None:
                pass
        return pid

    def _hear(self) -> int | None:
        """Read a message; returns the pid of a start."""
        message: dict[str, int] = json.loads(self._socket.recv(MOST_BYTES))
        if "ended" in message:
            self._codes[message["ended"]] = message["code"]
            return None
        self._codes.pop(message["started"], None)  # of an earlier process with this pid
        return message["started"]

    def code(self, pid: int, within_s: float) -> int | None:
        """The child's exit code as `subprocess` has it, None if it has not ended within this time."""
        deadline = time.monotonic() + within_s
        while True:
            with self._lock:
                while pid not in self._codes and select.select([self._socket], [], [], 0)[0]:
                    self._hear()
                if pid in self._codes:
                    return self._codes[pid]
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            select.select([self._socket], [], [], min(left_s, 0.05))  # another thread may read the message


@cache
def _template(command: str) -> _Template:
    return _Template(command)


class WarmProcess(subprocess.Popen[bytes]):
    """A process that was forked from a template. It has no pipe but standard error's."""

    def __init__(
        self, template: _Template, arguments: Sequence[str], descriptors: dict[int, int], folder: Path
    ) -> None:
        self._child_created = False  # for the base's `__del__`, and its `__init__` is not called
        self._template = template
        self.args = list(arguments)
        self.returncode: int | Any = None
        self.stdin = self.stdout = self.stderr = None
        self.pid = template.start(arguments, descriptors, folder)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._template.code(self.pid, 0)
        code: int | None = self.returncode
        return code

    def wait(self, timeout: float | None = None) -> int:
        while self.returncode is None:
            self.returncode = self._template.code(self.pid, _DEADLINE_S if timeout is None else timeout)
            if self.returncode is None and timeout is not None:
                raise subprocess.TimeoutExpired(self.args, timeout)
        code: int = self.returncode
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        errors = self.stderr.read() if self.stderr is not None else None
        self.wait(timeout)
        return None, errors


def _script(command: str) -> str:
    return str(Path(sys.executable).with_name(command.replace("_", "-")))


def start(command: str, arguments: Sequence[str], log: IO[bytes], pass_fds: Sequence[int] = ()) -> WarmProcess | None:
    """Start the command (`gearman_manager` or `gearman_server`) with both outputs in `log`; None if this process has
    changed its environment."""
    return _started(command, arguments, log.fileno(), log.fileno(), pass_fds)


def start_with_piped_errors(command: str, arguments: Sequence[str], pass_fds: Sequence[int]) -> WarmProcess | None:
    """The same with standard error in a pipe, and without standard output."""
    read_end, write_end = os.pipe()
    with open(os.devnull, "wb") as nowhere:
        process = _started(command, arguments, nowhere.fileno(), write_end, pass_fds)
    os.close(write_end)
    if process is None:
        os.close(read_end)
    else:
        process.stderr = open(read_end, "rb")  # noqa: SIM115 - the caller's
    return process


def run(
    command: str, arguments: Sequence[str | Path], timeout_s: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in this folder, and capture its outputs; standard input is empty."""
    words = [str(argument) for argument in arguments]
    if _environment() != _ENVIRONMENT:
        return subprocess.run(
            [_script(command), *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = _started(command, words, output.fileno(), errors.fileno(), (), folder)
        assert process is not None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(process.args, code, *texts)


def _started(
    command: str,
    arguments: Sequence[str],
    output: int,
    errors: int,
    pass_fds: Sequence[int],
    folder: Path | None = None,
) -> WarmProcess | None:
    if _environment() != _ENVIRONMENT:
        return None
    with open(os.devnull, "rb") as nothing:
        descriptors = {0: nothing.fileno(), 1: output, 2: errors, **{number: number for number in pass_fds}}
        has_store = command == "gearman_server" and any("://" in argument for argument in arguments)
        template = _template(f"{command} with a store" if has_store else command)
        return WarmProcess(template, [_script(command), *arguments], descriptors, folder or Path.cwd())
