"""Addresses of job servers as a configuration writes them: `HOST:PORT`, `[IPv6]:PORT`, a host or a port alone. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from gearman_client.address import DEFAULT_HOST, DEFAULT_PORT, MAX_PORT, Address
from gearman_process.values.quoting import shown

_HELP: Final = "an address such as 127.0.0.1:4730, jobs.example.com:4730 or [::1]:4730 is expected"
_PATTERN: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+))?(?::(?P<port>[0-9]{1,5}))?", re.A
)
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def reachable(listening: Address) -> Address:
    """The address at which a process on this machine reaches a server that listens on `listening`."""
    return Address(_EVERY_ADDRESS.get(listening.host, listening.host), listening.port)


def neighbour(address: Address, offset: int) -> Address:
    """The address whose port is so many above. Of port 0, any free one, every neighbour is any free one too."""
    return replace(address, port=address.port + offset) if address.port else address


def overlap(first: Address, second: Address) -> bool:
    """Whether nobody can listen on both addresses at once. Port 0 means another free port each time."""
    if first.port != second.port or first.port == 0:
        return False
    return first.host == second.host or _includes(first.host, second.host) or _includes(second.host, first.host)


def _includes(every: str, host: str) -> bool:
    return every in _EVERY_ADDRESS and (":" in every) == (":" in host)


def parse_address(value: object) -> Address:
    """The address of a job server; a missing host is 127.0.0.1, a missing port 4730."""
    return _parse(value, lowest_port=1)


def parse_listen_address(value: object) -> Address:
    """The address for a job server to listen on; port 0 means any free port."""
    return _parse(value, lowest_port=0)


def parse_host(value: object) -> str:
    """A host's name or IP address, without a port."""
    text = value.removeprefix("[").removesuffix("]") if isinstance(value, str) else ""
    if not text or text.isdecimal() or not _is_host(text, is_ipv6=":" in text):
        raise ValueError(f"a host alone is expected, such as jobs1.example.com or 10.0.0.5, not {shown(value)}")
    return text


def parse_path_prefix(value: object) -> str:
    """The path under which a proxy shows us: `/` and more, without a `/` at its end."""
    if not isinstance(value, str) or not re.fullmatch(r"(/[\w.~-]+)+", value, re.A):
        raise ValueError(f"a path such as /gearman is expected, not {shown(value)}")
    return value


def parse_peer_url(value: object) -> str:
    """The address of another manager's control API, with the path of its `prefix`."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    text = str(value)
    if not is_one or not text.isascii() or not text.isprintable() or any(each in text for each in ' @?#"<>\\'):
        raise ValueError(f"an address such as https://b.example.com:4780 is expected, not {shown(value)}")
    return text.rstrip("/")


def parse_header_name(value: object) -> str:
    """The name of an HTTP header."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value):
        raise ValueError(f"the name of a header is expected, such as X-Forwarded-User, not {shown(value)}")
    return value


def _parse(value: object, lowest_port: int) -> Address:
    if isinstance(value, Address):
        return value
    text = f":{value}" if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and text.isascii() and text.isdecimal():
        text = f":{text}"
    match = _PATTERN.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError(f"{_HELP}, not {shown(value)}")
    port = int(match["port"] or DEFAULT_PORT)
    if not lowest_port <= port <= MAX_PORT:
        raise ValueError(f"a port is a number from {lowest_port} to {MAX_PORT}, not {port}")
    host = match["ipv6"] or match["host"] or DEFAULT_HOST
    if not _is_host(host, is_ipv6=match["ipv6"] is not None):
        raise ValueError(f"{_HELP}, not {shown(value)}")
    return Address(host, port)


def _is_host(host: str, *, is_ipv6: bool) -> bool:
    """Whether it is an IP address, or may be the name of a host (underscores are common in containers)."""
    if is_ipv6 or re.fullmatch(r"[0-9.]+", host):
        try:
            return (ipaddress.ip_address(host).version == 6) is is_ipv6
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(re.fullmatch(r"(?!-)[\w-]{1,63}(?<!-)", label, re.A) for label in labels)
