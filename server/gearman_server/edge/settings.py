"""The settings of the edge: addresses, TLS files, access, and the memory that one connection may take.

Only values: nothing here opens a socket or imports a module that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_server.jobs.access import AccessList

DEFAULT_MAX_BACKLOG_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """TCP's probes of idle peers. Connections always have them; None leaves a value to the system, which takes hours.

    A minute keeps a NAT or a balancer from forgetting the connection; after a minute and a half a dead peer is gone.
    """

    on_listening: bool = False
    idle_s: int | None = 60
    interval_s: int | None = 10
    count: int | None = 3


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The addresses to listen on."""

    #: `HOST`, `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
    addresses: Sequence[str] = ("127.0.0.1",)
    #: For addresses without a port.
    port: int = 4730
    #: The options that a message names as the remedy, for the port and for the address.
    port_option: str = "-p PORT"
    address_option: str = "-L"
    backlog: int = 32
    keepalive: KeepaliveSettings = KeepaliveSettings()
    #: Access to Unix sockets.
    socket_mode: int = 0o660


@dataclass(frozen=True, slots=True)
class PortSettings:
    """The addresses to listen on, by purpose; a purpose that is None is not served."""

    jobs: ListenSettings
    tls: ListenSettings | None = None
    http: ListenSettings | None = None
    metrics: ListenSettings | None = None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """PEM files, and whether clients must show a certificate signed by the CA."""

    certificate: str
    #: None: the key is in the certificate's file.
    key: str | None = None
    ca_file: str | None = None
    verify: bool = False


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """The bounds of a connection, and the peers that may connect."""

    max_packet_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_backlog_bytes: int = DEFAULT_MAX_BACKLOG_BYTES
    #: None: all peers.
    allowed: AccessList | None = None
    #: Names, beside the machine's own, under which the HTTP ports may be reached, and sites whose pages may use them.
    http_hosts: Sequence[str] = ()
