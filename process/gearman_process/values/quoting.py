"""Values as messages quote them: short, and in YAML's words rather than Python's. Pure."""

from __future__ import annotations

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
