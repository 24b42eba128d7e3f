"""Callers on the control socket: the kernel says whose process it is. Only the manager's user and root get there."""

from __future__ import annotations

import pwd
from functools import lru_cache

from gearman_manager.access.caller import Caller, Kind, Peer, Role


def local_caller(peer: Peer) -> Caller:
    """Who has connected to the control socket."""
    name = "" if peer.uid is None else _name(peer.uid)
    return Caller(Kind.SOCKET, name, Role.ADMIN, peer.address)


@lru_cache(maxsize=16)
def _name(uid: int) -> str:
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"  # an account that has no name here
