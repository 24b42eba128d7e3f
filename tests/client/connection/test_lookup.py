"""The look-up of a host: numbers need none, and mean what the system's resolver makes of them."""

from __future__ import annotations

import socket

import pytest

from gearman_client import Address
from gearman_client.connection.lookup import look_up


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "127.1", "::1"])
def test_a_number_is_the_address_that_the_resolver_makes_of_it(host: str) -> None:
    found = socket.getaddrinfo(host, 4730, type=socket.SOCK_STREAM)
    assert list(look_up(Address(host))) == [(family, where) for family, _, _, _, where in found]
