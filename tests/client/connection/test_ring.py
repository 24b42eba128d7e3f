"""The order of the servers of a cluster for a key: the same for all, and as steady as can be."""

from __future__ import annotations

from collections import Counter

import pytest

from gearman_client import Address
from gearman_client.connection.ring import SLOTS, Ring

SERVERS = [Address("10.0.0.1", 4730), Address("10.0.0.2", 4730), Address("10.0.0.3", 4731)]


def orders(ring: Ring) -> list[tuple[Address, ...]]:
    return [ring.order(number) for number in range(SLOTS)]


def test_the_order_in_which_servers_are_known_does_not_count() -> None:
    assert orders(Ring(SERVERS, {})) == orders(Ring(SERVERS[::-1], {}))


def test_how_an_address_is_written_does_not_count() -> None:
    written = [Address("one.example", 4730), Address("localhost", 4730), Address("::1", 4731)]
    names = {each: str(server) for each, server in zip(written, SERVERS, strict=True)}
    again = [tuple(SERVERS[written.index(address)] for address in order) for order in orders(Ring(written, names))]
    assert again == orders(Ring(SERVERS, {}))


def test_a_server_more_or_less_moves_its_own_keys_alone() -> None:
    without = orders(Ring(SERVERS[1:], {}))
    with_it = orders(Ring(SERVERS, {}))
    assert [tuple(each for each in order if each != SERVERS[0]) for order in with_it] == without


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_each_server_has_about_the_same_share_of_the_keys(count: int) -> None:
    for names in ("127.0.0.1:{}", "10.0.0.{}:4730", "server-{}.example:4730"):
        servers = [Address("host", 4730 + number) for number in range(count)]
        ring = Ring(servers, {server: names.format(4730 + at) for at, server in enumerate(servers)})
        shares = Counter(order[0] for order in orders(ring))
        assert len(shares) == count
        assert all(0.7 * SLOTS / count < share < 1.3 * SLOTS / count for share in shares.values())


def test_numbers_beyond_the_slots_go_round() -> None:
    ring = Ring(SERVERS, {})
    assert ring.order(5 + 3 * SLOTS) == ring.order(5)
    assert Ring(SERVERS).order(7) == (SERVERS[1], SERVERS[2], SERVERS[0])
    assert Ring([]).order(7) == ()
