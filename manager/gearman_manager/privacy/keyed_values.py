r"""Finds the values of keys in a text: JSON, whole or cut anywhere, JSON inside of JSON, what programs print of their
values, forms and queries, headers, and `key=value` in the midst of an error.

It looks at each `:` and `=`, for the key before it and the value behind it, so that it needs no text to be well formed.
Where the end of a value is in doubt the value is the longer one. It takes a time that is proportional to the text's
length. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

#: A key is looked for in so many characters.
_WINDOW: Final = 140
#: Places that are looked at; what follows them counts as one value. It takes some 10 ms, the time of one page.
MOST_PLACES: Final = 2000
#: What may stand before a separator, at the end of a key.
_END_OF_KEY: Final = frozenset(" \t\r\n\"'`]%-$@_")
_SEPARATOR: Final = re.compile(r"=>|[:=]")
#: Backwards from the separator.
_BARE_KEY: Final = re.compile(r"[\w.\-%+\[\]$@]{1,100}")
_PARTS_OF_KEY: Final = re.compile(r"[.\[\]]+")
_UNICODE_ESCAPE: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
#: What may stand between a separator and its value; behind a key without quotes on the same line.
_GAP: Final = re.compile(r"[=:>]{0,2}\s*")
_GAP_IN_LINE: Final = re.compile(r"[=:>]{0,2}[ \t]*")
_OPENING_QUOTE: Final = re.compile(r"[bBrRuUfF]{0,2}(\\*[\"'`])")
_BRACKET: Final = re.compile(r"[\[{(]")
#: A value without quotes: to the end of the line, or to the next pair.
_END_OF_BARE: Final = re.compile(r"[\r\n&]|[,;\s]\s{0,4}(?=-{0,2}[\"'\w][\w.\-%\[\]]{0,60}[\"']?\s{0,4}[=:](?!//))")
#: Lines that go on, as in a folded header or in YAML.
_FURTHER_LINES: Final = re.compile(r"(?:\r?\n[ \t]+[^\r\n]*)*")
#: A call of a task, whose arguments have no names.
_CALL: Final = re.compile(r"\s*\{\s*\"args\"\s*:\s*\[")
_ARGUMENTS: Final = re.compile(r"\"args\"\s*:\s*(?=\[)")
_SPACE: Final = re.compile(r"\s*")
_NEXT: Final = re.compile(r"\s*,")
_TOKEN: Final = re.compile(r"\\*[\"'`]|[\[{(\]}),\n]")


@dataclass(frozen=True, slots=True)
class KeyedValue:
    """The place of a value. `quote` is to be written around what replaces it."""

    start: int
    end: int
    quote: str = ""


def keyed_values(text: str, hides: Callable[[str], bool]) -> Iterator[KeyedValue]:
    """The values of the keys for which `hides` says so, from the left to the right; none lies inside another."""
    position = places = 0
    while (found := _SEPARATOR.search(text, position)) is not None:
        position = found.end()
        places += 1
        if places > MOST_PLACES:
            yield KeyedValue(position, len(text))
            return
        key = _key_before(text, found.start())
        if key is not None and any(map(hides, key.names)):
            value = _value_at(text, position, key)
            yield value
            position = max(position, value.end)


def placed_values(text: str, places: frozenset[int]) -> Iterator[KeyedValue]:
    """The arguments of a call, `{"args": [1, 2], "kwargs": {}}`, that have these places, from 0. If the call is written
    in another order, all of its arguments are one value."""
    call = _CALL.match(text)
    if call is None:
        others = _ARGUMENTS.search(text)
        if others is not None:
            yield KeyedValue(others.end(), _end_of_nested(text, others.end()), '"')
        return
    position = call.end()
    for place in range(MOST_PLACES):
        start = _behind(_SPACE, text, position)
        if text.startswith("]", start) or start >= len(text):
            return
        end = _end_of_nested(text, start)
        if place in places:
            yield KeyedValue(start, end, '"')
        position = _behind(_NEXT, text, end)
        if position == end:
            return


def _behind(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return position if found is None else found.end()


@dataclass(frozen=True, slots=True)
class _Key:
    names: tuple[str, ...]
    quote: str  #: with the backslashes before it; empty: it has none


def _key_before(text: str, at: int) -> _Key | None:
    if not at or not (text[at - 1].isalnum() or text[at - 1] in _END_OF_KEY):
        return None
    while at and text[at - 1].isspace():
        at -= 1
    before = text[max(0, at - _WINDOW) : at]
    if not before:
        return None
    if before[-1] in "\"'`":
        whole = before[:-1].rstrip("\\")
        opening = whole.rfind(before[-1])
        if opening < 0:
            return None
        return _Key(_names(whole[opening + 1 :]), before[len(whole) :])
    found = _BARE_KEY.match(before[::-1])
    return None if found is None else _Key(_names(found[0][::-1].lstrip("-$@+")), "")


def _names(written: str) -> tuple[str, ...]:
    """The key, and the parts of `user.password` and `user[password]`."""
    key = written
    if "\\" in key:
        key = _UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), key)
    if "%" in key:
        key = unquote_plus(key)
    key = key.strip()
    parts = [part for part in _PARTS_OF_KEY.split(key) if part]
    return (key,) if parts == [key] else (key, *parts)


def _value_at(text: str, position: int, key: _Key) -> KeyedValue:
    gap = (_GAP if key.quote else _GAP_IN_LINE).match(text, position)
    start = position if gap is None else gap.end()
    opening = _OPENING_QUOTE.match(text, start)
    if opening is not None:
        return KeyedValue(opening.end(), _end_of_string(text, opening.end(), opening[1])[0])
    if key.quote or _BRACKET.match(text, start):
        return KeyedValue(start, _end_of_nested(text, start), key.quote)
    end = _END_OF_BARE.search(text, start)
    if end is None or end[0] not in "\r\n":
        return KeyedValue(start, len(text) if end is None else end.start())
    further = _FURTHER_LINES.match(text, end.start())
    return KeyedValue(start, end.start() if further is None else further.end())


def _end_of_string(text: str, start: int, quote: str) -> tuple[int, int]:
    """Where the content of a string ends, and where its closing quote does; a string that is cut ends with the text.

    Inside of a string in a string the quotes have backslashes, and each further level doubles them and adds one.
    """
    level = len(quote) - 1
    position = start
    while (at := text.find(quote[-1], position)) >= 0:
        backslashes = 0
        while at - backslashes > start and text[at - backslashes - 1] == "\\":
            backslashes += 1
        if backslashes < level:
            return at - backslashes, at - backslashes
        position = at + 1
        if (backslashes - level) % (2 * (level + 1)) == 0:
            if not text.startswith(quote, position):
                return at - level, position
            position += len(quote)  # '' in SQL, or three of them
    return len(text), len(text)


def _end_of_nested(text: str, start: int) -> int:
    """Where a number, a word, a list or a mapping ends."""
    depth, position = 0, start
    while (token := _TOKEN.search(text, position)) is not None:
        position = token.end()
        mark = token[0]
        if mark[-1] in "\"'`":
            position = _end_of_string(text, position, mark)[1]
        elif mark in "[{(":
            depth += 1
        elif mark in "]})":
            depth -= 1
            if depth < 0:
                return token.start()
            if not depth and text[start] in "[{(":
                return position
        elif not depth:
            return token.start()
    return len(text)
