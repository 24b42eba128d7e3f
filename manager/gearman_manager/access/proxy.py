"""What a trusted proxy says of the peer behind it. It shows a token of its own, in a header that it sets itself.

The address that it connects from is no proof: on one machine every user can connect from there. Pure.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from gearman_manager.access.credentials import Credentials
from gearman_process.http.messages import HttpRefusal, HttpRequest

TOKEN_HEADER: Final = "x-proxy-token"


@dataclass(frozen=True, slots=True)
class Behind:
    """The peer, as far as it is known."""

    address: str
    is_https: bool = False
    is_trusted: bool = False


def behind(request: HttpRequest, address: str, credentials: Credentials) -> Behind:
    """The peer of a request that came from this address, through the proxy or not.

    Raises:
        HttpRefusal: a wrong token of a proxy was shown.
    """
    given = request.header(TOKEN_HEADER)
    if given is None:
        return Behind(address)
    if not credentials.is_proxy(given.strip().encode("latin-1")):
        raise HttpRefusal(401, f"the header {TOKEN_HEADER} has not the token of control.trusted_proxy")
    # Of several addresses the proxy has added the last one; those before it came from its peer.
    forwarded = [value for name, value in request.headers if name == "x-forwarded-for"]
    last = forwarded[-1].rpartition(",")[2].strip() if forwarded else ""
    return Behind(_address(last) or address, request.header("x-forwarded-proto") == "https", is_trusted=True)


def _address(text: str) -> str:
    """The address; empty: it is none."""
    try:
        return plain_address(str(ipaddress.ip_address(text.strip("[]"))))
    except ValueError:
        return ""


def plain_address(address: str) -> str:
    """The address as people know it: of IPv4 not the form that a socket for both versions gives it."""
    mapped = ipaddress.IPv6Address(address).ipv4_mapped if address.startswith("::ffff:") else None
    return address if mapped is None else str(mapped)
