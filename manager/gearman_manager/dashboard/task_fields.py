"""A form's fields for the parameters of an annotated function, and the workload that they make.

The parameters come from user code, as text; what can't be read as Python's gets no fields. Pure.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gearman_manager.errors import ManagerError

#: Longer parameters get no fields.
MOST_CHARACTERS: Final = 2000
#: Before a parameter's name, in a form.
PREFIX: Final = "field."
TEXT, NUMBER, FLAG, JSON = "text", "number", "flag", "json"
_KINDS: Final = {"str": TEXT, "int": NUMBER, "float": NUMBER, "bool": FLAG}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter."""

    name: str
    kind: str
    annotation: str
    #: As it is written in the code; None: it must be given.
    default: str | None
    #: It has no name towards callers.
    is_positional: bool


def fields_of(parameters: str) -> list[Field]:
    """The fields for parameters such as `(name: str, times: int = 1) -> str`; none if there can't be a form."""
    if not parameters or len(parameters) > MOST_CHARACTERS:
        return []
    try:
        tree = ast.parse(f"def f{parameters}: ...")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a default without a form in code
        return []
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or len(tree.body) > 1 or function.args.vararg or function.args.kwarg:
        return []
    given = function.args
    named = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(named) - len(given.defaults)) + [*given.defaults]
    unnamed = len(given.posonlyargs)
    found = [_field(*each, at < unnamed) for at, each in enumerate(zip(named, defaults, strict=True))]
    return found + [_field(*each, False) for each in zip(given.kwonlyargs, given.kw_defaults, strict=True)]


def workload_of(fields: Sequence[Field], form: Mapping[str, str]) -> bytes:
    """The workload for a call with what a form says. An empty field stands for the default, if there is one.

    Raises:
        ManagerError: a field is missing, or is no value of its kind.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for field in fields:
        text = form.get(PREFIX + field.name, "").replace("\r\n", "\n")
        if not text and field.default is not None:
            continue
        value = text if field.kind == TEXT else _value(field, text)
        if not field.is_positional:
            kwargs[field.name] = value
        elif len(args) < fields.index(field):
            raise ManagerError(f"{field.name}: give those before it too")
        else:
            args.append(value)
    return json.dumps({"args": args, "kwargs": kwargs}, ensure_ascii=False).encode(errors="replace")


def _field(argument: ast.arg, default: ast.expr | None, is_positional: bool) -> Field:
    annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
    written = None if default is None else ast.unparse(default)
    return Field(argument.arg, _KINDS.get(annotation, JSON), annotation, written, is_positional)


def _value(field: Field, text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
        if field.kind == JSON:
            examples = '"text", 7, true, [1, 2] or {"a": 1}'
            raise ManagerError(f"{field.name}: JSON is expected, such as {examples}") from None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if field.kind == NUMBER and (not is_number or (field.annotation == "int" and not isinstance(value, int))):
        raise ManagerError(f"{field.name}: a {'whole ' * (field.annotation == 'int')}number is expected")
    if field.kind == FLAG and not isinstance(value, bool):
        raise ManagerError(f"{field.name}: true or false is expected")
    return value


def _refuse(constant: str) -> None:
    """JSON has no NaN, and no infinity."""
    raise ValueError(constant)
