"""The value that a function of the job returns, as the bytes of its result; tasks send theirs in the exact form.

A refusal here comes after the work was done. So whatever has a sensible form in JSON gets it, and any other value fails
the job without another attempt, which would do the work again.
"""

from __future__ import annotations

from typing import Final

from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.typed_json.plain import to_json

#: A job server takes no longer packet: it would close the connection, and have the job run again and again.
MAX_RESULT_BYTES: Final = DEFAULT_MAX_BODY_BYTES - 1024


def encode_result(result: object) -> bytes:
    """A function's result as the bytes of WORK_COMPLETE.

    Bytes stay as they are, text becomes UTF-8, None becomes empty, all else becomes JSON.

    Raises:
        TypeError: JSON has no form for a value; the text names its place.
        ValueError: it is longer than a packet may be.
    """
    encoded = result if type(result) is bytes else b"" if result is None else _encoded(result)
    if len(encoded) > MAX_RESULT_BYTES:
        remedy = "put it where the client can fetch it, and return where that is"
        raise ValueError(f"the result has {len(encoded)} bytes, the limit is {MAX_RESULT_BYTES}: {remedy}")
    return encoded


def _encoded(result: object) -> bytes:
    if isinstance(result, bytes):
        return result
    if result is None:
        return b""
    if isinstance(result, str):
        return _utf8(result)
    if isinstance(result, (bytearray, memoryview)):
        return bytes(result)
    return _encoded_as_json(result)


def _utf8(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")  # as file names come from the system
    except UnicodeEncodeError:
        return text.encode(errors="replace")  # half of a character


def _encoded_as_json(result: object) -> bytes:
    try:
        return to_json(result, exact=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the function returned {type(result).__name__}, which is neither bytes, text, None nor JSON: {error}"
        ) from error
