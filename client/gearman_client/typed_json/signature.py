"""A task's parameters: which of them its callers fill, and how those are read on the worker's side.

A parameter annotated with a job (a class with `is_gearman_job`, as the manager's `Job`) is filled by the worker.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace, UnionType
from typing import Any, Final

from gearman_client.typed_json.decoders import decoder_of
from gearman_client.typed_json.mismatch import Mismatch, UnsupportedAnnotation, shown
from gearman_client.typed_json.scalars import Decode

_EMPTY: Final = inspect.Parameter.empty
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
#: A job's annotation that can't be resolved, because it is imported for the type checker alone.
_NAMES_JOB: Final = re.compile(r"(Optional\[)?([\w.]+\.)?Job\]?( *\| *None)?")


class TaskSignature:
    """The parameters of one function, or of an object's method without its `self`."""

    def __init__(self, function: Callable[..., Any], *, has_self: bool = False) -> None:
        """Look at the function; a wrapper that passes on any arguments counts as the function that it wraps.

        has_self: it is a method as it stands in its class.

        Raises:
            TypeError, ValueError: its parameters can't be known, because it is written in C.
        """
        function = _below_wrappers(function)
        self._globals: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
        self._name = getattr(function, "__name__", "the task")
        self.whole = inspect.signature(function, follow_wrapped=False)
        if has_self:
            self.whole = self.whole.replace(parameters=list(self.whole.parameters.values())[1:])
        kinds = {name: self._resolved(each.annotation) for name, each in self.whole.parameters.items()}
        #: The names of the parameters that get the job.
        self.job_parameters = [name for name, kind in kinds.items() if _is_job(kind)]
        self._kinds = kinds

    @property
    def is_task(self) -> bool:
        """Whether the function itself asks for arguments: one has an annotation, or there is none at all.

        A function without annotations, or whose only one is a job or `Any`, takes the job; so does `f(job, limit: int =
        10)`, whose first parameter has this name and no annotation.
        """
        first = next(iter(self.whole.parameters.values()), None)
        if first is not None and first.name == "job" and first.annotation is _EMPTY:
            return False
        kinds = [kind for name, kind in self._kinds.items() if name not in self.job_parameters]
        return not self._kinds or any(kind not in (_EMPTY, Any, object) for kind in kinds)

    @cached_property
    def of_callers(self) -> inspect.Signature:
        """The signature without the job."""
        parameters = [each for name, each in self.whole.parameters.items() if name not in self.job_parameters]
        return self.whole.replace(parameters=parameters)

    @property
    def shown(self) -> str:
        """What callers give, and get, as text: `(person: greetings.Person, greeting: str = 'Hello') -> str`."""
        parameters = [
            each.replace(annotation=_as_written(self._kinds[name])) for name, each in self.of_callers.parameters.items()
        ]
        result = _as_written(self._resolved(self.whole.return_annotation))
        return str(inspect.Signature(parameters, return_annotation=result))

    def check_call(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Check a call's number and names of arguments, as Python does for a plain call.

        Raises:
            TypeError: they do not fit the parameters; the text names the function.
        """
        try:
            self.of_callers.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}(): {error}") from None

    @cached_property
    def decode_result(self) -> Decode:
        """Reads the result. An annotation that can't be resolved or has no form in JSON leaves it as it is."""
        try:
            return decoder_of(self.result_kind)
        except UnsupportedAnnotation:
            return decoder_of(Any)

    @cached_property
    def result_kind(self) -> Any:
        """The annotation of the result; Any without one."""
        kind = self._resolved(self.whole.return_annotation)
        return Any if kind is _EMPTY or isinstance(kind, str) else kind

    def readers(self) -> Callable[[Sequence[Any], Mapping[str, Any], object], BoundCall]:
        """A function that makes the arguments of a call from JSON values and the job.

        Raises:
            UnsupportedAnnotation: JSON has no form for a parameter; the text names it.
        """
        return _Reader(self.whole, self.job_parameters, {name: self._decoder(name) for name in self._kinds}).read

    def _decoder(self, name: str) -> Decode:
        kind = self._kinds[name]
        if isinstance(kind, str) and name not in self.job_parameters:
            raise UnsupportedAnnotation(
                f"the annotation {kind!r} of {name} can't be resolved: import it outside of `if TYPE_CHECKING`"
            )
        try:
            return decoder_of(Any if kind is _EMPTY or name in self.job_parameters else kind)
        except UnsupportedAnnotation as error:
            raise UnsupportedAnnotation(f"the parameter {name}: {error}") from None

    def _resolved(self, annotation: Any) -> Any:
        """The annotation; text stays text if it can't be resolved."""
        if annotation is _EMPTY or not (isinstance(annotation, str) or typing.get_args(annotation)):
            return annotation
        holder: Any = SimpleNamespace(__annotations__={"it": annotation})
        try:
            return typing.get_type_hints(holder, globalns=self._globals, include_extras=True)["it"]
        except Exception:  # noqa: BLE001 (the annotation is a program of the user's)
            return annotation


class BoundCall(typing.NamedTuple):
    """A function's arguments, and the names of those that it does not know."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    passed_over: list[str]


class _Reader:
    def __init__(self, whole: inspect.Signature, jobs: Sequence[str], decoders: Mapping[str, Decode]) -> None:
        self._whole = whole
        self._jobs = jobs
        self._decoders = decoders
        parameters = [each for name, each in whole.parameters.items() if name not in jobs]
        self._positional = [each.name for each in parameters if each.kind in _POSITIONAL]
        self._named = {each.name for each in parameters if each.kind in _NAMED}
        self._required = [each.name for each in parameters if each.default is _EMPTY and each.kind not in _VARIABLE]
        kinds = {each.kind: each.name for each in parameters}
        self._more = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._others = kinds.get(inspect.Parameter.VAR_KEYWORD)
        #: Names that no caller may fill, although `**kwargs` would take them.
        self._kept = {each for each in jobs if whole.parameters[each].kind in _NAMED}

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any], job: object) -> BoundCall:
        """The call of the function. More arguments than it knows are passed over: a newer client may send them.

        Raises:
            Mismatch: an argument is missing or given twice, or does not fit its annotation. The text names it.
        """
        values: dict[str, Any] = dict.fromkeys(self._jobs, job)
        passed_over = []
        for name, value in zip(self._positional, args, strict=False):
            values[name] = self._decoded(name, name, value)
        more = args[len(self._positional) :]
        if self._more is not None:
            name = self._more
            values[name] = tuple(self._decoded(name, f"{name}[{at}]", each) for at, each in enumerate(more))
        elif more:
            passed_over.append(f"{len(more)} more by position")
        others = {}
        for name, value in kwargs.items():
            if name in self._named:
                if name in values:
                    raise Mismatch("is given twice, by position and by name", name)
                values[name] = self._decoded(name, name, value)
            elif self._others is not None and name not in self._kept:
                others[name] = self._decoded(self._others, name if name.isidentifier() else shown(name), value)
            else:
                passed_over.append(shown(name))
        if self._others is not None:
            values[self._others] = others
        for name in self._required:
            if name not in values:
                raise Mismatch("is missing", name)
        return self._bound(values, passed_over)

    def _decoded(self, name: str, place: str, value: Any) -> Any:
        try:
            return self._decoders[name](value)
        except Mismatch as mismatch:
            raise mismatch.below(place) from None

    def _bound(self, values: dict[str, Any], passed_over: list[str]) -> BoundCall:
        in_order = {name: values[name] for name in self._whole.parameters if name in values}
        bound = inspect.BoundArguments(self._whole, in_order)
        if self._more is not None:
            bound.apply_defaults()  # those before `*args` are passed by position
        return BoundCall(bound.args, bound.kwargs, passed_over)


def _below_wrappers(function: Callable[..., Any]) -> Callable[..., Any]:
    while hasattr(function, "__wrapped__"):
        own = inspect.signature(function, follow_wrapped=False).parameters.values()
        if not own or any(each.kind not in _VARIABLE for each in own):
            break
        function = function.__wrapped__
    return function


def _is_job(kind: Any) -> bool:
    if isinstance(kind, str):
        return _NAMES_JOB.fullmatch(kind) is not None
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return any(map(_is_job, typing.get_args(kind)))
    return getattr(kind, "is_gearman_job", False) is True


class _Written(str):
    """An annotation that is shown as it is written, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _as_written(kind: Any) -> Any:
    return _Written(kind) if isinstance(kind, str) else kind
