"""The job servers of a relay: those that it was given, and the others of their clusters, of which they tell.

The servers of a cluster know each other's submissions. So a row that one of them may have can be sent to any of them,
and goes to another one while its own does not answer. Such rows bear the name of a server that the relay was given:
the next relay, which has learned nothing yet, knows it too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gearman_client.address import Address
from gearman_client.connection.roster import Roster
from gearman_manager.outbox.planning import Homes

if TYPE_CHECKING:
    from gearman_manager.outbox.link import Link


class JobServers:
    """The links to all job servers. It belongs to the relay's thread; times are monotonic."""

    def __init__(self, given: Sequence[Address], new_link: Callable[[Address], Link]) -> None:
        self._roster = Roster(given)
        self._new_link = new_link
        self._version = 0
        self._has_started = False
        #: By name.
        self.links = {link.name: link for link in map(new_link, given)}
        #: Links to servers that are known no more, until their last batch is written.
        self._leaving: list[Link] = []
        self.homes = Homes(self._roster.known.ring)

    def __iter__(self) -> Iterator[Link]:
        """All links, also those that get nothing any more."""
        return iter((*self.links.values(), *self._leaving))

    def start(self) -> None:
        """Begin to connect."""
        self._has_started = True
        for link in self.links.values():
            link.start()

    def is_known(self, link: Link) -> bool:
        """Whether rows go to it."""
        return self.links.get(link.name) is link

    def learn(self, told_by: Link, table: bytes, now: float) -> bool:
        """Take in what a server tells of its cluster. Returns whether there are other servers now."""
        if self.is_known(told_by):
            self._roster.learn(told_by.address, table, now)
        return self._follow()

    def forget(self, now: float) -> bool:
        """Forget servers whose time has come. Returns whether there are other servers now."""
        self._leaving = [link for link in self._leaving if not _has_left(link)]
        if now >= self._roster.forget_at:
            self._roster.forget(now)
        return self._follow()

    def name_for_doubt(self, link: Link) -> str:
        """The name that rows bear which this server may have."""
        given = self._roster.given
        fellows = self._roster.fellows_of(link.address)
        return link.name if link.address in given else str(next((each for each in fellows if each in given), link.name))

    def stand_ins(self, ready: Collection[str], idle: Collection[str]) -> Mapping[str, str]:
        """By the name of a server that does not answer, the server of its cluster that gets the rows which it may have.

        ready: the servers that answer. idle: those that can take rows now.
        """
        found = {}
        for name, link in self.links.items():
            if name not in ready:
                fellows = map(str, self._roster.fellows_of(link.address))
                first = next((each for each in fellows if each in ready), None)
                if first is not None and first in idle:
                    found[name] = first
        return found

    def _follow(self) -> bool:
        """Have a link to each server that is known, and no other one."""
        version, addresses, ring = self._roster.known
        if version == self._version:
            return False
        self._version, self.homes = version, Homes(ring)
        former = self.links
        links = {str(each): former.get(str(each)) or self._begun(each) for each in addresses}
        self._leaving += [link for name, link in former.items() if name not in links and not _has_left(link)]
        self.links = links
        return links.keys() != former.keys()

    def _begun(self, address: Address) -> Link:
        link = self._new_link(address)
        if self._has_started:
            link.start()
        return link


def _has_left(link: Link) -> bool:
    """End a link, if it has no batch."""
    if link.batch is None:
        link.leave()
    return link.batch is None
