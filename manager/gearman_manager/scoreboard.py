"""What every worker is doing, in one memory that all processes map: no message and no system call per job.

The supervisor creates a memfd and passes its descriptor through exec; each running job has one fixed slot. A slot has
one writer, the worker, and is guarded by a sequence counter that is odd while it is being written: a reader that sees
it odd, or changed, reads again. (`multiprocessing.shared_memory` would be unlinked by whoever exits first.)
"""

import mmap
import os
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

SLOT_BYTES: Final = 512
DEFAULT_SLOTS: Final = 16384
_HANDLE_BYTES: Final = 64
_ERROR_BYTES: Final = 320
_READ_ATTEMPTS: Final = 1000

_SEQUENCE: Final = Struct("=Q")
# pid, wear, state, server, function, start, deadline, done, failed, busy, handle, last error
_BODY: Final = Struct(f"=IB BBH QQ QQQ {_HANDLE_BYTES}s {_ERROR_BYTES}s")
_JOB: Final = Struct(f"=BBH QQ QQQ {_HANDLE_BYTES}s")  # the part of the body that changes with a job
_WEAR_OFFSET: Final = _SEQUENCE.size + 4
_JOB_OFFSET: Final = _WEAR_OFFSET + 1
_ERROR_OFFSET: Final = _JOB_OFFSET + _JOB.size
assert _SEQUENCE.size + _BODY.size <= SLOT_BYTES


class SlotState(IntEnum):
    """What the owner of a slot is doing."""

    FREE = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    LEAVING = 4  # it ends on its own accord: whoever sees it gone need not call it a crash


class Wear(IntEnum):
    """Which of its limits a worker has reached, or is about to."""

    NONE = 0
    LAST_JOBS = 1  # a few more, then it ends by itself
    MEMORY = 2
    DESCRIPTORS = 3  # it can open no more files


@dataclass(frozen=True, slots=True)
class SlotView:
    """A consistent reading of one slot. Times are CLOCK_MONOTONIC in nanoseconds, 0 where there is none."""

    pid: int
    wear: Wear
    state: SlotState
    server: int  # index into the worker's list of job servers
    function: int  # index into the worker's list of functions
    start_ns: int
    deadline_ns: int
    done: int
    failed: int
    busy_ns: int
    handle: str
    last_error: str


class Scoreboard:
    """The mapped memory. The supervisor creates it, the zygote opens it by descriptor, workers inherit the mapping."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        self.memory = mmap.mmap(descriptor, slots * SLOT_BYTES)

    @classmethod
    def create(cls, slots: int = DEFAULT_SLOTS) -> "Scoreboard":
        """Make a new one; untouched slots cost no memory."""
        descriptor = os.memfd_create("gearman-manager-scoreboard", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, slots * SLOT_BYTES)
        return cls(descriptor, slots)

    @classmethod
    def open(cls, descriptor: int) -> "Scoreboard":
        """Map the one whose descriptor was inherited."""
        return cls(descriptor, os.fstat(descriptor).st_size // SLOT_BYTES)

    def clear(self, index: int) -> None:
        """Make a slot ready for its next owner."""
        at = index * SLOT_BYTES
        self.memory[at : at + SLOT_BYTES] = bytes(SLOT_BYTES)

    def read(self, index: int) -> SlotView:
        """A consistent view of a slot; when its owner died while writing, what is there counts."""
        at = index * SLOT_BYTES
        memory = self.memory
        for _ in range(_READ_ATTEMPTS):
            (before,) = _SEQUENCE.unpack_from(memory, at)
            body = _BODY.unpack_from(memory, at + _SEQUENCE.size)
            (after,) = _SEQUENCE.unpack_from(memory, at)
            if before == after and not before & 1:
                break
        pid, wear, state, server, function, start, deadline, done, failed, busy, handle, error = body
        return SlotView(
            pid=pid,
            wear=Wear(wear),
            state=SlotState(state),
            server=server,
            function=function,
            start_ns=start,
            deadline_ns=deadline,
            done=done,
            failed=failed,
            busy_ns=busy,
            handle=handle.rstrip(b"\0").decode(errors="replace"),
            last_error=error.rstrip(b"\0").decode(errors="replace"),
        )


class SlotWriter:
    """The owner's side of one slot."""

    __slots__ = ("_at", "_busy_ns", "_done", "_failed", "_memory", "_sequence", "_start_ns")

    def __init__(self, scoreboard: Scoreboard, index: int) -> None:
        self._memory = scoreboard.memory
        self._at = index * SLOT_BYTES
        self._sequence = 0
        self._done = self._failed = self._busy_ns = self._start_ns = 0

    def claim(self, pid: int) -> None:
        """Start out: the slot belongs to this process from now on."""
        body = _BODY.pack(pid, Wear.NONE, SlotState.STARTING, 0, 0, 0, 0, 0, 0, 0, b"", b"")
        self._write(_SEQUENCE.size, body)

    def idle(self) -> None:
        """Registered, no job."""
        self._write_job(SlotState.IDLE, 0, 0, 0, 0, b"")

    def begin(self, server: int, function: int, handle: str, now_ns: int, deadline_ns: int) -> None:
        """A job starts."""
        self._start_ns = now_ns
        self._write_job(SlotState.BUSY, server, function, now_ns, deadline_ns, handle.encode()[:_HANDLE_BYTES])

    def end(self, now_ns: int, *, failed: bool) -> None:
        """The job ended; the slot shows an idle worker."""
        self._busy_ns += now_ns - self._start_ns
        if failed:
            self._failed += 1
        else:
            self._done += 1
        self.idle()

    def leave(self) -> None:
        """The worker ends on its own accord."""
        self._write_job(SlotState.LEAVING, 0, 0, 0, 0, b"")

    def wear(self, reason: Wear) -> None:
        """A limit is reached, or near: the supervisor should have a replacement ready."""
        self._write(_WEAR_OFFSET, bytes([reason]))

    def error(self, text: str) -> None:
        """Remember what went wrong last, cut to what fits."""
        encoded = text.encode(errors="replace")[:_ERROR_BYTES]
        self._write(_ERROR_OFFSET, encoded.ljust(_ERROR_BYTES, b"\0"))

    def _write_job(self, state: int, server: int, function: int, start: int, deadline: int, handle: bytes) -> None:
        body = _JOB.pack(state, server, function, start, deadline, self._done, self._failed, self._busy_ns, handle)
        self._write(_JOB_OFFSET, body)

    def _write(self, offset: int, data: bytes) -> None:
        memory, at = self._memory, self._at
        _SEQUENCE.pack_into(memory, at, self._sequence + 1)
        memory[at + offset : at + offset + len(data)] = data
        self._sequence += 2
        _SEQUENCE.pack_into(memory, at, self._sequence)
