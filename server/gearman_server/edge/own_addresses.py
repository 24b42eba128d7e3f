"""This machine's own addresses, looked up when the server starts."""

from __future__ import annotations

import socket

import psutil

from gearman_server.jobs.access import THIS_MACHINE, AccessList


def this_machine() -> AccessList:
    """Loopback and every address of this machine: a local peer that connects to an outer address comes from it, too."""
    families = (socket.AF_INET, socket.AF_INET6)
    own = {
        found.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for found in addresses
        if found.family in families
    }
    return AccessList((*THIS_MACHINE.networks, *AccessList.of(sorted(own)).networks))
