"""Values of every supported annotation travel as JSON and come back equal; a mismatch is refused by its place."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import attr
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client.typed_json.decoders import decoder_of
from gearman_client.typed_json.mismatch import Mismatch, UnsupportedAnnotation
from gearman_client.typed_json.plain import to_json

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    RGB = (1, 2, 3)


class Level(IntEnum):
    LOW = 1


class Access(Flag):
    READ = 1
    WRITE = 2


class Word(StrEnum):
    HELLO = "hello"


@dataclass
class Line:
    name: str
    price: Decimal
    count: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Order:
    at: datetime
    lines: tuple[Line, ...]
    colour: Colour | None = None


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Page(Generic[T]):
    items: list[T]
    following: T | None = None


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        assert self.number > 0, "the number is not above 0"


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("the number is odd")


class Options(TypedDict):
    width: int
    height: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: float = 0.0


@attr.define
class Box:
    size: int
    _label: str = "none"


class Model(pydantic.BaseModel):
    at: date
    path: Path
    parts: list[int] = []
    name_in_json: str = pydantic.Field("", alias="nameInJson")


MODEL = Model(at=date(2026, 1, 2), path=Path("a"), parts=[1], nameInJson="n")
LINE = Line("a", Decimal("0.10"), 2, ["b"])


def there_and_back(value: object, annotation: Any) -> Any:
    return decoder_of(annotation)(json.loads(to_json(value, exact=True)))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, {"a": [1, None, "x"]}),
        (object, [1]),
        (None, None),
        (str, "grüße \ud83d"),
        (int, 10**30),
        (float, 0.1),
        (bool, True),
        (bytes, b"\xff\x00text"),
        (bytearray, bytearray(b"ab")),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (date, date(2026, 1, 2)),
        (time, time(3, 4)),
        (timedelta, timedelta(days=-1, milliseconds=500)),
        (Decimal, Decimal("10.10")),
        (Fraction, Fraction(1, 3)),
        (UUID, UUID(int=1)),
        (Path, Path("/tmp/a")),
        (PurePosixPath, PurePosixPath("/tmp/a")),
        (IPv4Address, IPv4Address("127.0.0.1")),
        (IPv6Network, IPv6Network("::/16")),
        (Colour, Colour.RED),
        (Colour, Colour.RGB),
        (Level, Level.LOW),
        (Word, Word.HELLO),
        (Literal["a", 1, None, Colour.RED], Colour.RED),
        (Literal["a", 1], 1),
        (list, [1, "a"]),
        (list[Decimal], [Decimal(1)]),
        (Sequence[date], [date(2026, 1, 2)]),
        (Iterable[int], [1, 2]),
        (set[int], {3, 1}),
        (frozenset[str], frozenset({"a"})),
        (deque[int], deque([1, 2])),
        (tuple, (1, "a")),
        (tuple[int, ...], (1, 2)),
        (tuple[int, str], (1, "a")),
        (tuple[()], ()),
        (dict, {"a": 1}),
        (dict[str, Decimal], {"a": Decimal(1)}),
        (Mapping[int, list[date]], {5: [date(2026, 1, 2)]}),
        (dict[bool, float], {True: 0.5}),
        (dict[date, UUID], {date(2026, 1, 2): UUID(int=1)}),
        (dict[Colour, int], {Colour.RED: 1}),
        (dict[UserId, str], {UserId(3): "a"}),
        (dict[Level, str], {Level.LOW: "a"}),
        (dict[Literal[1, "b"], str], {1: "a", "b": "c"}),
        (dict[int | None, str], {None: "a", -3: "b"}),
        (dict[timedelta, float], {timedelta(seconds=1.5): 0.5}),
        (Access, Access.READ | Access.WRITE),
        (Optional[int], None),  # noqa: UP045
        (int | None, 3),
        (int | str | None, "3"),
        (float | int, 3),
        (datetime | str, datetime(2026, 1, 2)),
        (list[int] | Line, LINE),
        (Annotated[int, "metres"], 3),
        (UserId, UserId(3)),
        (T, [1]),
        (Line, LINE),
        (Order, Order(at=datetime(2026, 1, 2), lines=(LINE, LINE), colour=Colour.RGB)),
        (Node, Node(1, [Node(2, [Node(3)])])),
        (Page[Line], Page([LINE], LINE)),
        (Page[int], Page([1])),
        (Options, {"width": 1}),
        (Options, {"width": 1, "height": 2}),
        (Point, Point(1, 0.5)),
        (Box, Box(1, "b")),
        (Model, MODEL),
        (list[Model] | None, [MODEL]),
    ],
)
def test_a_value_comes_back_equal_and_of_its_type(annotation: Any, value: object) -> None:
    read = there_and_back(value, annotation)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("annotation", "sent", "complaint"),
    [
        (str, 5, "expected text, not a number"),
        (int, "5", "expected a whole number, not text"),
        (int, True, "expected a whole number, not true or false"),
        (int, 1.5, "expected a whole number"),
        (float, "1", "expected a number, not text"),
        (float, True, "expected a number, not true or false"),
        (float, 10**400, "expected a number that a float can hold"),
        (float, json.loads("1e999"), "expected a number that a float can hold"),
        (bool, 1, "expected true or false, not a number"),
        (None, 1, "expected null, not a number"),
        (bytes, "*", "expected bytes as text in base64"),
        (bytes, 1, "expected bytes as text in base64, not a number"),
        (datetime, "tomorrow", "expected text such as 2026-01-31T12:00:00+00:00"),
        (datetime, 5, "expected text such as 2026-01-31T12:00:00+00:00, not a number"),
        (date, "2026-02-30", "expected text such as 2026-01-31"),
        (timedelta, "1h", "expected a number of seconds, not text"),
        (timedelta, 1e300, "expected a number of seconds that a timedelta can hold"),
        (Decimal, "a", "expected a number, or text such as 10.50"),
        (Fraction, "1e999999999", "expected a number, or text such as 1/3"),
        (UUID, "a", "expected text, a UUID"),
        (IPv4Address, "::1", "expected text, an IPv4Address"),
        (Colour, "blue", "expected 'red' or [1, 2, 3]"),
        (Level, True, "expected 1"),
        (Access, 4, "expected 1 or 2, or a sum of these"),
        (Literal["a", "b"], "c", "expected 'a' or 'b'"),
        (list[int], {}, "expected a list, not an object"),
        (list[int], [1, "2"], "[1]: expected a whole number, not text"),
        (set[Any], [[]], "expected a list of values that a set can hold"),
        (tuple[int, str], [1], "expected a list of 2 values, not of 1"),
        (tuple[int, str], [1, 2], "[1]: expected text, not a number"),
        (dict[str, int], [], "expected an object, not a list"),
        (dict[str, int], {"a": None}, "['a']: expected a whole number, not null"),
        (dict[int, int], {"a": 1}, "['a']: its key: expected a whole number, not text"),
        (dict[int, int], {"1_0": 1}, "['1_0']: its key: expected a whole number, not text"),
        (dict[Level, int], {"2": 1}, "['2']: its key: expected 1"),
        (dict[str, int], {"k" * 100: None}, f"['{'k' * 60}…']: expected a whole number, not null"),
        (int | None, "a", "expected a whole number, not text"),
        (int | date, "a", "text fits none of the allowed types: "),
        (Line, 5, "expected an object with the fields of Line, not a number"),
        (Line, {"name": "a"}, "price: is missing"),
        (Order, {"at": "2026-01-02", "lines": [{"name": "a", "price": []}]}, "lines[0].price: expected a number, or"),
        (Node, {"value": 1, "children": [{"value": "2"}]}, "children[0].value: expected a whole number"),
        (Page[int], {"items": ["1"]}, "items[0]: expected a whole number"),
        (Even, {"number": 3}, "Even refuses it: the number is odd"),
        (Positive, {"number": -3}, "Positive refuses it: the number is not above 0"),
        (Options, {"height": 1}, "width: is missing"),
        (Point, {}, "expected a list with the fields of Point, not an object"),
        (Point, [], "x: is missing"),
        (Box, {}, "size: is missing"),
        (Model, {"at": "2026-01-02", "path": "a", "parts": [1, "secret"]}, "parts[1]: Input should be a valid integer"),
    ],
)
def test_a_mismatch_names_the_place_and_the_expectation(annotation: Any, sent: Any, complaint: str) -> None:
    with pytest.raises(Mismatch) as caught:
        decoder_of(annotation)(sent)
    assert str(caught.value).startswith(complaint)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "sent", "read"),
    [
        (Line, {"name": "a", "price": 1, "colour": "red"}, Line("a", Decimal(1))),
        (Options, {"width": 1, "depth": 2}, {"width": 1}),
        (Point, [1, 2, 3], Point(1, 2.0)),
        (Box, {"size": 1, "depth": 2}, Box(1)),
        (Model, {"at": "2026-01-02", "path": "a", "new": 1}, Model(at=date(2026, 1, 2), path=Path("a"), nameInJson="")),
    ],
)
def test_fields_that_a_class_does_not_know_are_passed_over(annotation: Any, sent: Any, read: object) -> None:
    assert decoder_of(annotation)(sent) == read


def test_other_languages_may_write_a_whole_number_with_a_fraction_of_zero() -> None:
    read = decoder_of(int)(3.0)
    assert (read, type(read)) == (3, int)


class Endless:
    def __init__(self, it: Any) -> None:
        self.it = it


@dataclass
class Holder:
    line: Line
    other: Endless


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        (Callable[[], int], "has no form in JSON"),
        (complex, "complex has no form in JSON: use text, numbers"),
        (list[Endless], "Endless has no form in JSON"),
        (Holder, "the field other of Holder: Endless has no form"),
        (type[int], "has no form in JSON"),
    ],
)
def test_an_annotation_without_a_form_in_json_is_refused_before_any_value(annotation: Any, complaint: str) -> None:
    with pytest.raises(UnsupportedAnnotation, match=complaint):
        decoder_of(annotation)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_no_json_value_breaks_a_decoder_in_another_way_than_a_mismatch(value: Any) -> None:
    for annotation in (
        Order,
        Node,
        Model,
        Options,
        Point,
        Page[date],
        dict[int, Colour],
        set[bytes],
        int | date | None,
    ):
        with suppress(Mismatch):
            decoder_of(annotation)(value)
