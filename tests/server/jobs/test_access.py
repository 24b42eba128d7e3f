"""Permissions: access lists of networks, and the question whether two peers have the same origin."""

from __future__ import annotations

import pytest

from gearman_server.jobs.access import AccessList, Identity, is_same_origin


@pytest.mark.parametrize(
    ("networks", "address", "is_allowed"),
    [
        (["192.0.2.0/24"], "192.0.2.9", True),
        (["192.0.2.0/24"], "192.0.3.9", False),
        (["192.0.2.1/24"], "192.0.2.9", True),
        (["192.0.2.7", "fd00::/8"], "192.0.2.7", True),
        (["192.0.2.7", "fd00::/8"], "fd12::1", True),
        (["192.0.2.7", "fd00::/8"], "fe80::1%eth0", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True),
        (["192.0.2.0/24"], "a name", False),
        ([], "127.0.0.1", False),
    ],
)
def test_an_access_list_knows_its_networks(networks: list[str], address: str, is_allowed: bool) -> None:
    assert AccessList.of(networks).allows(Identity(address)) is is_allowed


def test_a_unix_socket_is_protected_by_the_mode_of_its_file() -> None:
    assert AccessList.of([]).allows(Identity("", unix_uid=1000))


@pytest.mark.parametrize("text", ["", "everybody", "10.0.0.0/33", "10.0.0"])
def test_an_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller words it
        AccessList.of([text])


def test_the_same_origin_is_the_same_address_or_the_same_user() -> None:
    assert is_same_origin(Identity("192.0.2.1", 1), Identity("192.0.2.1", 2))
    assert not is_same_origin(Identity("192.0.2.1"), Identity("192.0.2.2"))
    assert not is_same_origin(Identity("", unix_uid=1), Identity("", unix_uid=2))
    assert not is_same_origin(Identity(""), Identity("", unix_uid=2))
