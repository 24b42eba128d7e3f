"""A message as a value. Light: the processes that deliver it import little more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """What a target gets: mails as subject and text, the others as JSON of `data`."""

    subject: str
    text: str
    data: dict[str, Any]
