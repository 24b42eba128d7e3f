"""`gearman -i` and `-d`: the file with the process's number, and life without the terminal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gearman_client.commands.command_line import end_by_unwinding
from gearman_client.commands.streams import STDERR, STDIN, STDOUT


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Have a file with the number of this process, as a line, while it lives; nothing without `path`.

    Raises:
        OSError: the file can't be written.
    """
    if path is None:
        yield
        return
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        end_by_unwinding(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)


def detach() -> None:
    """Go on as a child of its own session, with the null device for its streams; the parent ends with 0 at once."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (STDIN, STDOUT, STDERR):
        os.dup2(null, number)
    if null > STDERR:
        os.close(null)
