"""The notation of addresses."""

from __future__ import annotations

import pytest

from gearman_client import Address, AddressError, parse_address, parse_addresses
from gearman_client.address import default_servers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("box", Address("box", 4730)),
        ("box:7003", Address("box", 7003)),
        (" 10.0.0.1:1 ", Address("10.0.0.1", 1)),
        ("[::1]", Address("::1", 4730)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_an_address_is_a_host_and_optionally_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":4730", "box:", "box:0", "box:65536", "box:x", "box:-1", "box:٣", "::1", "[::1", "[::1]4730", "a b", "a/b"],
)
def test_an_invalid_address_is_refused_with_its_text_in_the_message(text: str) -> None:
    with pytest.raises(AddressError) as refusal:
        parse_address(text)
    assert repr(text) in str(refusal.value)
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize("text", ["box:4730", "[::1]:4731"])
def test_an_address_prints_in_the_notation_that_is_read(text: str) -> None:
    assert str(parse_address(text)) == text


def test_several_addresses_are_a_list_or_a_text_with_commas_and_repeated_ones_count_once() -> None:
    a, b = Address("a"), Address("b", 2)
    assert parse_addresses("a, b:2,a:4730,") == (a, b)
    assert parse_addresses(["a", b]) == (a, b)
    assert parse_addresses(a) == (a,)


@pytest.mark.parametrize("servers", [None, 4730, b"box", [None], [b"box"], [("box", 4730)]])
def test_other_values_than_addresses_are_refused(servers: object) -> None:
    with pytest.raises(AddressError, match="host:port"):
        parse_addresses(servers)  # type: ignore[arg-type]


@pytest.mark.parametrize("servers", ["", " , ", []])
def test_an_empty_list_of_addresses_is_refused(servers: object) -> None:
    with pytest.raises(AddressError, match="no job server given"):
        parse_addresses(servers)  # type: ignore[arg-type]


@pytest.mark.parametrize("servers", ["box:port", ",", "a b"])
def test_a_mistake_in_the_environment_names_the_variable(servers: str) -> None:
    with pytest.raises(AddressError, match="the environment variable GEARMAN_SERVERS: "):
        default_servers({"GEARMAN_SERVERS": servers})
