"""The description of a route, written beside it: what it takes, what it answers. Checks and document are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gearman_manager.access.caller import Role
from gearman_manager.access.requirements import needs

View = TypeVar("View", bound=Callable[..., Any])
#: A JSON schema.
Schema = Mapping[str, Any]
_ATTRIBUTE: Final = "operation"


@dataclass(frozen=True, slots=True)
class Operation:
    """Decorates a view function, below the line that gives it its route."""

    #: A sentence for people.
    summary: str
    #: The schemas of the answers, by status.
    answers: Mapping[int, Schema]
    #: The parameters after the `?`.
    query: Mapping[str, Schema] = field(default_factory=dict)
    #: Those of them that must be there.
    required: tuple[str, ...] = ()
    #: The schema of the JSON object in the request's body; None: it takes none.
    body: Schema | None = None
    #: Whether a request may come without the body.
    is_body_optional: bool = False
    #: The statuses of its refusals beside those that every route has.
    refusals: tuple[int, ...] = ()
    #: The role that callers need, if it is not the one of every route that reads, or changes something.
    needs: Role | None = None
    #: The form of the answers.
    media_type: str = "application/json"

    def __call__(self, view: View) -> View:
        view.__dict__[_ATTRIBUTE] = self
        return view if self.needs is None else needs(self.needs)(view)


def operation_of(view: Callable[..., Any] | None) -> Operation | None:
    """The description of a view function; None: it has none."""
    return getattr(view, _ATTRIBUTE, None)


# --- words for schemas

TEXT: Final[Schema] = {"type": "string"}
NAME: Final[Schema] = {"type": "string", "minLength": 1}
WHOLE: Final[Schema] = {"type": "integer"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
FLAG: Final[Schema] = {"type": "boolean"}
#: A parameter whose presence is what counts.
PRESENT: Final[Schema] = {"type": "string", "description": "present or not; its value does not matter"}
#: A moment in seconds since 1970.
MOMENT: Final[Schema] = {"type": "number", "description": "seconds since 1970"}


def or_null(schema: Schema) -> Schema:
    """The schema of a value that may be missing."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": schema}


def by_name(schema: Schema) -> Schema:
    """The schema of an object whose keys are names."""
    return {"type": "object", "additionalProperties": schema}


def record(**properties: Schema) -> Schema:
    """The schema of an object in an answer that has at least these keys."""
    return {"type": "object", "properties": properties, "required": [*properties]}


def only(*required: str, **properties: Schema) -> Schema:
    """The schema of an object in a request, which has no other keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }
