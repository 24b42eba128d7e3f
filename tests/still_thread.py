"""Stops one thread of another process, as if it hung; the others go on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
#: Wait for threads, too, that are no children of this process.
_WALL: Final = 0x40000000


@contextmanager
def standing_still(thread: int) -> Iterator[None]:
    """The thread, which has the process's number if it is its first one, stands still. Ask for it and for its end from
    the same thread of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def request(what: int) -> None:
        if libc.ptrace(what, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    request(_SEIZE)
    request(_INTERRUPT)
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        request(_DETACH)
