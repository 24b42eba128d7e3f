"""The state of every worker, in memory that all processes map: no message and no system call per job.

The supervisor creates a memfd and passes its descriptor to each worker, which maps the pages of its own slots alone and
keeps no descriptor: user code can neither cut the file nor write into another worker's slots. A worker has one fixed
slot, which also holds its job; a worker that runs several jobs at once has a further slot for each. A sequence counter
guards each slot: it is odd during a write, and a reader that sees it odd, or changed, reads again. A job can write
anything into its worker's slots, so a reader expects any bytes, and gets `UnreadableSlot`.
(`multiprocessing.shared_memory` would be unlinked by the first process that exits.)
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from gearman_manager.errors import ManagerError

SLOT_BYTES: Final = 512
#: A worker has whole pages to itself, because only these can be mapped.
PAGE_SLOTS: Final = mmap.ALLOCATIONGRANULARITY // SLOT_BYTES
DEFAULT_PAGES: Final = 65536
_HANDLE_BYTES: Final = 64
_ERROR_BYTES: Final = 320
_READ_ATTEMPTS: Final = 100
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")

_SEQUENCE: Final = Struct("=Q")
#: pid, wear, state, server, function, running, held, start, deadline, done, failed, busy, handle, last error
_BODY: Final = Struct(f"=IB BBHHH QQ QQQ {_HANDLE_BYTES}s {_ERROR_BYTES}s")
_JOB: Final = Struct(f"=BBHHH QQ QQQ {_HANDLE_BYTES}s")  #: the part of the body that changes with a job
_pack_job = _JOB.pack
_WEAR_OFFSET: Final = _SEQUENCE.size + 4
_JOB_OFFSET: Final = _WEAR_OFFSET + 1
_ERROR_OFFSET: Final = _JOB_OFFSET + _JOB.size
_HELD: Final = Struct("=H")
_HELD_OFFSET: Final = _JOB_OFFSET + 6
_ACTIVE: Final = Struct("=H")
_ACTIVE_OFFSET: Final = SLOT_BYTES - _ACTIVE.size  #: behind the body: written far more often, and not guarded
_LEAVE_OFFSET: Final = _ACTIVE_OFFSET - 1  #: this, the next and the stop are all that the supervisor writes
_CALLS_OFFSET: Final = _LEAVE_OFFSET - 1
_LAST_OFFSET: Final = _CALLS_OFFSET - 1  #: not guarded either
_STOP: Final = Struct("=QQ")  #: the start of the job that is to stop, which tells it from all others; until when it may
_STOP_OFFSET: Final = _LAST_OFFSET - _STOP.size
assert _SEQUENCE.size + _BODY.size <= _STOP_OFFSET


class UnreadableSlot(ManagerError):
    """A slot holds bytes that no worker of ours writes."""


class SlotState(IntEnum):
    """The activity of a slot's owner."""

    FREE = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    LEAVING = 4  #: it ends on its own accord, so its end is no crash


#: Plain integers: an enum member costs a lookup of its own on the path of every job.
_FREE, _IDLE, _BUSY = int(SlotState.FREE), int(SlotState.IDLE), int(SlotState.BUSY)


class Wear(IntEnum):
    """The limit that a worker has reached, or will reach soon."""

    NONE = 0
    LAST_JOBS = 1  #: after a few more jobs it ends by itself
    MEMORY = 2
    DESCRIPTORS = 3  #: it can open no more files
    STUCK_JOB = 4  #: one of several jobs can't be ended


@dataclass(frozen=True, slots=True)
class SlotView:
    """A consistent reading of one slot. Times are CLOCK_MONOTONIC in nanoseconds, 0 for none."""

    pid: int
    wear: Wear
    state: SlotState
    server: int  #: index into the worker's list of job servers, or a `learned_number` (worker/order.py)
    function: int  #: index into the worker's list of functions
    running: int  #: the number of jobs that the worker has now
    held: int  #: the number of jobs that it has fetched and not begun
    start_ns: int
    deadline_ns: int
    done: int
    failed: int
    busy_ns: int
    handle: str
    last_error: str


class Scoreboard:
    """The mapped memory: the whole in the supervisor, which creates it, and in a worker the pages of its own slots."""

    def __init__(self, descriptor: int, first: int, slots: int) -> None:
        """Map this many slots, from the slot `first` on, at which a page must start."""
        self.descriptor = descriptor
        self.slots = slots
        self._first = first
        self.memory = mmap.mmap(descriptor, slots * SLOT_BYTES, offset=first * SLOT_BYTES)

    @classmethod
    def create(cls, pages: int = DEFAULT_PAGES) -> Scoreboard:
        """Create a new scoreboard; untouched pages cost no memory."""
        descriptor = os.memfd_create("gearman-manager-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        slots = pages * PAGE_SLOTS
        os.ftruncate(descriptor, slots * SLOT_BYTES)
        # A process that touches mapped memory beyond the file's end dies of SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(descriptor, 0, slots)

    @classmethod
    def take_over(cls, descriptor: int, first: int, slots: int) -> Scoreboard:
        """Map a worker's own slots, and the rest of their pages; no descriptor of the memory stays open.

        The process must have a single thread still.
        """
        hidden = os.dup(descriptor)  # the lowest free number: mmap takes it for a duplicate of its own
        os.close(hidden)
        part = cls(descriptor, first, -(-slots // PAGE_SLOTS) * PAGE_SLOTS)
        if os.path.samestat(os.fstat(hidden), os.fstat(descriptor)):
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(null, hidden, inheritable=False)  # not closed, because mmap will close this number
            os.close(null)
        os.close(descriptor)
        part.descriptor = -1
        return part

    def at(self, index: int) -> int:
        """The place of a slot in `memory`, in bytes."""
        return (index - self._first) * SLOT_BYTES

    def clear(self, first: int, slots: int = 1) -> None:
        """Make slots ready for their next owner."""
        at, size = self.at(first), slots * SLOT_BYTES
        self.memory[at : at + size] = bytes(size)

    def read(self, index: int) -> SlotView:
        """A consistent view of a slot; after its owner died while writing, the view of its present bytes.

        Raises:
            UnreadableSlot: it holds something else than a report.
        """
        at = self.at(index)
        memory = self.memory
        for _ in range(_READ_ATTEMPTS):
            (before,) = _SEQUENCE.unpack_from(memory, at)
            body = _BODY.unpack_from(memory, at + _SEQUENCE.size)
            (after,) = _SEQUENCE.unpack_from(memory, at)
            if before == after and not before & 1:
                break
        return _view(body)

    def is_busy(self, index: int) -> bool:
        """Whether the owner of a slot has a job. Reads a single byte, for callers that look at all slots often."""
        return self.memory[self.at(index) + _JOB_OFFSET] == _BUSY

    def tell_to_leave(self, index: int) -> None:
        """Mark that the owner of a slot is to leave after its job. It looks before it asks for another one."""
        self.memory[self.at(index) + _LEAVE_OFFSET] = 1
        self.call(index)

    def call(self, index: int) -> None:
        """Call the owner of a slot, which has fetched jobs: it begins none of them that it has not begun by now."""
        at = self.at(index) + _CALLS_OFFSET
        self.memory[at] = (self.memory[at] + 1) & 0xFF

    def held(self, index: int) -> int:
        """The number of jobs that the owner of a slot has fetched and not begun; 0 too while that can't be told."""
        at = self.at(index)
        for _ in range(_READ_ATTEMPTS):
            (before,) = _SEQUENCE.unpack_from(self.memory, at)
            (held,) = _HELD.unpack_from(self.memory, at + _HELD_OFFSET)
            if _SEQUENCE.unpack_from(self.memory, at) == (before,) and not before & 1:
                return int(held)
        return 0  # it was stopped while it wrote

    def tell_to_stop(self, index: int, start_ns: int, until_ns: int) -> None:
        """Mark that the job of a slot that began then is to stop, and may clean up until that time. A signal follows,
        for which its worker looks."""
        _STOP.pack_into(self.memory, self.at(index) + _STOP_OFFSET, start_ns, until_ns)

    def has_begun_its_last(self, index: int) -> bool:
        """Whether the owner of a slot has said that it begins no further job."""
        return self.memory[self.at(index) + _LAST_OFFSET] != 0

    def active_place(self, index: int) -> int:
        """The job slot, from 1, that has the processor in a worker with several jobs at once; 0 is none."""
        (place,) = _ACTIVE.unpack_from(self.memory, self.at(index) + _ACTIVE_OFFSET)
        return int(place)


def _view(body: tuple[Any, ...]) -> SlotView:
    pid, wear, state, server, function, running, held, start, deadline, done, failed, busy, handle, error = body
    try:
        limit_reached, activity = Wear(wear), SlotState(state)
    except ValueError as nonsense:
        raise UnreadableSlot(f"{nonsense}") from None
    text = handle.rstrip(b"\0").decode(errors="replace")
    if _CONTROL.search(text):
        raise UnreadableSlot(f"{text!r} is no job handle")
    return SlotView(
        pid=pid,
        wear=limit_reached,
        state=activity,
        server=server,
        function=function,
        running=running,
        held=held,
        start_ns=start,
        deadline_ns=deadline,
        done=done,
        failed=failed,
        busy_ns=busy,
        handle=text,
        last_error=error.rstrip(b"\0").decode(errors="replace"),
    )


class SlotWriter:
    """The owner's side of one slot."""

    __slots__ = (
        "_at",
        "_calls_at",
        "_job",
        "_memory",
        "_sequence",
        "_sequence_at",
        "_start_ns",
        "_words",
        "busy_ns",
        "done",
        "failed",
    )

    def __init__(self, scoreboard: Scoreboard, index: int) -> None:
        self._memory = scoreboard.memory
        self._at = at = scoreboard.at(index)
        self._sequence = 0
        # For the shortest jobs: a number of a view is written in a fifth of the time that it takes to pack it.
        self._words = memoryview(scoreboard.memory).cast("Q")
        self._sequence_at = at // _SEQUENCE.size
        self._job = slice(at + _JOB_OFFSET, at + _ERROR_OFFSET)
        self._calls_at = at + _CALLS_OFFSET
        self._start_ns = 0
        #: The jobs that have ended, and their time; the slot shows them with the next change of its state.
        self.done = self.failed = self.busy_ns = 0

    @property
    def is_told_to_leave(self) -> bool:
        """Whether the supervisor wants this worker to leave."""
        return self._memory[self._at + _LEAVE_OFFSET] != 0

    @property
    def calls(self) -> int:
        """The number of the supervisor's calls, of which one byte is kept: it matters only whether it has changed."""
        return self._memory[self._calls_at]

    @property
    def start_ns(self) -> int:
        """The time at which the last job began."""
        return self._start_ns

    @property
    def stop_until_ns(self) -> int:
        """Until when the last job that began may clean up, because it is to stop; 0: it is not to stop."""
        start_ns, until_ns = _STOP.unpack_from(self._memory, self._at + _STOP_OFFSET)
        return int(until_ns) if start_ns == self._start_ns else 0

    def begin_no_more(self) -> None:
        """Every job that this worker will ever run has begun."""
        self._memory[self._at + _LAST_OFFSET] = 1

    def claim(self, pid: int) -> None:
        """Take the slot: it belongs to this process from now on."""
        body = _BODY.pack(pid, Wear.NONE, SlotState.STARTING, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"", b"")
        self._write(_SEQUENCE.size, body)

    def idle(self, held: int = 0) -> None:
        """The worker is registered, and runs no job; it may have fetched some."""
        self._write_job(_IDLE, held=held)

    def begin(self, server: int, function: int, handle: bytes, now_ns: int, deadline_ns: int, held: int = 0) -> int:
        """A job starts, and `held` others are in hand. A handle that is too long is cut.

        Returns `calls`, read after the job was written: if it has not changed, the supervisor knows that the job has
        begun.
        """
        self._start_ns = now_ns
        # As `_write`, without its call.
        memory, words, sequence = self._memory, self._words, self._sequence
        words[self._sequence_at] = sequence + 1
        memory[self._job] = _pack_job(
            _BUSY, server, function, 1, held, now_ns, deadline_ns, self.done, self.failed, self.busy_ns, handle
        )
        self._sequence = words[self._sequence_at] = sequence + 2
        return memory[self._calls_at]

    def end(self, now_ns: int, *, failed: bool) -> None:
        """The job ended, and the slot shows an idle worker."""
        self.busy_ns += now_ns - self._start_ns
        if failed:
            self.failed += 1
        else:
            self.done += 1
        self._write_job(_IDLE)

    def end_all(self, now_ns: int, jobs: int, failed: int) -> None:
        """The call that began last has ended, and with it so many jobs; the slot shows an idle worker."""
        self.busy_ns += now_ns - self._start_ns
        self.done += jobs - failed
        self.failed += failed
        self.idle()

    def count(self, busy_ns: int, *, failed: bool) -> None:
        """Count an ended job and its time; the slot shows them with the next change of its state."""
        self.busy_ns += busy_ns
        if failed:
            self.failed += 1
        else:
            self.done += 1

    def serve(self, running: int) -> None:
        """A worker with several jobs at once now has `running` jobs; each has a slot of its own."""
        self._write_job(_BUSY if running else _IDLE, running)

    def activate(self, place: int) -> None:
        """The job in this job slot, from 1, now has the processor; 0 is none."""
        _ACTIVE.pack_into(self._memory, self._at + _ACTIVE_OFFSET, place)

    def free(self) -> None:
        """The job slot has no job."""
        self._write_job(_FREE)

    def leave(self) -> None:
        """The worker ends on its own accord."""
        self._write_job(SlotState.LEAVING)

    def wear(self, reason: Wear) -> None:
        """A limit is reached, or near: the supervisor should have a replacement ready."""
        self._write(_WEAR_OFFSET, bytes([reason]))

    def error(self, text: str) -> None:
        """Remember the last error, cut to the space there is."""
        encoded = text.encode(errors="replace")[:_ERROR_BYTES]
        self._write(_ERROR_OFFSET, encoded.ljust(_ERROR_BYTES, b"\0"))

    def _write_job(self, state: int, running: int = 0, held: int = 0) -> None:
        counters = (self.done, self.failed, self.busy_ns)
        # Copied in one piece, not packed in place: a worker that is stopped in between must leave no half-written job.
        self._write(_JOB_OFFSET, _pack_job(state, 0, 0, running, held, 0, 0, *counters, b""))

    def _write(self, offset: int, data: bytes) -> None:
        words, sequence, start = self._words, self._sequence, self._at + offset
        words[self._sequence_at] = sequence + 1
        self._memory[start : start + len(data)] = data
        self._sequence = words[self._sequence_at] = sequence + 2
