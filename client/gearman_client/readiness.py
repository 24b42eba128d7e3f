"""What a worker waits for all at once: its servers, its own wake-up pipe, and descriptors its owner wants heard."""

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearman_client.server_link import ServerLink


class Readiness:
    """One poll object and who is behind each descriptor. An interrupt is a descriptor with nobody behind it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._links: dict[int, ServerLink] = {}
        self._descriptors: dict[ServerLink, int] = {}
        self.interrupted = False

    def watch_readable(self, link: "ServerLink", descriptor: int) -> None:
        """Report `link` when `descriptor` can be read."""
        self._watch(link, descriptor, select.POLLIN)

    def watch_writable(self, link: "ServerLink", descriptor: int) -> None:
        """Report `link` when `descriptor` can be written."""
        self._watch(link, descriptor, select.POLLOUT)

    def watch_interrupt(self, descriptor: int) -> None:
        """Set `interrupted` while `descriptor` can be read."""
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, link: "ServerLink") -> None:
        """Stop watching for `link`; its descriptor must still be open."""
        descriptor = self._descriptors.pop(link, None)
        if descriptor is not None:
            del self._links[descriptor]
            self._poll.unregister(descriptor)

    def wait(self, timeout_s: float | None) -> "list[ServerLink]":
        """The links that have something, after at most `timeout_s` (None: however long it takes)."""
        # Rounded up: the last fraction of a millisecond must not become a busy loop.
        events = self._poll.poll(None if timeout_s is None else timeout_s * 1000 + (timeout_s > 0))
        if not events:
            self.interrupted = False
            return []
        links = [self._links.get(descriptor) for descriptor, _ in events]
        self.interrupted = None in links
        return [link for link in links if link is not None]

    def _watch(self, link: "ServerLink", descriptor: int, events: int) -> None:
        self.forget(link)
        self._links[descriptor] = link
        self._descriptors[link] = descriptor
        self._poll.register(descriptor, events)
