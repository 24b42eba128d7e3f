r"""Bytes from outside, as text in an answer's column. Pure.

Printable characters stay as they are; everything else, and the backslash itself, becomes `\xNN`. So no TAB or line feed
forges a column or a line, nothing moves a terminal's cursor, and nothing is lost.
"""

from __future__ import annotations


def printable(data: bytes, limit: int | None = None) -> bytes:
    """The bytes, escaped; with `limit` only the first ones."""
    text = data[:limit].decode("utf-8", "surrogateescape")
    if not (text.isprintable() and "\\" not in text):
        text = "".join(map(_escaped, text))
    return text.encode("utf-8", "surrogateescape")


def _escaped(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
