"""From an annotation to a function that reads a JSON value by it: containers and unions, and what others read.

The functions are made once, when a module is loaded, so an annotation without a form in JSON is found there and not by
the first job. Numbers and texts are not converted into each other: `"5"` is no whole number.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import re
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin

from gearman_client.typed_json.mismatch import Mismatch, UnsupportedAnnotation, kind_of, refuse, shown
from gearman_client.typed_json.scalars import (
    OPEN,
    SIMPLE,
    Decode,
    as_it_is,
    enum_decoder,
    literal,
    nothing,
    number,
    text_types,
)

_LISTS: Final = frozenset({
    list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection,
    collections.abc.Iterable, collections.abc.Container,
})  # fmt: skip
_SETS: Final = frozenset({set, collections.abc.Set, collections.abc.MutableSet})
_DICTS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.OrderedDict})
_OTHER_COLLECTIONS: Final = {frozenset: frozenset, collections.deque: collections.deque}
#: A number, a truth value or null, as JSON writes them.
_WRITTEN_VALUE: Final = re.compile(r"-?\d[\d.eE+-]{0,400}|true|false|null")


def decoder_of(annotation: Any) -> Decode:
    """A function that makes the annotated value of a JSON value, and raises Mismatch if it can't.

    Raises:
        UnsupportedAnnotation: JSON has no form for such values.
    """
    return Decoders().of(annotation)


class Decoders:
    """Makes decoders. A type that holds itself, such as a tree's node, meets its own decoder again."""

    def __init__(self) -> None:
        self._made: dict[Any, Decode | None] = {}

    def of(self, annotation: Any) -> Decode:
        """As `decoder_of`."""
        try:
            hash(annotation)
        except TypeError:
            return self._make(annotation)
        if annotation in self._made:
            return self._made[annotation] or (lambda value: self._again(annotation, value))
        self._made[annotation] = None
        made = self._made[annotation] = self._make(annotation)
        return made

    def _again(self, annotation: Any, value: Any) -> Any:
        decode = self._made[annotation]
        if decode is None:
            raise UnsupportedAnnotation(f"{_name(annotation)} is made of nothing but itself")
        return decode(value)

    def _make(self, annotation: Any) -> Decode:
        if annotation is Any or annotation is object:
            return as_it_is
        simple = SIMPLE.get(annotation) if isinstance(annotation, type) else None
        if simple is not None:
            return simple
        if annotation is None:
            return nothing
        origin = get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin, get_args(annotation))
        if isinstance(annotation, type):
            return self._class(annotation)
        return self._other(annotation)

    def _generic(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Decode:
        if origin is Union or origin is UnionType:
            return self._union(arguments)
        if origin is Literal:
            return literal(arguments)
        if origin is typing.Annotated or origin in (typing.Required, typing.NotRequired, typing.Final):
            return self.of(arguments[0])
        if origin is tuple:
            return self._tuple(arguments)
        if (made := self._container(origin, arguments)) is not None:
            return made
        from gearman_client.typed_json.records import record_decoder

        decode = record_decoder(origin, arguments, self.of) if isinstance(origin, type) else None
        if decode is None:
            raise _unsupported(annotation)
        return decode

    def _container(self, origin: Any, arguments: tuple[Any, ...]) -> Decode | None:
        if origin in _DICTS:
            key, value = arguments or (Any, Any)
            return _dict(_key_decoder(self.of(key)), self.of(value))
        item = self.of(arguments[0] if arguments else Any) if origin in _LISTS | _SETS or origin in _OTHER_COLLECTIONS \
            else None  # fmt: skip
        if item is None:
            return None
        if origin in _LISTS:
            return _list(item)
        return _collection(_OTHER_COLLECTIONS.get(origin, set), item)

    def _class(self, kind: type) -> Decode:
        import enum

        if issubclass(kind, enum.Enum):
            return enum_decoder(kind)
        if kind is tuple:
            return self._tuple((Any, ...))
        if (made := self._container(kind, ())) is not None:
            return made
        for known, decode in text_types().items():
            if kind is known or (known in OPEN and issubclass(kind, known)):
                return decode(kind)
        from gearman_client.typed_json.records import record_decoder

        made = record_decoder(kind, (), self.of)
        if made is None:
            raise _unsupported(kind)
        return made

    def _other(self, annotation: Any) -> Decode:
        if isinstance(annotation, NewType):
            return self.of(annotation.__supertype__)
        if isinstance(annotation, TypeVar):
            constraints = annotation.__constraints__
            return self._union(constraints) if constraints else self.of(annotation.__bound__ or Any)
        if type(annotation).__name__ == "TypeAliasType":  # Python 3.12's `type X = …`
            return self.of(annotation.__value__)
        raise _unsupported(annotation)

    def _union(self, kinds: Iterable[Any]) -> Decode:
        kinds = tuple(kinds)
        arms = [self.of(kind) for kind in kinds if kind not in (None, NoneType)]
        optional = len(arms) < len(kinds)
        if float in kinds and int in kinds:  # a whole number stays one, whatever the order
            arms.sort(key=lambda arm: arm is number)
        only = arms[0] if len(arms) == 1 else None

        def decode(value: Any) -> Any:
            if value is None and optional:
                return None
            if only is not None:
                return only(value)
            reasons = []
            for arm in arms:
                try:
                    return arm(value)
                except Mismatch as mismatch:
                    reasons.append(str(mismatch))
            raise Mismatch(f"{kind_of(value)} fits none of the allowed types: {'; '.join(reasons)}")

        return decode

    def _tuple(self, kinds: tuple[Any, ...]) -> Decode:
        if len(kinds) == 2 and kinds[1] is ...:
            return _collection(tuple, self.of(kinds[0]))
        items = [self.of(kind) for kind in kinds if kind != ()]

        def decode(value: Any) -> tuple[Any, ...]:
            if type(value) is not list:
                raise refuse("a list", value)
            if len(value) != len(items):
                raise Mismatch(f"expected a list of {len(items)} values, not of {len(value)}")
            return tuple(_each(item, index, of) for index, (item, of) in enumerate(zip(items, value, strict=True)))

        return decode


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def _unsupported(annotation: Any) -> UnsupportedAnnotation:
    return UnsupportedAnnotation(
        f"{_name(annotation)} has no form in JSON: use text, numbers, dates, enums, lists, dicts, dataclasses or a "
        "TypedDict"
    )


# --- containers


def _each(decode: Decode, index: int, value: Any) -> Any:
    try:
        return decode(value)
    except Mismatch as mismatch:
        raise mismatch.below(f"[{index}]") from None


def _list(item: Decode) -> Decode:
    def decode(value: Any) -> list[Any]:
        if type(value) is not list:
            raise refuse("a list", value)
        return [_each(item, index, each) for index, each in enumerate(value)]

    return decode


def _collection(kind: Callable[[list[Any]], Any], item: Decode) -> Decode:
    as_list = _list(item)

    def decode(value: Any) -> Any:
        try:
            return kind(as_list(value))
        except TypeError:
            raise Mismatch("expected a list of values that a set can hold") from None

    return decode


def _dict(key: Decode, item: Decode) -> Decode:
    def decode(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise refuse("an object", value)
        decoded = {}
        for name, each in value.items():
            try:
                decoded[key(name)] = item(each)
            except Mismatch as mismatch:
                raise mismatch.below(f"[{shown(name)}]") from None
        return decoded

    return decode


def _key_decoder(decode: Decode) -> Decode:
    """JSON has only texts as keys: a key that is no text is read from its text, as `"3"` and `"true"`."""

    def decode_key(name: str) -> Any:
        try:
            return decode(name)
        except Mismatch as mismatch:
            if _WRITTEN_VALUE.fullmatch(name):
                with suppress(ValueError):  # among them Mismatch
                    return decode(json.loads(name))
            raise Mismatch(f"its key: {mismatch}") from None

    return decode_key
