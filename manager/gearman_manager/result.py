"""The value that a function returns, as the bytes of its result. Light, because worker modules import its neighbours.

A refusal here comes after the work was done. So whatever has a sensible form in JSON gets it, and any other value fails
the job without another attempt, which would do the work again. The types of other modules are imported only when a
value needs them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from functools import cache
from math import isfinite
from typing import Any

from gearman_manager.job import MAX_RESULT_BYTES


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
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return _encoded_as_plain_values(result)


def _utf8(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")  # as file names come from the system
    except UnicodeEncodeError:
        return text.encode(errors="replace")  # half of a character


def _encoded_as_plain_values(result: object) -> bytes:
    try:
        return json.dumps(_plain(result, "", ()), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the function returned {type(result).__name__}, which is neither bytes, text, None nor JSON: {error}"
        ) from error


def _plain(value: Any, place: str, above: tuple[int, ...]) -> Any:
    """The value, made of the types that JSON knows. `above`: the ids of the values that hold this one."""
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        return value if isfinite(value) else None  # as in JavaScript: JSON has no other form for it
    if id(value) in above:
        raise ValueError(f"{place or 'it'} holds itself")
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return _plain_mapping(value, place, above)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{index}]", above) for index, item in enumerate(value)]
    for fits, convert in _conversions():
        if fits(value):
            return _plain(convert(value), place, above)
    raise TypeError(
        f"{place or 'it'} is of type {type(value).__name__}, for which JSON has no form: "
        "return text, numbers, lists or dicts"
    )


def _plain_mapping(value: Mapping[Any, Any], place: str, above: tuple[int, ...]) -> dict[Any, Any]:
    plain = {}
    for key, item in value.items():
        name = _plain(key, f"a key of {place or 'it'}", above)
        if isinstance(name, (list, dict)):
            raise TypeError(f"{place or 'it'} has the key {key!r}, and JSON has only texts as keys")
        plain[name] = _plain(item, f"{place}[{key!r}]", above)
    return plain


@cache
def _conversions() -> Sequence[tuple[Callable[[Any], bool], Callable[[Any], object]]]:
    """Tests and conversions; the first that fits counts, and its outcome is looked at again.

    The imports are here, so that a worker without such values does without them. What belongs to libraries is known by
    its methods, because the libraries are the user's.
    """
    import dataclasses
    import datetime
    import decimal
    import enum
    import fractions
    import ipaddress
    import os
    import types
    import uuid
    from collections import UserString

    addresses = (
        *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
        *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
    )

    def is_a(*kinds: type) -> Callable[[Any], bool]:
        return lambda value: isinstance(value, kinds)

    def has(method: str) -> Callable[[Any], bool]:
        return lambda value: not isinstance(value, type) and hasattr(value, method)

    def attributes(value: Any) -> dict[str, object]:
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}

    def fields(value: Any) -> dict[str, object]:
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}

    return (
        (is_a(enum.Enum), lambda value: value.value),
        (is_a(datetime.date, datetime.time), lambda value: value.isoformat()),
        (is_a(datetime.timedelta), lambda value: value.total_seconds()),
        (is_a(decimal.Decimal, fractions.Fraction, uuid.UUID, *addresses), str),  # exact; a float would round
        (is_a(bytes, bytearray, memoryview), _text_of_bytes),
        (has("tolist"), lambda value: value.tolist()),  # numpy's numbers and arrays, pandas' series; before float
        (is_a(str, UserString), str),
        (is_a(int), int),
        (is_a(float), float),
        (is_a(os.PathLike), os.fspath),
        (is_a(Set), _list_of_set),
        (has("__dataclass_fields__"), fields),
        (has("__attrs_attrs__"), attributes),
        (is_a(types.SimpleNamespace), vars),
        (has("model_dump"), lambda value: value.model_dump()),  # pydantic
        (is_a(Collection), list),  # a deque, a range; an iterator is none, and may never end
    )


def _list_of_set(value: Set[Any]) -> list[Any]:
    """In order if there is one, so that equal results are equal bytes."""
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def _text_of_bytes(value: bytes | bytearray | memoryview) -> str:
    """UTF-8 if it is; any other bytes in base64."""
    content = bytes(value)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()
