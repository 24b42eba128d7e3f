"""The TLS settings of a connection to a job server: encryption and trust, as names of files.

Pure: it reads no file; connection/tls_stream.py does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS 1.2 or newer. The server's certificate must be valid and match the host name or IP address of the connection.

    ca_file: PEM file with the certificates that may sign the server's; None: those that the system trusts.
    certificate_file, key_file: our own certificate, for servers that ask for one, and its key (without a password;
        None: the key is in the certificate's file).
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
