"""One connection to a job server: TCP, or TLS over TCP.

In: bytes from the socket, packets to send. Out: packets, in order; every wait has a deadline.
Open `connection.py` first. `connecting.py` opens the socket; `tls_stream.py` makes TLS look like a socket.
"""

from __future__ import annotations

from gearman_client.connection.connection import BIG_RECEIVE_BYTES, MAX_INBOX_BYTES, RECEIVE_BYTES, Connection

__all__ = ["BIG_RECEIVE_BYTES", "Connection", "MAX_INBOX_BYTES", "RECEIVE_BYTES"]
