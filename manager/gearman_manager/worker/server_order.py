"""A job server as a worker's order names it: by its address alone, or with the files of its TLS. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gearman_client import Address, Tls, parse_address


def to_order(server: Address) -> dict[str, Any]:
    """What can be sent as JSON."""
    return {"address": str(server), "tls": asdict(server.tls) if server.tls is not None else None}


def from_order(message: dict[str, Any]) -> Address:
    """What `to_order` made."""
    address, tls = parse_address(message["address"]), message["tls"]
    return Address(address.host, address.port, Tls(**tls) if tls is not None else None)
