"""The jobs that a worker has fetched and not begun: a pipe with a record for each. Who reads a record owns its job.

The worker writes the records when it gets a set of jobs, and reads one before it begins a job. The supervisor reads all
to give the jobs back, in the middle of a job too: the worker takes no part in it. The kernel lets only one of the
two have a record, and neither waits. A job can reach the worker's descriptors and write or read anything, so the
supervisor looks at the form of the records, has a descriptor of its own, and a worker that misses a record asks the
server for other jobs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from struct import Struct
from typing import Final, NamedTuple

#: The set's number, the server's place in the worker's list, the job's handle.
_RECORD: Final = Struct("=QH118s")
RECORD_BYTES: Final = _RECORD.size
MAX_HANDLE_BYTES: Final = 118
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
        self._records = b""
        self._at = 0

    def put(self, set_number: int, server: int, handles: Sequence[bytes]) -> None:
        """Jobs of a set have come, which may be given back until each is claimed."""
        if self._records:
            self._discard()
        pack = _RECORD.pack
        if max(map(len, handles), default=0) > MAX_HANDLE_BYTES:
            # A server with longer handles gets back the jobs that the worker can't claim.
            handles = list(takewhile(lambda handle: len(handle) <= MAX_HANDLE_BYTES, handles))
        self._records = b"".join([pack(set_number, server, handle) for handle in handles])
        self._at = 0
        with suppress(OSError):  # a job has filled or closed it: then no claim succeeds, and the jobs go back
            os.write(self._writer, self._records)

    def claim(self) -> bool:
        """Whether the next of these jobs is still the worker's. Without it, all that follow are lost, too."""
        at = self._at
        try:
            record = os.read(self._reader, RECORD_BYTES)
        except OSError:
            return False
        end = self._at = at + RECORD_BYTES
        if not record or record != self._records[at:end]:
            return False
        if end == len(self._records):
            self._records = b""  # the pipe is empty
        return True

    def _discard(self) -> None:
        """Empty the pipe of a set that was not begun as a whole."""
        with suppress(OSError):
            while os.read(self._reader, _READ_BYTES):
                pass


class ClaimPipe:
    """The supervisor's side, which also makes the pipe."""

    def __init__(self, jobs: int) -> None:
        """Make a pipe with room for so many records.

        Raises:
            OSError: there are too many open files.
        """
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
        whole = len(data) - len(data) % RECORD_BYTES
        records = [_RECORD.unpack_from(data, at) for at in range(0, whole, RECORD_BYTES)]
        claims = [Claim(number, server, handle.rstrip(b"\0")) for number, server, handle in records]
        return [claim for claim in claims if claim.set_number and claim.handle and b"\0" not in claim.handle]

    def close(self) -> None:
        """The worker is gone."""
        self.handed_over()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
