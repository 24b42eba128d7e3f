"""How often a password may be wrong: for one user from one address, and from one address. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

#: In this time
WINDOW_S: Final = 60.0
#: so many attempts may fail for one user, and so many in all; then none is looked at until the time is over.
MOST_FOR_ONE: Final = 5
MOST_FROM_ONE: Final = 20
#: Pairs of address and user that are kept; the oldest are forgotten.
_MOST_KEPT: Final = 4096
_EVERY_USER: Final = ""


class Attempts:
    """Counts failed attempts. Times are monotonic seconds."""

    def __init__(self) -> None:
        #: The beginning of the time, and the failures since.
        self._failed: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str, name: str, now: float) -> float:
        """How long no further attempt is looked at; 0: the next one may come."""
        longest = 0.0
        for key, most in _keys(address, name):
            since, failed = self._failed.get(key, (now, 0))
            if failed >= most:
                longest = max(longest, since + WINDOW_S - now)
        return longest

    def note(self, address: str, name: str, now: float) -> None:
        """An attempt begins. It counts as failed until `succeeded`: else many at once would count too late."""
        for key, _ in _keys(address, name):
            since, failed = self._failed.pop(key, (now, 0))
            self._failed[key] = (since, failed + 1) if now < since + WINDOW_S else (now, 1)
        while len(self._failed) > _MOST_KEPT:
            self._failed.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """It was the right password: this user's failures from there are forgotten, and the attempt does not count."""
        (own, _), (every, _) = _keys(address, name)
        self._failed.pop(own, None)
        if every in self._failed:
            since, failed = self._failed[every]
            self._failed[every] = (since, max(0, failed - 1))


def _keys(address: str, name: str) -> Iterator[tuple[tuple[str, str], int]]:
    network = _network(address)
    yield (network, name or " "), MOST_FOR_ONE
    yield (network, _EVERY_USER), MOST_FROM_ONE


def _network(address: str) -> str:
    """The address; of IPv6 the network that one host has to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((int(parsed), 64), strict=False))
