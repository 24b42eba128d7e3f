r"""Bytes from outside, as text in an answer's column. Pure.

Printable characters stay as they are; everything else, and the backslash itself, becomes `\xNN`. So no TAB or line feed
forges a column or a line, nothing moves a terminal's cursor, and nothing is lost.
"""

from __future__ import annotations

from typing import Final

#: The characters whose form is kept: the bytes of no text are among them, as halves of characters.
_FEW: Final = 0x3000
_LONE_BYTES: Final = range(0xDC80, 0xDD00)


class _Forms(dict[int, str]):
    """The forms of characters, by their code. A workload can have 64 kB of them: a look-up takes a tenth of a call."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        form = character if character.isprintable() and character != "\\" else _escaped(character)
        if code < _FEW or code in _LONE_BYTES:
            self[code] = form
        return form


_FORMS: Final = _Forms()


def printable(data: bytes, limit: int | None = None) -> bytes:
    """The bytes, escaped; with `limit` only the first ones."""
    text = data[:limit].decode("utf-8", "surrogateescape")
    if not (text.isprintable() and "\\" not in text):
        text = text.translate(_FORMS)
    return text.encode("utf-8", "surrogateescape")


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
