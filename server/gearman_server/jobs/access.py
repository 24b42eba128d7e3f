"""Access: a connection's identity, and lists of the networks that may do something. Pure: the edge finds identities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Identity:
    """The peer, as far as the transport knows it. Every decision on access is handed this."""

    address: str
    port: int = 0
    unix_uid: int | None = None
    tls_subject: str | None = None

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class AccessList:
    """Networks whose members may do something. Peers on a Unix socket always may: its file's mode guards that."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> AccessList:
        """From addresses and networks such as `192.0.2.7`, `10.0.0.0/8` and `fd00::/8`.

        Raises:
            ValueError: one of them is neither.
        """
        return cls(tuple(ip_network(text.strip(), strict=False) for text in texts))

    def allows(self, identity: Identity) -> bool:
        """Whether this peer may do it."""
        if identity.unix_uid is not None:
            return True
        address = _parsed(identity.address)
        return address is not None and any(address in network for network in self.networks)


#: Only loopback: the system would have to be asked for the machine's other addresses.
THIS_MACHINE: Final = AccessList.of(_LOOPBACK)
EVERYBODY: Final = AccessList.of(("0.0.0.0/0", "::/0"))


def is_same_origin(one: Identity, other: Identity) -> bool:
    """Whether two connections come from the same place: the same address, or the same user of a Unix socket."""
    if one.unix_uid is not None or other.unix_uid is not None:
        return one.unix_uid == other.unix_uid
    return one.address == other.address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, without a link's name; that of an IPv4 peer of an IPv6 socket as IPv4. None if the text is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
