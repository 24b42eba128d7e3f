"""Takes the place of the network in this process, for tests of programs that submit jobs: `gearman_client.testing`.

While there is a stand-in no host name is looked up, no TLS file is read and nothing leaves the process.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from gearman_client.address import Address

#: Returns a socket as one that is connected to the job server of that address, or raises CouldNotConnect.
StandIn = Callable[[Address], socket.socket]

_current: StandIn | None = None


def current() -> StandIn | None:
    """The stand-in; None outside of such tests."""
    return _current


def use(stand_in: StandIn | None) -> StandIn | None:
    """Use another one for connections that are opened from now on; returns the one before."""
    global _current
    before, _current = _current, stand_in
    return before
