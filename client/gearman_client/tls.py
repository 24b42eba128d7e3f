"""How a connection to a job server is encrypted and who is trusted: a value, with files by their names. Pure.

Reads nothing; tls_stream does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS 1.2 or newer. The server's certificate must be valid, and be for the host name or IP address we connect to.

    ca_file: PEM file of the certificates that may sign the server's; None: those the system trusts.
    certificate_file, key_file: our own certificate, for servers that ask for one, and its key (without a password;
        None: it stands in the certificate's file).
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
