"""The values that a worker function may return, and their encoding."""

from __future__ import annotations

import enum
import json
from array import array
from collections import OrderedDict, UserString, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID

import numpy
import pydantic
import pytest

from gearman_client.typed_json.free_result import MAX_RESULT_BYTES, encode_result


class Colour(enum.Enum):
    RED = "red"
    RGB = (1, 2, 3)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    HELLO = "hello"


@dataclass
class Line:
    name: str
    price: Decimal
    hidden: list[Any] = field(default_factory=list, repr=False)


@dataclass(slots=True, frozen=True)
class Order:
    at: datetime
    lines: tuple[Line, ...]


class Model(pydantic.BaseModel):
    at: date
    path: Path


class AttributesOfAttrs:
    """What attrs makes of a class, as far as a reader of its fields can see."""

    __attrs_attrs__ = (namedtuple("Attribute", "name")("x"),)
    x = Decimal("0.1")


@pytest.mark.parametrize(
    ("returned", "sent"),
    [
        (b"\0bytes", b"\0bytes"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ("grüße", "grüße".encode()),
        ("name of a file: \udcff", b"name of a file: \xff"),
        ("half of a character: \ud83d", b"half of a character: ?"),
        (Word.HELLO, b"hello"),
        (None, b""),
        ("", b""),
        (7, b"7"),
        (True, b"true"),
        ({"ä": [1, None]}, '{"ä": [1, null]}'.encode()),
    ],
)
def test_a_return_value_becomes_the_result(returned: Any, sent: bytes) -> None:
    assert encode_result(returned) == sent


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (Decimal("10.10"), "10.10"),
        (Fraction(1, 3), "1/3"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("::1"), "::1"),
        (Path("/tmp/a"), "/tmp/a"),
        (Colour.RED, "red"),
        (Colour.RGB, [1, 2, 3]),
        (Level.LOW, 1),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"a"}), ["a"]),
        ({1, None}, [1, None]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (array("d", [0.5]), [0.5]),
        (b"text", "text"),
        (bytearray(b"\xff\x00"), "/wA="),
        (float("nan"), None),
        (float("-inf"), None),
        ("\udcff", "\udcff"),
        (numpy.int64(3), 3),
        (numpy.float64("nan"), None),
        (numpy.bool_(True), True),
        (numpy.array([[1.5, 2], [3, 4]]), [[1.5, 2.0], [3.0, 4.0]]),
        (numpy.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (MappingProxyType({"a": {1}}), {"a": [1]}),
        ({UUID(int=1): 1, date(2026, 1, 2): 2, b"k": 3, Colour.RED: 4, 5: 5, None: 6, Level.LOW: 7, "z": {8}},
         {"00000000-0000-0000-0000-000000000001": 1, "2026-01-02": 2, "k": 3, "red": 4, "5": 5, "null": 6, "1": 7,
          "z": [8]}),
        (Line("a", Decimal(1), [Path("b")]), {"name": "a", "price": "1", "hidden": ["b"]}),
        (
            Order(datetime(2026, 1, 2), (Line("a", Decimal("0.1")),)),
            {"at": "2026-01-02T00:00:00", "lines": [{"name": "a", "price": "0.1", "hidden": []}]},
        ),
        (Model(at=date(2026, 1, 2), path=Path("a")), {"at": "2026-01-02", "path": "a"}),
        (AttributesOfAttrs(), {"x": "0.1"}),
        (SimpleNamespace(a={1}), {"a": [1]}),
        (UserString("text"), "text"),
    ],
)  # fmt: skip
def test_what_a_program_holds_has_a_form_in_json(value: Any, read: Any) -> None:
    assert json.loads(encode_result([value, {"in": value}])) == [read, {"in": read}]
    if not isinstance(value, str | bytes | bytearray):
        assert json.loads(encode_result(value)) == read


def test_one_object_may_occur_twice() -> None:
    shared = [Decimal(1)]
    assert encode_result({"a": shared, "b": shared}) == b'{"a": ["1"], "b": ["1"]}'


async def later() -> None: ...


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (object(), "returned object, .* it is of type object"),
        ({"a": [1, {"b": object()}]}, r"returned dict, .*\['a'\]\[1\]\['b'\] is of type object"),
        ({(1, 2): 3}, r"the key \(1, 2\), and JSON has only texts as keys"),
        ({"a": {frozenset({1}): 3}}, r"\['a'\] has the key frozenset"),
        (float, "of type type"),
        (Line, "of type type"),
        (count(), "of type count"),
        ((x for x in "ab"), "of type generator"),
        ({"a": 1j}, r"\['a'\] is of type complex"),
        (later(), "it is a coroutine, which nothing has awaited: a decorator around an async function has to be async"),
    ],
)
def test_a_value_without_a_form_in_json_is_refused_by_place_and_type(returned: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        encode_result(returned)


def test_endless_structures_are_refused() -> None:
    endless: list[Any] = [{}]
    endless[0]["a"] = endless
    with pytest.raises(TypeError, match=r"list.*\[0\]\['a'\] holds itself"):
        encode_result(endless)


def test_a_result_that_no_packet_can_hold_is_refused_with_the_limit() -> None:
    assert len(encode_result(bytes(MAX_RESULT_BYTES))) == MAX_RESULT_BYTES
    with pytest.raises(ValueError, match=f"{MAX_RESULT_BYTES + 1} bytes, the limit is {MAX_RESULT_BYTES}"):
        encode_result(bytes(MAX_RESULT_BYTES + 1))
