"""A Python value, made of the types that JSON knows. Pure, and the modules of other types are imported when needed.

There are two forms. The exact one is for arguments and results of tasks: an annotation can read each value back. The
free one is for the results of functions that take the job itself, whose readers are people and other languages: bytes
become text if they are UTF-8, and a number without a form in JSON becomes null instead of an error.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence, Set
from functools import cache
from math import isfinite
from typing import Any

Conversions = Sequence[tuple[Callable[[Any], bool], Callable[[Any], object]]]


def to_json(value: object, *, exact: bool, what: str = "it") -> bytes:
    """The value as JSON, in UTF-8.

    exact: whether to use the exact form.
    what: the value's name in an error.

    Raises:
        TypeError: JSON has no form for a value; the text names its place.
        ValueError: a value holds itself, or, in the exact form, a number is not finite.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(to_plain(value, exact=exact, what=what), allow_nan=False).encode()


def to_plain(value: Any, *, exact: bool, what: str = "it") -> Any:
    """The value, made of None, bool, int, float, str, list and dict. Raises as `to_json`."""
    return _Plain(exact, what).of(value, "", ())


class _Plain:
    def __init__(self, exact: bool, what: str) -> None:
        self._exact = exact
        self._what = what
        self._conversions = _exact_conversions() if exact else _free_conversions()

    def of(self, value: Any, place: str, above: tuple[int, ...]) -> Any:
        """`above`: the ids of the values that hold this one."""
        if value is None or type(value) in (str, bool, int):
            return value
        if type(value) is float:
            return self._number(value, place)
        if id(value) in above:
            raise ValueError(f"{place or self._what} holds itself")
        above = (*above, id(value))
        if isinstance(value, Mapping):
            return self._mapping(value, place, above)
        if isinstance(value, (list, tuple)):
            return [self.of(item, f"{place}[{index}]", above) for index, item in enumerate(value)]
        for fits, convert in self._conversions:
            if fits(value):
                return self.of(convert(value), place, above)
        if isinstance(value, Coroutine):
            value.close()  # or Python warns of it, at a place that says nothing
            raise TypeError(
                f"{place or self._what} is a coroutine, which nothing has awaited: a decorator around an async "
                "function has to be async, too"
            )
        raise TypeError(
            f"{place or self._what} is of type {type(value).__name__}, for which JSON has no form: "
            "use text, numbers, lists or dicts"
        )

    def _number(self, value: float, place: str) -> float | None:
        if isfinite(value):
            return value
        if self._exact:
            raise ValueError(f"{place or self._what} is {value}, for which JSON has no form: use None or text")
        return None  # as in JavaScript

    def _mapping(self, value: Mapping[Any, Any], place: str, above: tuple[int, ...]) -> dict[Any, Any]:
        plain = {}
        for key, item in value.items():
            name = self.of(key, f"a key of {place or self._what}", above)
            if isinstance(name, (list, dict)):
                raise TypeError(f"{place or self._what} has the key {key!r}, and JSON has only texts as keys")
            plain[name] = self.of(item, f"{place}[{key!r}]", above)
        return plain


@cache
def _free_conversions() -> Conversions:
    return _conversions((_is_a(bytes, bytearray, memoryview), _text_of_bytes), lambda value: value.model_dump())


@cache
def _exact_conversions() -> Conversions:
    def dump(model: Any) -> object:
        return model.model_dump(mode="json", by_alias=True)  # what the model's own validation reads back

    return _conversions((_is_a(bytes, bytearray, memoryview), _base64_of), dump)


def _conversions(
    of_bytes: tuple[Callable[[Any], bool], Callable[[Any], object]], of_pydantic: Callable[[Any], object]
) -> Conversions:
    """Tests and conversions; the first that fits counts, and its outcome is looked at again.

    The imports are here, so that a process without such values does without them. What belongs to libraries is known
    by its methods, because the libraries are the user's.
    """
    import dataclasses
    import datetime
    import decimal
    import enum
    import fractions
    import ipaddress
    import types
    import uuid
    from collections import UserString

    addresses = (
        *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
        *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
    )

    def has(method: str) -> Callable[[Any], bool]:
        return lambda value: not isinstance(value, type) and hasattr(value, method)

    def attributes(value: Any) -> dict[str, object]:
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}

    def fields(value: Any) -> dict[str, object]:
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}

    return (
        (_is_a(enum.Enum), lambda value: value.value),
        (_is_a(datetime.date, datetime.time), lambda value: value.isoformat()),
        (_is_a(datetime.timedelta), lambda value: value.total_seconds()),
        (_is_a(decimal.Decimal, fractions.Fraction, uuid.UUID, *addresses), str),  # exact; a float would round
        of_bytes,
        (has("tolist"), lambda value: value.tolist()),  # numpy's numbers and arrays, pandas' series; before float
        (_is_a(str, UserString), str),
        (_is_a(int), int),
        (_is_a(float), float),
        (has("__fspath__"), lambda value: value.__fspath__()),
        (_is_a(Set), _list_of_set),
        (has("__dataclass_fields__"), fields),
        (has("__attrs_attrs__"), attributes),
        (_is_a(types.SimpleNamespace), vars),
        (has("model_dump"), of_pydantic),
        (_is_a(Collection), list),  # a deque, a range; an iterator is none, and may never end
    )


def _is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


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
        return _base64_of(content)


def _base64_of(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()
