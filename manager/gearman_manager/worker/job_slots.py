"""The places of a worker that runs several jobs at once. Each has its own slot of the scoreboard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter


@dataclass(slots=True)
class JobSlot:
    """Room for one job."""

    number: int  #: from 1
    slot: SlotWriter
    start_ns: int = 0
    timeout_s: float | None = None  #: of its job
    is_given_up: bool = False


class JobSlots:
    """All places of this worker. The worker's own slot says how many are taken, as of the last `show`."""

    def __init__(self, scoreboard: Scoreboard, slots: Sequence[int], own_slot: SlotWriter) -> None:
        self._own_slot = own_slot
        self._free = [JobSlot(number, SlotWriter(scoreboard, slot)) for number, slot in enumerate(slots, 1)]
        self._free.reverse()
        self.taken = 0

    @property
    def free(self) -> int:
        """The number of further jobs that could run now."""
        return len(self._free)

    def take(self, server: int, function: int, handle: bytes, timeout_s: float | None) -> JobSlot:
        """Take a place for a job that starts now; there must be a free one."""
        place = self._free.pop()
        place.start_ns, place.timeout_s = time.monotonic_ns(), timeout_s
        deadline_ns = place.start_ns + int(timeout_s * 1e9) if timeout_s else 0
        place.slot.begin(server, function, handle, place.start_ns, deadline_ns)
        self.taken += 1
        return place

    def show(self) -> None:
        """Write the numbers of taken places and of jobs done to the worker's own slot: once for many jobs."""
        self._own_slot.serve(self.taken)

    def give_back(self, place: JobSlot, *, failed: bool) -> None:
        """Free the place of a job that has ended."""
        if not place.is_given_up:
            self._end(place, failed=failed)
        place.is_given_up = False
        self._free.append(place)

    def give_up(self, place: JobSlot) -> None:
        """Give up a place whose job has failed, but does not end: it is neither free nor taken."""
        self._end(place, failed=True)
        place.is_given_up = True

    def _end(self, place: JobSlot, *, failed: bool) -> None:
        self._own_slot.count(time.monotonic_ns() - place.start_ns, failed=failed)
        self.taken -= 1
        place.slot.free()
