"""The host that a request is for, and the page that it comes from.

A page of a foreign site can make a browser send a request here, and with a name of its own that suddenly stands for
our address (DNS rebinding) it could even read the answer. So the `Host` must be one of ours, and an `Origin` our own.
Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443}


def is_our_host(authority: str | None, hosts: Collection[str]) -> bool:
    """Whether a request for this host (and port) is for us.

    Nobody can have a name server answer for an IP address, nor for a name without a dot; every other name must be among
    `hosts`. None: it does not say, which no browser does.
    """
    if authority is None:
        return True
    host = _split(f"http://{authority}")[0]
    return bool(host) and (_is_address(host) or "." not in host or host.endswith(".localhost") or host in hosts)


def is_our_origin(origin: str | None, authority: str | None, hosts: Collection[str]) -> bool:
    """Whether a request with this `Origin` comes from a page of ours: of the same host and port, or of one of `hosts`.
    None: it comes from no page."""
    if origin is None:
        return True
    scheme = origin.partition("://")[0]
    if scheme not in _PORTS:
        return False  # `null` too: a page that hides where it comes from
    host, port = _split(origin)
    if host and authority is not None and (host, port) == _split(f"{scheme}://{authority}"):
        return True
    return host in hosts


def _split(url: str) -> tuple[str, int]:
    """Host and port of a URL; an empty host: it is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "", 0
    return (host or "").rstrip("."), port or _PORTS[parts.scheme]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
