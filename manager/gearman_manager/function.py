"""The decorator `@function` of worker modules. It records the declaration, which discovery reads, and makes tasks.

A function is a task if one of its parameters has an annotation, other than `Job`, `Any` or `object`, or if it has no
parameters. Any other function, and one whose first parameter is `job` without an annotation, takes the job, as
`f(job)`, and stays the object that it was; so do classes, and functions with `batch`, which take the list of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from gearman_client.tasks.task import CallableTask, Task, is_task_by_itself

if TYPE_CHECKING:
    from gearman_manager.job import Job

_ATTRIBUTE: Final = "__gearman_function__"
_Class = TypeVar("_Class", bound=type)
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A decorator's arguments: the Gearman function's name and its options, unchecked."""

    name: str
    options: Mapping[str, object]


class _BatchDecorator(Protocol):
    def __call__(self, declared: _Decorated, /) -> _Decorated: ...


class _Decorator(Protocol):
    @overload
    def __call__(self, declared: _Class, /) -> _Class: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(
        self, declared: Callable[Concatenate[Job, _P], Coroutine[Any, Any, _R]], /
    ) -> CallableTask[_P, _R, Concatenate[Job, _P], Coroutine[Any, Any, _R]]: ...
    @overload
    def __call__(
        self, declared: Callable[Concatenate[Job, _P], _R], /
    ) -> CallableTask[_P, _R, Concatenate[Job, _P], _R]: ...
    @overload
    def __call__(
        self, declared: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> CallableTask[_P, _R, _P, Coroutine[Any, Any, _R]]: ...
    @overload
    def __call__(self, declared: Callable[_P, _R], /) -> CallableTask[_P, _R, _P, _R]: ...


# A class can be called too, so its overload comes first, and mypy is told so.
@overload
def function(declared: _Class, /) -> _Class: ...  # type: ignore[overload-overlap]
@overload
def function(
    declared: Callable[Concatenate[Job, _P], Coroutine[Any, Any, _R]], /
) -> CallableTask[_P, _R, Concatenate[Job, _P], Coroutine[Any, Any, _R]]: ...
@overload
def function(declared: Callable[Concatenate[Job, _P], _R], /) -> CallableTask[_P, _R, Concatenate[Job, _P], _R]: ...
@overload
def function(
    declared: Callable[_P, Coroutine[Any, Any, _R]], /
) -> CallableTask[_P, _R, _P, Coroutine[Any, Any, _R]]: ...
@overload
def function(declared: Callable[_P, _R], /) -> CallableTask[_P, _R, _P, _R]: ...
@overload
def function(*, batch: int, name: str | None = None, **options: object) -> _BatchDecorator: ...  # type: ignore[overload-overlap]
@overload
def function(*, name: str | None = None, **options: object) -> _Decorator: ...
def function(declared: Any = None, /, *, name: str | None = None, **options: object) -> Any:
    """Make a function, or a class with `run`, a Gearman function.

    A function with annotated parameters becomes a task: its calls stay as they are, and `submit`, `background` and
    the other methods of `gearman_client.Task` send a call as a job. One that takes the job first (`job: Job`) is sent
    without it.

    Args:
        name: the name to register with Gearman; by default the Python name.
        options: the function keys of the configuration, spelled as there: `timeout="30s"`, `retries=3`, …
            The YAML file's keys win over them. With `batch=100` the function takes a list of up to so many jobs, and
            returns a list with the result of each, or an exception that fails that job alone; `linger="50ms"` waits
            so long for the list to fill.
    """

    def decorate(target: Any) -> Any:
        if options.get("batch") is None and not isinstance(target, type) and is_task_by_itself(target):
            return CallableTask(target, name, options)
        setattr(target, _ATTRIBUTE, Declaration(name or target.__name__, dict(options)))
        return target

    return decorate if declared is None else decorate(declared)


def declaration_of(target: object) -> Declaration | None:
    """The declaration that a decorator recorded on this very object; a subclass does not inherit it."""
    if isinstance(target, Task):
        return Declaration(target.name, target.decorator_options)
    found = getattr(target, "__dict__", {}).get(_ATTRIBUTE)
    return found if isinstance(found, Declaration) else None
