"""What the supervisor tells the sender. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class SenderOrder:
    """The section `otel`, and where the manager is."""

    #: The manager's name, and its version.
    manager: str
    version: str
    control_socket: str
    #: The collector's address without the paths of metrics and traces; empty: that of the environment.
    endpoint: str
    headers_file: str
    interval_s: float
    has_metrics: bool

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> SenderOrder:
        """The order of `encode`."""
        return cls(**json.loads(data))
