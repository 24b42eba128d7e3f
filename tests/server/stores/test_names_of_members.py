"""What the servers of a cluster are called: a name that comes back is taken for the same server after a restart."""

from __future__ import annotations

import platform

import pytest

from gearman_server.stores.settings import ClusterSettings, named_by


@pytest.mark.parametrize(
    ("listening", "announced", "address", "member"),
    [
        ("10.1.2.3:4730", "", "10.1.2.3:4730", "10.1.2.3:4730"),
        ("0.0.0.0:4730", "", "HOST:4730", "HOST:4730"),
        ("127.0.0.1:4730", "", "127.0.0.1:4730", "HOST 127.0.0.1:4730"),  # every machine has that address
        ("[::1]:4730", "", "[::1]:4730", "HOST [::1]:4730"),
        ("127.0.0.1:4730", "queue-1:4730", "queue-1:4730", "queue-1:4730"),
    ],
)
def test_two_machines_never_have_servers_of_the_same_name_by_default(
    listening: str, announced: str, address: str, member: str
) -> None:
    settings = named_by(ClusterSettings("shop", 2.5, address=announced), {"jobs": (listening,)})
    host = platform.node()
    assert (settings.address, settings.member) == (address.replace("HOST", host), member.replace("HOST", host))
