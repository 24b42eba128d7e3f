"""Whether keys can be told apart in a workload, so that rules for keys can be applied to it. Pure."""

from __future__ import annotations

import re
from typing import Final

#: JSON, or what programs print of their values: the begin of a mapping, a list, a text, a number or a constant.
_JSON: Final = re.compile(r"\s*(?:[{\[\"]|(?:-?\d[\d.eE+\-]*|true|false|null)\s*\Z)")
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
    `key: value`; of nothing. False of anything else: plain text, XML, binary data."""
    if _CONTROL.search(text[:-3] + text[-3:].rstrip(_HALF)):
        return False
    if text.strip().endswith("=") and len(text.split()) == 1 and "&" not in text:
        return False  # base64, for instance
    if not text.strip() or _JSON.match(text) or _FORM.match(text.strip()):
        return True
    lines = text.splitlines()
    if _SERIALIZED.match(text) or lines[0][:1] in (" ", "\t"):
        return False
    return all(map(_LINE.match, lines))
