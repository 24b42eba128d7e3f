"""Reads numbers, texts, truth values, dates and the like: JSON values that hold no others."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from functools import cache
from math import inf, isfinite
from types import NoneType
from typing import Any, Final

from gearman_client.typed_json.mismatch import Mismatch, refuse

Decode = Callable[[Any], Any]

_MOST_SHOWN: Final = 60
_LONGEST_FRACTION: Final = 1000
_HUGE_EXPONENT: Final = re.compile(r"[eE][+-]?\d{4}")


def as_it_is(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise refuse("text", value)
    return value


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)  # other languages write 3.0
    raise refuse("a whole number", value) if type(value) is not float else Mismatch("expected a whole number")


def number(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise refuse("a number", value)
    try:
        read = float(value)
    except OverflowError:
        read = inf
    if not isfinite(read):  # Python reads 1e999 as infinity
        raise Mismatch("expected a number that a float can hold")
    return read


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise refuse("true or false", value)
    return value


def nothing(value: Any) -> None:
    if value is not None:
        raise refuse("null", value)


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, Mismatch):
            raise refuse("bytes as text in base64", value) from None
        raise Mismatch("expected bytes as text in base64") from None


SIMPLE: Final[dict[type, Decode]] = {
    str: _text,
    int: _whole,
    float: number,
    bool: _truth,
    NoneType: nothing,
    bytes: _bytes,
    bytearray: lambda value: bytearray(_bytes(value)),
}

#: Types that have subclasses which are made in the same way.
OPEN: set[type] = set()


@cache
def text_types() -> dict[type, Callable[[type], Decode]]:
    """Types that travel as text or as a number, and how to read them. The imports wait until they are needed."""
    import datetime
    import decimal
    import fractions
    import ipaddress
    import pathlib
    import uuid

    OPEN.update({pathlib.PurePath})
    texts = "text such as "
    return {
        datetime.datetime: lambda _: _parsed(datetime.datetime.fromisoformat, texts + "2026-01-31T12:00:00+00:00"),
        datetime.date: lambda _: _parsed(datetime.date.fromisoformat, texts + "2026-01-31"),
        datetime.time: lambda _: _parsed(datetime.time.fromisoformat, texts + "12:00:00"),
        datetime.timedelta: lambda _: _seconds,
        decimal.Decimal: lambda _: _parsed(decimal.Decimal, "a number, or text such as 10.50", numbers=True),
        fractions.Fraction: lambda _: _parsed(_fraction, "a number, or text such as 1/3", numbers=True),
        uuid.UUID: lambda _: _parsed(uuid.UUID, "text, a UUID"),
        pathlib.PurePath: lambda kind: _parsed(kind, "text, a path"),
        **{
            kind: (lambda kind: _parsed(kind, f"text, an {kind.__name__}"))
            for kind in (
                *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
                *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
            )
        },
    }


def _parsed(parse: Callable[[str], Any], expected: str, *, numbers: bool = False) -> Decode:
    def decode(value: Any) -> Any:
        if numbers and type(value) in (int, float):
            value = str(value)  # the decimal number that was written, not its binary neighbour
        if type(value) is not str:
            raise refuse(expected, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            raise Mismatch(f"expected {expected}") from None

    return decode


def _fraction(text: str) -> Any:
    from fractions import Fraction

    if len(text) > _LONGEST_FRACTION or _HUGE_EXPONENT.search(text):
        raise ValueError("too long")  # a few bytes would become gigabytes
    return Fraction(text)


def _seconds(value: Any) -> Any:
    from datetime import timedelta

    if type(value) not in (int, float):
        raise refuse("a number of seconds", value)
    try:
        return timedelta(seconds=value)
    except (ValueError, OverflowError):
        raise Mismatch("expected a number of seconds that a timedelta can hold") from None


def enum_decoder(kind: Any) -> Decode:
    from enum import Flag

    from gearman_client.typed_json.plain import to_plain

    is_flag = issubclass(kind, Flag)
    members = [(to_plain(member.value, exact=True), member) for member in kind]
    expected = _listed(value for value, _ in members)

    def decode(value: Any) -> Any:
        for plain, member in members:
            if plain == value and type(plain) is type(value):
                return member
        if is_flag and type(value) is int:
            try:
                return kind(value)  # several at once
            except ValueError:
                raise Mismatch(f"expected {expected}, or a sum of these") from None
        raise Mismatch(f"expected {expected}")

    return decode


def literal(options: tuple[Any, ...]) -> Decode:
    from gearman_client.typed_json.plain import to_plain

    plain = [(to_plain(option, exact=True), option) for option in options]
    expected = _listed(value for value, _ in plain)

    def decode(value: Any) -> Any:
        for written, option in plain:
            if written == value and type(written) is type(value):
                return option
        raise Mismatch(f"expected {expected}")

    return decode


def _listed(values: Iterable[object]) -> str:
    text = " or ".join(map(repr, values))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
