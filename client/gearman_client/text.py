"""Text to packet arguments and back: UTF-8, and bytes that can't be decoded survive the round trip."""

from __future__ import annotations

import re
from typing import Final

from gearman_client.errors import ArgumentError

#: The longest handles and unique ids.
MAX_IDENTIFIER_BYTES: Final = 63
ENCODING: Final = "utf-8"
ERRORS: Final = "surrogateescape"
_ESCAPE: Final = re.compile(rb"\\x([0-9a-f]{2})")


def to_text(data: bytes) -> str:
    """A function name, unique id or handle as the peer spelled it."""
    return data.decode(ENCODING, ERRORS)


def unescaped(cell: bytes) -> bytes:
    r"""A cell of one of our own server's tables, in which bytes that do not print stand as `\xNN`."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), cell)


def to_argument(value: str, what: str) -> bytes:
    """A function name, unique id, handle or client id as bytes; `what` names it in an error message.

    Raises:
        ArgumentError: it is not text, holds a zero byte, which separates arguments, or can't be encoded.
    """
    if not isinstance(value, str):
        raise ArgumentError(f"the {what} {value!r} is {type(value).__name__}: expected text (str)")
    try:
        data = value.encode(ENCODING, ERRORS)
    except UnicodeEncodeError as error:
        raise ArgumentError(f"the {what} {value!r} can't be encoded as UTF-8") from error
    if b"\0" in data:
        raise ArgumentError(f"the {what} {value!r} holds a zero byte")
    return data


def to_identifier(value: str, what: str) -> bytes:
    """A handle or unique id that a server is asked for, as bytes.

    Raises:
        ArgumentError: as `to_argument`; it is longer than any that a server gives or takes, and gearmand does not even
            answer a query for such a one.
    """
    data = to_argument(value, what)
    if len(data) > MAX_IDENTIFIER_BYTES:
        raise ArgumentError(
            f"the {what} {value!r} has {len(data)} bytes: the protocol knows at most {MAX_IDENTIFIER_BYTES}"
        )
    return data


def to_function(name: str) -> bytes:
    """A function name as bytes; it must not be empty."""
    if name == "":
        raise ArgumentError("a function name must not be empty")
    return to_argument(name, "function name")


def to_body(value: bytes | bytearray | memoryview | str | None) -> bytes:
    """A workload or result as bytes: bytes unchanged, text as UTF-8, None as no bytes."""
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode(ENCODING, ERRORS)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise ArgumentError(f"expected bytes or str, not {type(value).__name__}: encode other values, for instance as JSON")
