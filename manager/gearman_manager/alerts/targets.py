"""Who is told: a mail server's recipients, a web address, or a program. Plain data; `ways.py` delivers to them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Smtp:
    """The mail server."""

    host: str
    port: int
    sender: str
    tls: str
    user: str | None
    password: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `mail`, `webhook` or `command` says where to; the other two are None."""

    title: str  #: in messages: without the secret that the address of a webhook may hold
    mail: tuple[str, ...] = ()
    webhook: str | None = None
    command: tuple[str, ...] = ()
    smtp: Smtp | None = None
    folder: str = "."

    def to_json(self) -> dict[str, Any]:
        """The target as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        """The target from such data."""
        smtp = None if data["smtp"] is None else Smtp(**data["smtp"])
        lists = {name: tuple(data[name]) for name in ("mail", "command")}
        return cls(**data | lists | {"smtp": smtp})
