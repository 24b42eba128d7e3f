"""The jobs that a worker has fetched and not begun: a pipe with a record for each, by which they can be given back.

The worker writes the records when it gets a set of jobs. Before it begins a job it writes into its slot of the
scoreboard how many it then still holds, and looks whether it was called. The supervisor goes the opposite way, in the
middle of a job too: it takes the records, calls the worker, and then looks how many that still holds: only these go
back. Whoever looks last knows better: either the supervisor sees that a job has begun, or the worker sees the call and
begins no other job of the set. So a job costs no system call, and neither of the two waits for the other. A job can
reach the worker's descriptors and write or read anything, so the supervisor looks at the form of the records, and has a
descriptor of its own.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from struct import Struct
from typing import Final, NamedTuple

from gearman_manager.ipc.scoreboard import Scoreboard

#: The set's number, the server's place in the worker's list, the job's handle.
_RECORD: Final = Struct("=QH118s")
_START: Final = Struct("=QH")
RECORD_BYTES: Final = _RECORD.size
MAX_HANDLE_BYTES: Final = 118
#: A processor shows its writes to the others in the order in which they were made, but later: after a microsecond at
#: most. What a worker wrote before it could have seen a call is visible after this time.
SETTLE_S: Final = 0.0001
#: A pipe's size, unless it is changed.
_USUAL_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 128 * 1024


class Claim(NamedTuple):
    """A job that was fetched and not begun."""

    set_number: int
    server: int  #: the place in the worker's list of job servers
    handle: bytes


class Claims:
    """The worker's side."""

    def __init__(self, reader: int, writer: int) -> None:
        """The ends of the pipe, which belong to this object."""
        self._reader = reader
        self._writer = writer
        self._has_put = False

    def put(self, set_number: int, server: int, handles: Sequence[bytes]) -> int:
        """Jobs of a set have come, which may be given back until each begins.

        Returns for how many of them, from the first on, this is so; the worker has to give back the others.
        """
        if self._has_put:  # nobody takes the records of jobs that were begun
            with suppress(OSError):
                while len(os.read(self._reader, _READ_BYTES)) == _READ_BYTES:
                    pass
        if max(map(len, handles), default=0) > MAX_HANDLE_BYTES:
            handles = list(takewhile(lambda handle: len(handle) <= MAX_HANDLE_BYTES, handles))
        records = _records(set_number, server, handles)
        self._has_put = True
        try:
            return os.write(self._writer, records) // RECORD_BYTES
        except OSError:  # a job has filled or closed it
            return 0


def _records(set_number: int, server: int, handles: Sequence[bytes]) -> bytes:
    """A record for each of these handles, which are short enough."""
    if len(set(map(len, handles))) != 1:
        return b"".join([_RECORD.pack(set_number, server, handle) for handle in handles])
    # Most sets are so: in a tenth of the time.
    start, end = _START.pack(set_number, server), bytes(MAX_HANDLE_BYTES - len(handles[0]))
    return start + (end + start).join(handles) + end


class ClaimPipe:
    """The supervisor's side, which also makes the pipe."""

    def __init__(self, jobs: int, board: Scoreboard, slot: int) -> None:
        """Make a pipe with room for so many records, for the worker with this slot.

        Raises:
            OSError: there are too many open files.
        """
        self._board = board
        self._slot = slot
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        #: The worker's ends, until they are handed over.
        self.for_worker: tuple[int, ...] = (reader, writer)
        try:
            # Opened anew, not duplicated: a job that makes its end blocking must not make ours so.
            self._reader = os.open(f"/proc/self/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.handed_over()
            raise
        if jobs * RECORD_BYTES > _USUAL_BYTES:
            with suppress(OSError):  # a user may have so much of it in all; jobs without a record go back
                fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, jobs * RECORD_BYTES)

    def handed_over(self) -> None:
        """The worker has its ends, or will never get them: close them here."""
        ends, self.for_worker = self.for_worker, ()
        for end in ends:
            os.close(end)

    def take(self) -> Sequence[Claim]:
        """Take all jobs that have not been begun; from now on they are no longer the worker's."""
        try:
            data = os.read(self._reader, _READ_BYTES)
        except OSError:
            return ()
        # In this order. A set that comes later has another number, so that what is taken of it here does no harm.
        self._board.call(self._slot)
        time.sleep(SETTLE_S)
        held = self._board.held(self._slot)
        whole = len(data) - len(data) % RECORD_BYTES
        places = range(max(0, whole - held * RECORD_BYTES), whole, RECORD_BYTES)
        records = [_RECORD.unpack_from(data, at) for at in places]
        claims = [Claim(number, server, handle.rstrip(b"\0")) for number, server, handle in records]
        return [claim for claim in claims if claim.set_number and claim.handle and b"\0" not in claim.handle]

    def close(self) -> None:
        """The worker is gone."""
        self.handed_over()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
