r"""The form in which job servers tell of bytes: what does not print, and the backslash, is `\xNN`. Pure."""

from __future__ import annotations

import re
from typing import Final

from gearman_client.text import ENCODING, ERRORS, unescaped

_NO_WORD: Final = re.compile(r"[\W]")


def from_printed(text: str) -> str:
    r"""The text itself. Bytes that are no UTF-8 are halves of characters, as Python has them."""
    if "\\" not in text:
        return text
    return unescaped(text.encode(ENCODING, ERRORS)).decode(ENCODING, ERRORS)


def as_printed(text: str) -> str:
    """The printed form of a text."""
    if text.isprintable() and "\\" not in text:
        return text
    return _NO_WORD.sub(_printed, text)


def _printed(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and character != "\\":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode(ENCODING, ERRORS))
