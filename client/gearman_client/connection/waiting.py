"""Waits for descriptors, with what the program has: gevent replaces `select.poll`, eventlet removes it."""

from __future__ import annotations

import select
from collections.abc import Collection
from math import ceil
from typing import Final

#: The longest wait at once: `poll` takes its milliseconds as a C int, which ends at 24 days.
MAX_WAIT_S: Final = 86_400.0
POLLIN: Final = 1
POLLOUT: Final = 4


def wait_for(descriptor: int, events: int, timeout_s: float | None) -> int:
    """Wait for events of one descriptor; returns those that occurred, 0 when the time ran out."""
    try:
        poll = select.poll()
    except AttributeError:
        return wait_for_any([(descriptor, events)], MAX_WAIT_S if timeout_s is None else timeout_s).get(descriptor, 0)
    poll.register(descriptor, events)
    ready = poll.poll(None if timeout_s is None else min(max(0.0, timeout_s), MAX_WAIT_S) * 1000)
    return ready[0][1] if ready else 0


def wait_for_any(interests: Collection[tuple[int, int]], timeout_s: float) -> dict[int, int]:
    """Wait until something happens, and return the events by descriptor; empty when the time runs out.

    interests: descriptors and their events, POLLIN and POLLOUT. An error or the end of a connection counts as both.
    """
    seconds = min(max(0.0, timeout_s), MAX_WAIT_S)
    if hasattr(select, "poll"):
        poll = select.poll()
        for descriptor, events in interests:
            poll.register(descriptor, events)
        # Rounded up: a wait that ends too early is repeated until the deadline, at full speed.
        found = poll.poll(ceil(seconds * 1000))
        return {descriptor: events if events in (POLLIN, POLLOUT) else POLLIN | POLLOUT for descriptor, events in found}
    reading = [descriptor for descriptor, events in interests if events & POLLIN]
    writing = [descriptor for descriptor, events in interests if events & POLLOUT]
    readable, writable, _ = select.select(reading, writing, [], seconds)
    ready = dict.fromkeys(readable, POLLIN)
    for descriptor in writable:
        ready[descriptor] = ready.get(descriptor, 0) | POLLOUT
    return ready
