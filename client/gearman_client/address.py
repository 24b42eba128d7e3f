"""The address of a job server, and how users write it. Pure: it resolves no name and opens nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gearman_client.errors import AddressError
from gearman_client.tls import Tls

DEFAULT_PORT: Final = 4730
DEFAULT_HOST: Final = "127.0.0.1"
MAX_PORT: Final = 65535
#: The environment variables that name the job servers; the first one that is set counts.
SERVER_VARIABLES: Final = ("GEARMAN_SERVERS", "GEARMAN_SERVER")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Host name or IP address (IPv6 without brackets), and TCP port.

    tls: how to encrypt the connection; None: not at all. It does not count when two addresses are compared.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls: Tls | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`host`, `host:port`, `[::1]` or `[::1]:port`; the port defaults to 4730.

    Raises:
        AddressError: the text is none of these.
    """
    if not isinstance(text, str):
        raise AddressError(f"{text!r} is not an address: expected text such as host:port")
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError(f"{text!r} is not an address: write an IPv6 address as [::1] or [::1]:{DEFAULT_PORT}")
        port_text = rest[1:] if rest else None
    else:
        if text.count(":") > 1:
            raise AddressError(
                f"{text!r} is not an address: put an IPv6 address in brackets, as in [::1]:{DEFAULT_PORT}"
            )
        host, colon, after = text.partition(":")
        port_text = after if colon else None
    if not host or any(character.isspace() or character in "/@\0" for character in host):
        raise AddressError(f"{text!r} is not an address: expected host or host:port")
    return Address(host, DEFAULT_PORT if port_text is None else _parse_port(port_text, text))


def _parse_port(port_text: str, text: str) -> int:
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 0 < int(port_text) <= MAX_PORT):
        raise AddressError(f"{text!r} is not an address: the port must be a number from 1 to {MAX_PORT}")
    return int(port_text)


def parse_addresses(servers: str | Address | Iterable[str | Address], tls: Tls | None = None) -> tuple[Address, ...]:
    """One or several addresses, as text (separated by commas) or as `Address`; duplicates are dropped.

    `tls` applies to every address that has none of its own.

    Raises:
        AddressError: one of them is not an address, or none is given.
    """
    if isinstance(servers, str | Address):
        servers = [servers]
    # Not `isinstance(servers, Iterable)`: that is six calls in Python, and a forked worker pays each with some pages.
    if not hasattr(servers, "__iter__") or isinstance(servers, bytes):
        raise AddressError(f"{servers!r} is no list of job servers: expected host:port, or a list of them")
    found: dict[Address, None] = {}
    for server in servers:
        if isinstance(server, Address):
            found[server] = None
        elif isinstance(server, str):
            found.update((parse_address(part), None) for part in server.split(",") if part.strip())
        else:
            found[parse_address(server)] = None
    if not found:
        raise AddressError("no job server given: name at least one as host:port")
    return tuple(found) if tls is None else tuple(replace(address, tls=address.tls or tls) for address in found)


def default_servers(environment: Mapping[str, str], host: str = DEFAULT_HOST) -> str:
    """The servers that `GEARMAN_SERVERS` names, else the one on this machine.

    Raises:
        AddressError: the variable holds something that is not an address; the text names the variable.
    """
    for name in SERVER_VARIABLES:
        servers = environment.get(name)
        if servers:
            try:
                parse_addresses(servers)
            except AddressError as error:
                raise AddressError(f"the environment variable {name}: {error}") from error
            return servers
    return host
