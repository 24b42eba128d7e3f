"""Logs requests without the token: at once for each address, then their number, however many there are."""

from __future__ import annotations

import logging
from typing import Final

import gevent

_log = logging.getLogger("control")
#: How often the log says something about one address at most.
SAY_EVERY_S: Final = 10.0
#: Addresses that are counted separately; the others are counted together.
_MOST_ADDRESSES: Final = 256
_OTHERS: Final = "other addresses"


class RefusedTokens:
    """Counts them by address."""

    def __init__(self) -> None:
        self._more: dict[str, int] = {}

    def note(self, address: str, *, is_missing: bool) -> None:
        """A request from this address was refused."""
        if address not in self._more and len(self._more) >= _MOST_ADDRESSES:
            address = _OTHERS
        if address in self._more:
            self._more[address] += 1
            return
        self._more[address] = 0
        what = "without a token" if is_missing else "with a wrong token"
        _log.warning("a request from %s %s was refused", address, what)
        gevent.spawn_later(SAY_EVERY_S, self._tell_more, address)

    def _tell_more(self, address: str) -> None:
        more = self._more.pop(address)
        if more:
            _log.warning(
                "%d more requests from %s without the right token were refused in %g s", more, address, SAY_EVERY_S
            )
