"""Addresses as people know them."""

from __future__ import annotations

import pytest

from gearman_manager.access.proxy import plain_address


@pytest.mark.parametrize(
    ("given", "plain"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::1"), ("::1", "::1")],
)
def test_an_ipv4_address_has_its_own_form_whatever_socket_it_came_to(given: str, plain: str) -> None:
    assert plain_address(given) == plain
