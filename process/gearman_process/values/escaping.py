r"""Texts that others wrote, for a log or a terminal: what moves the cursor or reorders a line stands as `\x1b`. Pure.

Letters, spaces and signs of all scripts stay as they are. A backslash stays single, so that paths and tracebacks can be
read; an escape may then be the text itself, but no text can act.
"""

from __future__ import annotations

import re
from typing import Final

#: Control characters but TAB and line feed, marks of direction, characters without width, separators of lines, tags,
#: and halves of characters.
_ACTING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_text(text: str) -> str:
    """A text of one or more lines, to be shown on a terminal."""
    return text if text.isprintable() else _ACTING.sub(_escaped, text)


def escape_line(text: str) -> str:
    r"""A text to be shown on one line: a line feed is `\n`."""
    return text if text.isprintable() else _ACTING.sub(_escaped, text).replace("\n", "\\n")


def escape_json(document: str) -> str:
    """A JSON document in one line, which says the same afterwards."""
    return document if document.isprintable() else _ACTING.sub(_as_json, document)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _as_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
