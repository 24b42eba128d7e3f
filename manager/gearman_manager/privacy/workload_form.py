"""Whether keys can be told apart in a workload, so that rules for keys can be applied to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

#: JSON, or what programs print of their values: a number or a constant, and the begin of a mapping, a list or a text.
_SCALAR: Final = re.compile(r"\s*(?:-?\d[\d.eE+\-]*|true|false|null)\s*\Z")
_NESTED: Final = re.compile(r"\s*[{\[\"]")
#: A text, also one that is cut, a mark, or a word.
_TOKEN: Final = re.compile(
    r"\s*(\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|[\[\]{}(),:]|[^\s\[\]{}(),:\"']++)", re.DOTALL
)
_WORD: Final = re.compile(r"-?\d[\w.+\-]*+|true|false|null|True|False|None|[bBrRuU]{1,2}|-?Infinity|NaN")
#: Words of which a cut text may have the begin.
_CUT_WORD: Final = re.compile(r"-|[tfnTFN]\w{0,4}")
#: PHP's `serialize`, whose keys stand before no separator.
_SERIALIZED: Final = re.compile(r"\s*[abdisOC]:\d+[:;]|\s*[abdi]:[\d.\-]+;")
_FORM: Final = re.compile(r"[\w.\-%+\[\]]{1,200}=[^\s&=]*(?:&[\w.\-%+\[\]]{1,200}=[^\s&=]*)*\Z")
_LINE: Final = re.compile(r"[ \t]*(?:[\w.\-\[\]\"']{1,100}[ \t]{0,20}[=:](?!=)|[ \t]\S|[#;]|\Z)")
#: But those that lines have.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
#: A character that was cut.
_HALF: Final = "".join(map(chr, range(0xDC80, 0xDD00)))


def has_keys(text: str) -> bool:
    """True of JSON, also with no key in it or cut at its end; of a form or query; of lines of `key=value` or
    `key: value`; of nothing. False of anything else: plain text, XML, binary data, several values of JSON."""
    if _CONTROL.search(text[:-3] + text[-3:].rstrip(_HALF)):
        return False
    if text.strip().endswith("=") and len(text.split()) == 1 and "&" not in text:
        return False  # base64, for instance
    if _NESTED.match(text):
        return _is_one_value(text)
    if not text.strip() or _SCALAR.match(text) or _FORM.match(text.strip()):
        return True
    lines = text.splitlines()
    if _SERIALIZED.match(text) or lines[0][:1] in (" ", "\t"):
        return False
    return all(map(_LINE.match, lines))


def lists_a_key(text: str, hides: Callable[[str], bool]) -> bool:
    """Whether a text in a list is a key whose value is private: what stands beside it may be that value."""
    if not _NESTED.match(text):
        return False
    opened: list[str] = []
    for token, _ in _tokens(text):
        if token in ("{", "[", "("):
            opened.append(token)
        elif token in ("}", "]", ")"):
            del opened[-1:]
        elif token[0] in "\"'" and opened[-1:] != ["{"] and hides(token[1:].rstrip(token[0])):
            return True
    return False


def _is_one_value(text: str) -> bool:
    """Whether it is a mapping, a list or a text, whole or cut, and nothing behind it."""
    depth, last = 0, ""
    for token, end in _tokens(text):
        if not depth and last:
            return False
        if token in ("{", "[", "("):
            depth += 1
        elif token in ("}", "]", ")"):
            depth -= 1
        elif token[0] not in "\"',:" and last != ":" and not _is_word(token, is_last=end >= len(text)):
            return False
        last = token
    return True


def _is_word(token: str, *, is_last: bool) -> bool:
    return _WORD.fullmatch(token) is not None or (is_last and _CUT_WORD.fullmatch(token) is not None)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """The tokens, each with the place of its end."""
    return ((found[1], found.end()) for found in _TOKEN.finditer(text))
