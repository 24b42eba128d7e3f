r"""The forms in which errors quote a value of a workload: programs print texts and bytes with escapes. Pure."""

from __future__ import annotations

import json
from urllib.parse import unquote_plus

from gearman_client.text import ENCODING, ERRORS


def value_forms(written: str) -> set[str]:
    """A value as it stands in a workload, without the escapes of JSON or of a query, and each of these in the forms in
    which Python and JSON print it."""
    plain = {written, _decoded(written), unquote_plus(written)}
    return plain.union(*map(_printed, plain))


def _printed(text: str) -> set[str]:
    if text.isascii() and text.isprintable() and not any(mark in text for mark in "\\'\""):
        return set()  # they are all the same
    as_text = repr(f'"{text}')[2:-1]  # after this quote single ones have a backslash
    as_bytes = repr(f'"{text}'.encode(ENCODING, "surrogatepass"))[3:-1]
    raw_bytes = repr(f'"{text}'.encode(ENCODING, ERRORS))[3:-1] if _is_raw(text) else as_bytes
    bare = {form.replace("\\'", "'") for form in (as_text, as_bytes, raw_bytes)}
    return {as_text, as_bytes, raw_bytes, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]} | bare


def _is_raw(text: str) -> bool:
    """Whether the only halves of characters stand for bytes that are no text."""
    return all(not "\ud800" <= each <= "\udfff" or "\udc80" <= each <= "\udcff" for each in text)


def _decoded(written: str) -> str:
    r"""A text of JSON without its escapes."""
    if "\\" not in written:
        return written
    try:
        return str(json.loads(f'"{written}"', strict=False))
    except ValueError:
        return written
