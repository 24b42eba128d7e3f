"""What a client keeps of the servers that it is told of."""

from __future__ import annotations

import pytest

from gearman_client import Address, Tls
from gearman_client.connection.roster import FORGET_AFTER_S, MAX_LEARNED, Roster
from gearman_client.errors import ProtocolError

A, B, C = (Address("10.0.0.1", 1), Address("10.0.0.2", 2), Address("10.0.0.3", 3))


def table(teller: Address | str, *others: Address | str, dead: tuple[Address, ...] = ()) -> bytes:
    """The rows that a server sends."""
    rows = [(teller, "alive", 1), *((other, "alive", 0) for other in others), *((each, "dead", 0) for each in dead)]
    lines = (
        f"{number}\tname\t{address}\t1.0\t{state}\t{own}\n" for number, (address, state, own) in enumerate(rows, 1)
    )
    return "".join(lines).encode()


def test_the_others_are_learned_and_the_given_ones_stay_in_front() -> None:
    roster = Roster([C])
    assert roster.learn(C, table(C, B, A), 0.0)
    assert (roster.known.version, roster.known.addresses) == (1, (C, A, B))
    assert roster.fellows_of(C) == [A, B]
    assert roster.learn(A, table(A, C, B), 1.0)
    assert roster.known.version == 1


def test_keys_choose_by_the_given_order_until_there_is_a_cluster() -> None:
    roster = Roster([C, A])
    assert roster.known.ring.order(1) == (A, C)
    assert not roster.learn(C, b"0\tbox\t10.0.0.3:3\t1.0\talive\t1\n", 0.0)
    assert roster.known.ring.names is None
    roster.learn(C, table(C, A), 0.0)
    assert (roster.known.version, roster.known.addresses) == (1, (C, A))
    assert roster.fellows_of(C) == [A]


def test_whoever_knows_a_cluster_has_the_same_order_for_a_key() -> None:
    given, other = Address("db.example", 2), Address("localhost", 3)
    rosters = [Roster([C, A]), Roster([A]), Roster([given, A]), Roster([A, C, B])]
    for roster in rosters:
        roster.learn(A, table(A, B, C), 0.0)
    rosters[2].learn(given, table(B, A, C), 0.0)
    orders = [[roster.known.ring.order(number) for number in range(100)] for roster in rosters]
    assert orders[0] == orders[1] == orders[3]
    assert [tuple({given: B}.get(each, each) for each in order) for order in orders[2]] == orders[0]
    # Until it tells its name, one that was given has the name by which it was given, and a place of its own.
    rosters[1].give([A, other])
    assert set(rosters[1].known.ring.order(1)) == {A, B, C, other}


def test_a_learned_server_that_is_gone_for_good_is_forgotten_and_a_given_one_is_not() -> None:
    roster = Roster([A, C])
    roster.learn(A, table(A, B, C), 0.0)
    roster.learn(A, table(A, dead=(B, C)), 10.0)
    assert roster.known.addresses == (A, C, B)
    assert roster.forget_at == 10.0 + FORGET_AFTER_S
    roster.learn(A, table(A), 20.0)
    assert roster.forget_at == 10.0 + FORGET_AFTER_S
    roster.forget(roster.forget_at)
    assert roster.known.addresses == (A, C)
    assert roster.fellows_of(A) == [C]


def test_a_learned_server_that_comes_back_in_time_is_kept() -> None:
    roster = Roster([A])
    roster.learn(A, table(A, B), 0.0)
    roster.learn(A, table(A), 10.0)
    roster.learn(A, table(A, B), 20.0)
    roster.forget(10.0 + FORGET_AFTER_S)
    assert roster.known.addresses == (A, B)


def test_a_server_with_two_names_is_one() -> None:
    given = Address("db.example", 1)
    roster = Roster([given])
    roster.learn(given, table(A, B), 0.0)
    assert roster.known.addresses == (given, B)
    roster.learn(B, table(B, A), 1.0)
    assert roster.known.addresses == (given, B)
    # It restarted with another name for itself.
    roster.learn(given, table(C, B), 2.0)
    assert roster.known.addresses == (given, B)


def test_a_given_server_that_was_learned_under_its_own_name_first_is_one_in_the_end() -> None:
    given = Address("db.example", 2)
    roster = Roster([A, given])
    roster.learn(A, table(A, B), 0.0)
    assert roster.known.addresses == (A, given, B)
    roster.learn(given, table(B, A), 1.0)
    assert roster.known.addresses == (A, given)
    assert roster.fellows_of(A) == [given]


def test_other_given_servers_keep_what_was_learned_of_their_clusters() -> None:
    roster = Roster([A])
    roster.learn(A, table(A, B), 0.0)
    roster.give([B, C])
    assert roster.known.addresses == (B, C, A)
    roster.give([C])
    assert roster.known.addresses == (C,)


def test_the_names_of_the_loopback_are_one() -> None:
    given = Address("127.0.0.1", 1)
    roster = Roster([given, Address("127.0.0.1", 2)])
    roster.learn(given, table("localhost:1", "localhost:2", "localhost:3"), 0.0)
    assert roster.known.addresses == (given, Address("127.0.0.1", 2), Address("127.0.0.1", 3))


def test_servers_of_two_clusters_are_kept_apart() -> None:
    roster = Roster([A, B])
    roster.learn(A, table(A, C), 0.0)
    roster.learn(B, table(B), 0.0)
    assert (roster.fellows_of(A), roster.fellows_of(B), roster.fellows_of(C)) == ([C], [], [A])


@pytest.mark.parametrize(
    ("told_by", "rows"),
    [
        (A, b"0\tbox\t10.0.0.1:1\t1.0\talive\t1\n"),  # it has no cluster
        (A, table("", B)),  # it is reached nowhere by others
        (Address("10.0.0.1", 9, Tls()), table(A, B)),  # its port with TLS is not the one that it names
        (A, table("127.0.0.1:1", "127.0.0.1:2")),  # its loopback is not ours
        (A, b""),
    ],
)
def test_nothing_is_learned_from_one_that_names_no_address_for_us(told_by: Address, rows: bytes) -> None:
    roster = Roster([told_by])
    assert not roster.learn(told_by, rows, 0.0)
    assert roster.known.addresses == (told_by,)


def test_learned_servers_are_reached_as_the_one_that_told_of_them() -> None:
    tls = Tls()
    given = Address("10.0.0.1", 1, tls)
    roster = Roster([given])
    roster.learn(given, table(given, B), 0.0)
    assert roster.known.addresses[1].tls is tls


def test_what_a_server_tells_has_a_bound() -> None:
    roster = Roster([A])
    roster.learn(A, table(A, *(Address("10.1.0.1", port) for port in range(1, 1000))), 0.0)
    assert len(roster.known.addresses) == 1 + MAX_LEARNED


def test_nonsense_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="makes no sense"):
        Roster([A]).learn(A, b"hello\n", 0.0)
