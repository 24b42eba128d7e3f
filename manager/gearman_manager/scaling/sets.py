"""Tells the jobs that run from those that only lie in a worker's hands, for pools whose workers get several at once.

A job server counts both as running: with `prefetch: 50` each worker has up to fifty jobs, of which it runs one. The
others wait like those in the queue, and count as such. The jobs of one call of a function that takes a list are one
piece of work: they keep one worker busy, and none of them is left for another. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gearman_manager.scaling.steps import Work


@dataclass(frozen=True, slots=True)
class Hands:
    """The jobs of a pool that are in workers' hands, as the job servers count them, and the workers."""

    running: Sequence[int]  #: by function
    takes_lists: Sequence[bool]  #: by function: whether its jobs come in lists
    busy: int  #: workers of this manager that run something
    others: int  #: workers elsewhere, which may be busy


def apart(work: Work, hands: Hands) -> Work:
    """The work with at most one running job for each worker; the jobs behind it count as queued."""
    total = sum(hands.running)
    begun = min(total, max(1, hands.busy + hands.others))
    in_turn = sum(count for count, is_list in zip(hands.running, hands.takes_lists, strict=True) if not is_list)
    return replace(work, queued=work.queued + max(0, in_turn - begun), running=begun)
