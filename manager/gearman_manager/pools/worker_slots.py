"""Hands out the scoreboard's slots, and reads those of a worker.

Each worker has a slot of its own. A worker of several jobs at once has a further slot for each of them. Only the worker
can write there, but its jobs can too, and they may write anything: a report that makes no sense is not believed. The
worker is ended for it, and nobody else is disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from gearman_manager.errors import StartError
from gearman_manager.ipc.scoreboard import PAGE_SLOTS, Scoreboard, SlotState, SlotView, UnreadableSlot, Wear
from gearman_manager.worker.order import LEARNED_SERVERS

_NO_REPORT: Final = SlotView(0, Wear.NONE, SlotState.FREE, 0, 0, 0, 0, 0, 0, 0, 0, 0, "", "")
_SECOND_NS: Final = 1_000_000_000
#: No Python worker comes near this; it bounds the numbers that the scaler calculates with.
_MOST_JOBS_PER_S: Final = 1_000_000


class WorkerSlots:
    """One worker's slots. A program never writes to its own."""

    def __init__(self, scoreboard: Scoreboard, numbers: tuple[int, ...], servers: int, functions: int) -> None:
        """`servers` and `functions` are the lengths of the lists into which the worker's report points."""
        self.numbers = numbers
        #: The worker's process, once it is known.
        self.pid = 0
        #: The reason for which its report can't be believed; empty if it can.
        self.fault = ""
        self._scoreboard = scoreboard
        self._servers = servers
        self._functions = functions
        self._since_ns = 0
        self._last = _NO_REPORT

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    @property
    def own(self) -> int:
        """The worker's own slot."""
        return self.numbers[0]

    @property
    def places(self) -> tuple[int, ...]:
        """The slots for its jobs, if it runs several at once."""
        return self.numbers[1:]

    def born(self, pid: int, now: float) -> None:
        """The worker's process is known since `now` (monotonic seconds)."""
        self.pid = pid
        self._since_ns = int(now * _SECOND_NS)

    def view(self) -> SlotView:
        """The worker's own report of its state; the last one that made sense, once there is a `fault`."""
        view = self._read(self.own)
        if view is not None and self._can_follow(view):
            self._last = view
        return self._last

    def has_job(self) -> bool:
        """Whether it runs a job; cheaper than `view`."""
        return self._scoreboard.is_busy(self.own)

    def tell_to_leave(self) -> None:
        """Mark that the worker is to leave after its job."""
        self._scoreboard.tell_to_leave(self.own)

    def tell_to_stop(self, server: int, handle: str, until_ns: int) -> int:
        """Mark that the job with this handle is to stop; returns when it began, 0 if it does not run here."""
        for slot in self.places or self.numbers:
            view = self._read(slot)
            if view is not None and view.state is SlotState.BUSY and (view.server, view.handle) == (server, handle):
                self._scoreboard.tell_to_stop(slot, view.start_ns, until_ns)
                return view.start_ns
        return 0

    def begins_no_more(self) -> bool:
        """Whether a worker that was told to leave can begin no further job.

        A worker of one job that has a job looks at the mark before it would ask for another one. One without a job may
        wait for the answer to a request that left before the mark was there.
        """
        state = self.view().state
        if state is SlotState.LEAVING or self._scoreboard.has_begun_its_last(self.own):
            return True
        return state is SlotState.BUSY and not self.places

    def jobs(self) -> list[SlotView]:
        """The slots of its running jobs, the longest running first."""
        views = (self._read(slot) for slot in (self.places or self.numbers))
        jobs = [view for view in views if view is not None and view.state is SlotState.BUSY]
        return sorted(jobs, key=lambda view: view.start_ns)

    def active_job(self) -> SlotView | None:
        """The job that has the processor, in a worker with several jobs."""
        place = self._scoreboard.active_place(self.own)
        return self._read(self.numbers[place]) if 0 < place < len(self.numbers) else None

    def _read(self, slot: int) -> SlotView | None:
        """The view of a slot; None, and the fault is noted, if it makes no sense."""
        try:
            view = self._scoreboard.read(slot)
            self._check_job(view)
        except UnreadableSlot as nonsense:
            self._refuse(str(nonsense))
            return None
        return view

    def _check_job(self, view: SlotView) -> None:
        """Refuse a view whose job can't exist.

        Raises:
            UnreadableSlot: a number is out of its range.
        """
        if view.server and self._servers <= view.server < LEARNED_SERVERS:
            raise UnreadableSlot(f"there is no job server {view.server}")
        if view.function and view.function >= self._functions:
            raise UnreadableSlot(f"there is no function {view.function}")
        if view.state is SlotState.BUSY and view.start_ns > time.monotonic_ns() + _SECOND_NS:
            raise UnreadableSlot("a job starts in the future")

    def _can_follow(self, view: SlotView) -> bool:
        """Whether the worker's own slot can hold this after the last view; otherwise the fault is noted."""
        last, places = self._last, len(self.places) or 1
        if view.pid and self.pid and view.pid != self.pid:
            self._refuse(f"it claims to be the process {view.pid}")
        elif view.running > places:
            self._refuse(f"it runs {view.running} jobs")
        elif view.done < last.done or view.failed < last.failed or view.busy_ns < last.busy_ns:
            self._refuse("its counters went back")
        else:
            age_ns = time.monotonic_ns() - self._since_ns + _SECOND_NS
            jobs = view.done + view.failed
            if jobs <= age_ns * _MOST_JOBS_PER_S // _SECOND_NS and view.busy_ns <= age_ns * places:
                return True
            self._refuse(f"it has run {jobs} jobs in {view.busy_ns} ns")
        return False

    def _refuse(self, why: str) -> None:
        self.fault = self.fault or f"a job wrote nonsense into its report ({why})"


class FreeSlots:
    """The slots that no worker has. Each worker gets whole pages, since it can write to all slots of a page."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        #: The first slots of the runs that were given back, by their number of pages.
        self._free: dict[int, list[int]] = {}
        self._used = 0

    def take(self, count: int, servers: int, functions: int) -> WorkerSlots:
        """Neighbouring slots for a new worker with this many job servers and functions.

        Raises:
            StartError: too few are free.
        """
        pages = _pages(count)
        if free := self._free.get(pages):
            first = free.pop()
        elif self._used + pages * PAGE_SLOTS <= self._scoreboard.slots:
            first = self._used
            self._used += pages * PAGE_SLOTS
        else:
            total = self._scoreboard.slots // PAGE_SLOTS
            raise StartError(f"the scoreboard holds {total} workers: lower max or concurrency")
        return WorkerSlots(self._scoreboard, tuple(range(first, first + count)), servers, functions)

    def give_back(self, slots: WorkerSlots) -> None:
        """Clear the pages of a worker that is gone, for others."""
        pages = _pages(len(slots.numbers))
        self._scoreboard.clear(slots.own, pages * PAGE_SLOTS)
        self._free.setdefault(pages, []).append(slots.own)


def _pages(slots: int) -> int:
    return -(-slots // PAGE_SLOTS)
