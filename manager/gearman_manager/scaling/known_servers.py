"""The job servers that a manager knows: those of the configuration, and the others of their clusters, as these tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence, Set
from math import inf
from typing import Any, Final

import gevent

from gearman_client import Address
from gearman_client.connection.roster import Roster

_log = logging.getLogger("queues")
#: A server that its cluster does not have any more is followed for so long, because it may be restarting.
FORGET_AFTER_S: Final = 60.0


class KnownServers:
    """All servers, and which of them to ask for what."""

    def __init__(self, changed: Callable[[], None], is_up: Callable[[Address], bool]) -> None:
        """`changed` is called when servers that the configuration does not name have come or gone."""
        self._changed = changed
        self._is_up = is_up
        self._roster = Roster((), FORGET_AFTER_S)
        self._forgetting: Any = None

    @property
    def addresses(self) -> Sequence[Address]:
        """All servers."""
        return self._roster.known.addresses

    @property
    def given(self) -> Sequence[Address]:
        """The servers that the configuration names."""
        return self._roster.given

    @property
    def dead(self) -> Set[Address]:
        """The servers that the others of their clusters have declared dead, whatever their connections say."""
        return self._roster.dead

    @property
    def having_jobs(self) -> Sequence[Address]:
        """All servers, but for those that are down while others of their cluster have their jobs."""
        up = {address for address in self.addresses if self._is_up(address)}
        fellows_of = self._roster.fellows_of
        return [each for each in self.addresses if each in up or up.isdisjoint(fellows_of(each))]

    @property
    def clusters(self) -> Sequence[Sequence[Address]]:
        """The servers that have jobs, by cluster, of each first one that answers if one does; one without a cluster is
        alone."""
        clusters: list[list[Address]] = []
        for address in self.having_jobs:
            fellows = self._roster.fellows_of(address)
            cluster = next((each for each in clusters if each[0] in fellows), None)
            if cluster is None:
                clusters.append([address])
            else:
                cluster.append(address)
        return clusters

    def give(self, addresses: Sequence[Address]) -> None:
        """The configuration names these from now on."""
        self._roster.give(addresses)

    def learn(self, told_by: Address, table: bytes) -> None:
        """Take in what a server tells of its cluster (the packet SERVERS).

        Raises:
            ProtocolError: it makes no sense.
        """
        before = self._roster.known.version
        self._roster.learn(told_by, table, time.monotonic())
        self._note(before)

    def close(self) -> None:
        """Forget nothing more."""
        if self._forgetting is not None:
            self._forgetting.kill(block=False)
            self._forgetting = None

    def _forget(self) -> None:
        self._forgetting = None
        before = self._roster.known.version
        self._roster.forget(time.monotonic())
        self._note(before)

    def _note(self, before: int) -> None:
        self.close()
        if self._roster.forget_at != inf:
            self._forgetting = gevent.spawn_later(max(0.0, self._roster.forget_at - time.monotonic()), self._forget)
        if self._roster.known.version != before:
            _log.info("the job servers are now %s", ", ".join(map(str, self.addresses)))
            self._changed()
