"""One wait for everything a worker listens to: its servers, its wake-up pipe, and descriptors of its owner."""

from __future__ import annotations

import select
from typing import Protocol

from gearman_client.connection.waiting import MAX_WAIT_S


class Listener(Protocol):
    """The owner of a watched descriptor."""

    def on_ready(self) -> None:
        """One of the watched events has happened."""


class Readiness:
    """A poll object and the listener for each descriptor. An interrupt is a descriptor without a listener."""

    def __init__(self) -> None:
        self._poll: select.poll | select.epoll = select.poll()
        self._listeners: dict[int, Listener] = {}
        self._descriptors: dict[Listener, int] = {}
        self._interrupts: list[int] = []
        self.is_interrupted = False

    def watch_readable(self, listener: Listener, descriptor: int) -> None:
        """Report `listener` when `descriptor` can be read."""
        self.watch(listener, descriptor, select.POLLIN)

    def watch_both(self, listener: Listener, descriptor: int) -> None:
        """Report `listener` when `descriptor` can be read or written."""
        self.watch(listener, descriptor, select.POLLIN | select.POLLOUT)

    def watch(self, listener: Listener, descriptor: int, events: int) -> None:
        """Report `listener` when one of `events` (as `poll` defines them) occurs."""
        self.forget(listener)
        self._listeners[descriptor] = listener
        self._descriptors[listener] = descriptor
        self._poll.register(descriptor, events)

    def watch_interrupt(self, descriptor: int) -> None:
        """Set `is_interrupted` while `descriptor` can be read."""
        self._interrupts.append(descriptor)
        self._poll.register(descriptor, select.POLLIN)

    def forget_interrupts(self) -> None:
        """Stop watching the interrupts, once they are noticed: they would end every further wait at once."""
        while self._interrupts:
            self._poll.unregister(self._interrupts.pop())

    def forget(self, listener: Listener) -> None:
        """Stop watching for `listener`; its descriptor must still be open."""
        descriptor = self._descriptors.pop(listener, None)
        if descriptor is not None:
            del self._listeners[descriptor]
            self._poll.unregister(descriptor)

    def wait(self, timeout_s: float | None) -> list[Listener]:
        """Wait for at most `timeout_s` (None: without limit), and return the listeners with an event."""
        # Rounded up: the last fraction of a millisecond must not become a busy loop.
        wait_ms = None if timeout_s is None else min(timeout_s, MAX_WAIT_S) * 1000 + (timeout_s > 0)
        events = self._poll.poll(wait_ms)
        if not events:
            self.is_interrupted = False
            return []
        listeners = [self._listeners.get(descriptor) for descriptor, _ in events]
        self.is_interrupted = None in listeners
        return [listener for listener in listeners if listener is not None]
