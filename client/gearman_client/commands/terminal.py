"""Texts on a terminal: how wide it is, how wide a text is, and names that others chose without what would act there."""

from __future__ import annotations

import os
import unicodedata

#: What a terminal has that does not tell its size, in columns and lines.
_USUAL = os.terminal_size((80, 24))


def is_terminal(number: int) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    return os.isatty(number) and os.environ.get("TERM", "") not in ("", "dumb")


def size_of(number: int) -> os.terminal_size:
    """The terminal's size in columns and lines."""
    try:
        size = os.get_terminal_size(number)
    except OSError:
        return _USUAL
    return size if size.columns > 0 and size.lines > 0 else _USUAL


def printable(text: str) -> str:
    r"""The text on one line; control characters and bytes that are no text stand as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    # A byte that is not UTF-8 has come as half of a character.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


def width_of(text: str) -> int:
    """The columns that a printable text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """As much of the text's beginning as fits."""
    if text.isascii():
        return text[:columns]
    used = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > columns:
            return text[:index]
    return text


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
