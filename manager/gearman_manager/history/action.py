"""An action: a change that an operator made, or wanted to make. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Characters of each text: a request can be longer.
MOST_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Action:
    """Who did what, to what, when, from where, and how it ended."""

    #: Seconds since 1970.
    at: float
    #: As `user alice`, `token full`, `uid 0 (root)`.
    who: str
    role: str
    address: str
    #: As `pools pause`: the words of the request's path.
    what: str
    #: The names in it, as `email`; empty: it concerns all.
    target: str
    #: What else was asked for.
    details: str
    #: The HTTP status of the answer; below 400 it was done, or begun.
    status: int
    #: The answer, or the reason for a refusal.
    outcome: str

    @property
    def is_done(self) -> bool:
        """Whether it was done, or begun."""
        return self.status < 400


def shortened(text: str) -> str:
    """A text that can be kept: JSON can bring halves of characters, which UTF-8 can't hold."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
