"""Reads JSON objects as dataclasses, TypedDicts, named tuples, and classes of attrs and pydantic.

Fields that the class does not know are passed over: during a deploy, a new client may already send one to an old
worker. pydantic's models decide that themselves (`extra="forbid"`).
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar, is_typeddict

from gearman_client.typed_json.mismatch import Mismatch, UnsupportedAnnotation, refuse

_Of = Callable[[Any], Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    keyword: str  #: of the class when it is called
    decode: Callable[[Any], Any]
    is_required: bool


def record_decoder(kind: type, arguments: tuple[Any, ...], of: _Of) -> Callable[[Any], Any] | None:
    """A decoder for a class with fields, or None if it is no such class.

    arguments: of a generic class, such as `int` of `Page[int]`.
    of: makes the decoders of the fields.

    Raises:
        UnsupportedAnnotation: JSON has no form for one of its fields; the text names it.
    """
    if hasattr(kind, "model_validate") and hasattr(kind, "model_dump"):
        return _pydantic(kind[arguments] if arguments else kind)  # type: ignore[index]
    if is_typeddict(kind):
        return _typed_dict(kind, _hints(kind, arguments), of)
    if is_dataclass(kind):
        hints = _hints(kind, arguments)
        return _record(kind, [_dataclass_field(each, kind, hints, of) for each in fields(kind) if each.init])
    if hasattr(kind, "__attrs_attrs__"):
        hints = _hints(kind, arguments)
        return _record(kind, [_attrs_field(each, kind, hints, of) for each in kind.__attrs_attrs__ if each.init])
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple(kind, _hints(kind, arguments), of)
    return None


def _hints(kind: type, arguments: tuple[Any, ...]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise UnsupportedAnnotation(
            f"the annotations of {kind.__name__} can't be resolved: {error}; import it outside of `if TYPE_CHECKING`"
        ) from error
    given = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    return {name: _filled(hint, given) for name, hint in hints.items()} if given else hints


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """The annotation of a generic class's field, with the class's arguments in it."""
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    free = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, each) for each in free)] if free else hint


def _decode_of(name: str, kind: type, hints: Mapping[str, Any], of: _Of) -> Callable[[Any], Any]:
    try:
        return of(hints.get(name, Any))
    except UnsupportedAnnotation as error:
        raise UnsupportedAnnotation(f"the field {name} of {kind.__name__}: {error}") from None


def _dataclass_field(field: Any, kind: type, hints: Mapping[str, Any], of: _Of) -> _Field:
    is_required = field.default is MISSING and field.default_factory is MISSING
    return _Field(field.name, field.name, _decode_of(field.name, kind, hints, of), is_required)


def _attrs_field(field: Any, kind: type, hints: Mapping[str, Any], of: _Of) -> _Field:
    keyword = field.alias or field.name.lstrip("_")
    return _Field(
        field.name, keyword, _decode_of(field.name, kind, hints, of), field.default is sys.modules["attr"].NOTHING
    )


def _record(kind: Any, known: list[_Field]) -> Callable[[Any], Any]:
    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise refuse(f"an object with the fields of {kind.__name__}", value)
        try:
            return kind(**_read(known, value))
        except Mismatch:
            raise
        except (TypeError, ValueError, AssertionError, ArithmeticError) as error:  # the class checks its values
            raise _refused_by(kind, error) from error

    return decode


def _read(known: list[_Field], value: Mapping[str, Any]) -> dict[str, Any]:
    read = {}
    for field in known:
        if field.name in value:
            try:
                read[field.keyword] = field.decode(value[field.name])
            except Mismatch as mismatch:
                raise mismatch.below(f".{field.name}") from None
        elif field.is_required:
            raise Mismatch("is missing", f".{field.name}")
    return read


def _typed_dict(kind: Any, hints: Mapping[str, Any], of: _Of) -> Callable[[Any], Any]:
    known = []
    for name, hint in hints.items():
        # Python 3.11 does not see these marks in annotations that are text.
        mark = typing.get_origin(hint)
        is_required = mark is typing.Required or (name in kind.__required_keys__ and mark is not typing.NotRequired)
        known.append(_Field(name, name, _decode_of(name, kind, hints, of), is_required))
    return _record(kind, known)


def _named_tuple(kind: Any, hints: Mapping[str, Any], of: _Of) -> Callable[[Any], Any]:
    """It travels as a list, because it is a tuple; fields with defaults may be missing at its end."""
    known = [
        _Field(name, name, _decode_of(name, kind, hints, of), name not in kind._field_defaults) for name in kind._fields
    ]

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise refuse(f"a list with the fields of {kind.__name__}", value)
        return kind(**_read(known, dict(zip(kind._fields, value, strict=False))))

    return decode


def _pydantic(model: Any) -> Callable[[Any], Any]:
    def decode(value: Any) -> Any:
        try:
            return model.model_validate(value)
        except ValueError as error:
            raise _refused_by(model, error) from error

    return decode


def _refused_by(kind: Any, error: Exception) -> Mismatch:
    """What the class's own check says; pydantic's names the place, and repeats the value, which may be a secret."""
    try:
        first = error.errors()[0]  # type: ignore[attr-defined]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        return Mismatch(str(first["msg"]), place)
    except (AttributeError, LookupError, TypeError):
        return Mismatch(f"{kind.__name__} refuses it: {error}")
