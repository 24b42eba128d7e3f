"""The operator's settings for a durable store. It imports no SQL: a server without such a store loads none."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gearman_process.regular_file import read_regular_file
from gearman_server.errors import UsageError

#: Instead of a URL, for no store at all: jobs live as long as the server.
MEMORY: Final = "memory"
DEFAULT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """A server's part in a cluster: servers that share a store."""

    #: The name of the cluster.
    name: str
    #: How long a server may be silent before the others take its jobs.
    lease_s: float
    #: What this server is called. One that starts with the name of another takes its place.
    member: str = ""
    #: Where clients, workers and the other servers reach it.
    address: str = ""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The store's URL, how long a submitter may have to wait for the store, and with whom it is shared."""

    url: str
    timeout_s: float = DEFAULT_TIMEOUT_S
    cluster: ClusterSettings | None = None


def named_by(cluster: ClusterSettings, addresses: Mapping[str, Sequence[str]]) -> ClusterSettings:
    """The settings with the server's name and address, if it has none, from those where it listens, by purpose."""
    address = cluster.address or reachable_address(addresses)
    return replace(cluster, address=address, member=cluster.member or member_name(address))


_LOOPBACK: Final = ("127.", "localhost:", "[::1]:")


def member_name(address: str) -> str:
    """What a server at this address is called, unless it is told. Every machine has a loopback address."""
    if not address:
        return f"{platform.node()}:{os.getpid()}"
    return f"{platform.node()} {address}" if address.startswith(_LOOPBACK) else address


def reachable_address(addresses: Mapping[str, Sequence[str]]) -> str:
    """The first TCP address for jobs, as other machines reach it; empty if there is none."""
    for address in [*addresses.get("jobs", ()), *addresses.get("tls", ())]:
        host, _, port = address.rpartition(":")
        if port.isdigit():
            return f"{platform.node()}:{port}" if host in ("0.0.0.0", "[::]", "") else address
    return ""


_MAX_URL_FILE_BYTES: Final = 1 << 16


def read_url_file(path: str) -> str:
    """Read the URL from a file, because it may hold a password that nobody else should see.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        text = read_regular_file(path, _MAX_URL_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--store-url-file {path} can't be read: {reason}") from error
    if not text:
        raise UsageError(f"--store-url-file {path} is empty: it holds the URL of the store")
    return text


def read_url_descriptor(descriptor: int) -> str:
    """Read the URL from a file that the manager has opened, and close it.

    Raises:
        UsageError: it can't be read.
    """
    try:
        with open(descriptor, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"--store-url-fd {descriptor} can't be read: {error.strerror}") from error
