"""Values as messages quote them: short, and in YAML's words rather than Python's. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

_MAX_CHARACTERS: Final = 40


def shown(value: object) -> str:
    """A value from a file as a message quotes it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    text = text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."
    return repr(text) if isinstance(value, str) else text


def not_among(value: object, names: Sequence[str], what: str) -> str:
    """The message for a value that is none of `names`, each of which is called `what`; it suggests the nearest."""
    nearest = difflib.get_close_matches(str(value), names, n=1, cutoff=0.6)
    suggestion = f", did you mean {nearest[0]}?" if nearest else "."
    return f"{shown(value)} is no {what}{suggestion} Known are {', '.join(names)}"
