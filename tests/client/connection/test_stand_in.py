"""A stand-in takes the place of the network for every connection that is opened."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gearman_client import Address, Client, CouldNotConnect, Tls
from gearman_client.connection import stand_in
from gearman_client.connection.connecting import connect


@pytest.fixture
def ends() -> Iterator[dict[str, socket.socket]]:
    """The other ends of all connections by host; the stand-in knows no host named away."""
    found: dict[str, socket.socket] = {}

    def connect_in_its_place(address: Address) -> socket.socket:
        if address.host == "away":
            raise CouldNotConnect(f"could not connect to {address}: it is away")
        ours, found[address.host] = socket.socketpair()
        return ours

    before = stand_in.use(connect_in_its_place)
    yield found
    assert stand_in.use(before) is connect_in_its_place
    for end in found.values():
        end.close()


def test_no_name_is_looked_up_and_no_file_of_tls_is_read(ends: dict[str, socket.socket]) -> None:
    sock = connect(Address("no.such.host", tls=Tls(ca_file="/no/such/file")), 5.0)
    assert sock.send(b"x") == 1
    assert ends["no.such.host"].recv(10) == b"x"
    sock.close()


def test_it_can_refuse_a_connection(ends: dict[str, socket.socket]) -> None:
    with Client("away") as client, pytest.raises(CouldNotConnect, match=r"away:4730: it is away"):
        client.submit("f", b"", timeout_s=5)
    assert ends == {}


def test_afterwards_the_network_is_back() -> None:
    assert stand_in.current() is None
    with pytest.raises(CouldNotConnect, match="refused"):
        connect(Address("127.0.0.1", 1), 5.0)
