"""Certificates for the tests of TLS, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

DEADLINE_S: Final = 20.0


class Certificates:
    """A CA, a server's certificate and a client's, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = self._make("ca", "/CN=Test CA", "-x509", "-addext", "basicConstraints=critical,CA:TRUE")
        self.server = self.signed("server", "/CN=localhost")
        self.client = self.signed("client", "/O=Example/CN=worker 1")
        self.stranger = self._make("stranger", "/CN=stranger", "-x509")

    def key(self, certificate: Path) -> Path:
        return certificate.with_suffix(".key")

    def signed(self, name: str, subject: str) -> Path:
        ca = ["-CA", str(self.ca), "-CAkey", str(self.key(self.ca))]
        return self._make(name, subject, "-x509", *ca, "-addext", "subjectAltName=DNS:localhost")

    def _make(self, name: str, subject: str, *options: str) -> Path:
        path = self._folder / f"{name}.pem"
        subprocess.run(
            [
                *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", subject, "-keyout", str(self.key(path)), "-out", str(path), *options),
            ],
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )
        return path
