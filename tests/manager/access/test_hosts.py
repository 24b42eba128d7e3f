"""Hosts and origins that are ours, and those that are not."""

from __future__ import annotations

import pytest

from gearman_manager.access.hosts import is_our_host, is_our_origin

HOSTS = frozenset({"gearman.example.com"})


@pytest.mark.parametrize(
    "authority",
    [
        None,
        "127.0.0.1:4731",
        "[::1]:4731",
        "10.0.0.5",
        "localhost:4731",
        "manager",
        "a.localhost",
        "gearman.example.com",
        "GEARMAN.example.com.:443",
    ],
)
def test_addresses_plain_names_and_configured_names_are_ours(authority: str | None) -> None:
    assert is_our_host(authority, HOSTS)


@pytest.mark.parametrize(
    "authority",
    ["", "evil.example:4731", "gearman.example.com.evil.example", "x.gearman.example.com", "127.0.0.1.evil.example",
     "evil.example:x", "127.0.0.1@evil.example", "[::1"],
)  # fmt: skip
def test_a_name_that_others_can_point_at_us_is_not_ours(authority: str) -> None:
    assert not is_our_host(authority, HOSTS)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (None, "127.0.0.1:4731"),
        ("http://127.0.0.1:4731", "127.0.0.1:4731"),
        ("https://manager", "manager:443"),
        ("http://manager:80", "manager"),
        ("https://gearman.example.com", "127.0.0.1:4731"),
        ("https://gearman.example.com:8443", "gearman.example.com"),
    ],
)
def test_a_page_of_our_own_may_ask(origin: str | None, authority: str) -> None:
    assert is_our_origin(origin, authority, HOSTS)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        ("null", "127.0.0.1:4731"),
        ("", "127.0.0.1:4731"),
        ("http://127.0.0.1:8080", "127.0.0.1:4731"),
        ("http://localhost:4731", "127.0.0.1:4731"),
        ("file://", "127.0.0.1:4731"),
        ("http://evil.example", "127.0.0.1"),
        ("http://127.0.0.1:x", "127.0.0.1"),
        ("http://evil.example", None),
    ],
)
def test_a_page_of_another_site_may_not(origin: str, authority: str | None) -> None:
    assert not is_our_origin(origin, authority, HOSTS)
