"""The supervisor's connections to job servers: gevent's sockets, with TLS if the configuration asks for it."""

from __future__ import annotations

import gevent.socket

from gearman_client import Address
from gearman_client.connection.connecting import keep_alive
from gearman_client.connection.tls_stream import TlsStream, secured


def connect_to(server: Address, timeout_s: float) -> gevent.socket.socket | TlsStream:
    """A connection that is ready for use.

    Raises:
        OSError, GearmanError: no server answers within `timeout_s` (for each step), or it is not trusted.
    """
    connected = gevent.socket.create_connection((server.host, server.port), timeout_s)
    keep_alive(connected)
    return secured(connected, server)
