"""The `@function` decorator of worker modules. It only records the declaration; discovery reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

_ATTRIBUTE: Final = "__gearman_function__"
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """A decorator's arguments: the Gearman function's name and its options, unchecked."""

    name: str
    options: Mapping[str, object]


def function(
    declared: _Decorated | None = None, /, *, name: str | None = None, **options: object
) -> Any:  # the decorated object itself, or a decorator that returns it
    """Make a function, or a class with `run(job)`, a Gearman function.

    Args:
        name: the name to register with Gearman; by default the Python name.
        options: the function keys of the configuration, spelled as there: `timeout="30s"`, `retries=3`, …
            The YAML file's keys win over them. With `batch=100` the function takes a list of up to so many jobs, and
            returns a list with the result of each, or an exception that fails that job alone; `linger="50ms"` waits
            so long for the list to fill.
    """

    def decorate(target: _Decorated) -> _Decorated:
        setattr(target, _ATTRIBUTE, Declaration(name or target.__name__, dict(options)))
        return target

    return decorate if declared is None else decorate(declared)


def declaration_of(target: object) -> Declaration | None:
    """The declaration that `@function` recorded on this very object; a subclass does not inherit it."""
    found = getattr(target, "__dict__", {}).get(_ATTRIBUTE)
    return found if isinstance(found, Declaration) else None
