"""The order in which the servers of a client are tried, and the back-off of those that can't be reached."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from gearman_client import Address
from gearman_client.client.server_choice import MAX_BACKOFF_S, KeyOrders, ServerHealth, by_key, in_order
from gearman_client.connection.ring import Ring


@dataclass(frozen=True)
class Server:
    """A server as a client keeps it."""

    address: Address


SERVERS = tuple(Server(Address("127.0.0.1", port)) for port in (1, 2, 3))
A, B, C = SERVERS


@given(st.binary(min_size=1, max_size=20))
def test_a_key_begins_with_the_server_of_its_crc32_and_goes_round(key: bytes) -> None:
    start = (crc32(key) // 65536 % 32768) % 3
    expected = [SERVERS[(start + step) % 3] for step in range(3)]
    ring = Ring([server.address for server in SERVERS])
    assert list(by_key(SERVERS, key, ring)) == expected
    assert list(KeyOrders(SERVERS, ring).of(key)) == expected


def test_without_a_key_the_first_server_is_first() -> None:
    assert list(in_order(SERVERS, ServerHealth(), 0.0)) == [A, B, C]
    assert KeyOrders(SERVERS, Ring([C.address, B.address, A.address])).of(b"") == (A, B, C)


def test_a_server_that_was_not_reached_is_last_until_its_back_off_is_over() -> None:
    health = ServerHealth()
    health.note_failure(A.address, 10.0)
    assert health.has_failed(A.address)
    assert not health.is_good
    assert list(in_order(SERVERS, health, 10.9)) == [B, C, A]
    assert list(in_order(SERVERS, health, 11.0)) == [A, B, C]


def test_of_those_left_out_the_soonest_due_is_first() -> None:
    health = ServerHealth()
    for server, now in ((A, 3.0), (B, 1.0), (C, 2.0)):
        health.note_failure(server.address, now)
    assert list(in_order(SERVERS, health, 1.5)) == [B, C, A]


def test_the_back_off_doubles_up_to_its_limit_and_ends_with_a_success() -> None:
    health = ServerHealth()
    now, waits = 0.0, []
    for _ in range(8):
        health.note_failure(A.address, now)
        waits.append(health.left_out_until(A.address, now) - now)
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_BACKOFF_S, MAX_BACKOFF_S, MAX_BACKOFF_S]
    health.note_success(A.address)
    assert health.is_good
    health.note_failure(A.address, now)
    assert health.left_out_until(A.address, now) == now + 1.0


def test_what_several_calls_find_at_once_is_one_failure() -> None:
    health = ServerHealth()
    for _ in range(5):
        health.note_failure(A.address, 0.0)
    assert health.left_out_until(A.address, 0.5) == 1.0
