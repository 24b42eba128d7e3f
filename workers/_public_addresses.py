"""The addresses that may be fetched from: the guard of `fetch_url` against requests into one's own network.

It judges addresses, never names or spellings, so decimal, octal and mapped forms gain nothing. It returns the same
addresses that it has judged, so a name that resolves differently the second time gains nothing either.
"""

import ipaddress
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from _settings import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# An argument of `socket.connect`, with its family.
Endpoint = tuple[socket.AddressFamily, tuple[Any, ...]]

EVERYTHING: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
# Not public, although the standard library's tables (at least the older ones) do not list them:
# protocol assignments, locally used NAT64, and the address under which Azure talks to its virtual machines.
NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "168.63.129.16/32")))
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressError(ValueError):
    """The host is at an address that this worker may not fetch from."""


def allowed_networks(settings: Mapping[str, Any]) -> tuple[Network, ...]:
    """The setting `allow_private`: `true`, `false`, or a list of networks such as `10.1.0.0/16`."""
    value = settings.get("allow_private", False)
    if value in (True, "true"):
        return EVERYTHING
    networks = [] if value in (False, "false") else value
    try:
        if not isinstance(networks, list | tuple):
            raise ValueError("neither a truth value nor a list")
        return tuple(ipaddress.ip_network(str(network)) for network in networks)
    except ValueError as error:
        raise SettingsError(f"allow_private: true, false or a list of networks is needed, not {value!r}") from error


def is_public(address: Address) -> bool:
    """Whether this address is public. An IPv6 address that stands for an IPv4 address is judged like that."""
    inner = _embedded_ipv4(address)
    if inner is not None:
        return is_public(inner)
    if any(address in network for network in NOT_PUBLIC):
        return False
    special = address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not (special or address.is_loopback or address.is_link_local)


def checked_endpoints(host: str, port: int, allowed: tuple[Network, ...], timeout_s: float) -> list[Endpoint]:
    """All addresses of this host, looked up once. One refused address refuses the host."""
    endpoints = _look_up(host, port, timeout_s)
    for _family, place in endpoints:
        address = ipaddress.ip_address(place[0])
        if not is_public(address) and not any(address in network for network in allowed):
            # The text does not give the address: the author of the URL should not learn the network's inner addresses.
            raise AddressError(f"{host} is at a private or reserved address; see the setting allow_private")
    return endpoints


def _look_up(host: str, port: int, timeout_s: float) -> list[Endpoint]:
    """Look up in a thread, since `getaddrinfo` has no time limit. An abandoned thread ends at the resolver's limit."""
    answer: Future[list[Endpoint]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result([(family, place) for family, _type, _protocol, _name, place in found])
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return answer.result(timeout_s)


def _embedded_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
