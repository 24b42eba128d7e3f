"""Whether what a module defines can be called as a worker calls it: found at the load, not by the first job.

Only what is certain is refused: a decorator that takes any arguments may pass on others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

_RUN: Final = {
    False: "the job, as in def run(self, job)",
    True: "the list of jobs, as in def run(self, jobs)",
}
_METHODS: Final = {
    "setup": (1, "the function's settings, as in def setup(self, settings)"),
    "teardown": (0, "nothing, as in def teardown(self)"),
}


def problem_with_function(target: Callable[..., Any], name: str, *, takes_list: bool = False) -> str:
    """Why a worker can't call this function with a job, or with a list of them, in words, or nothing."""
    kind = _not_plain(target) or _not_plain(vars(type(target)).get("__call__"))
    if kind:
        return f"{name!r} is {kind}"
    misfit = _misfit(target, 1)
    what = "the list of jobs, as in def f(jobs)" if takes_list else "the job, as in def f(job)"
    return f"{name!r} is called with one argument, {what}: {misfit}" if misfit else ""


def problem_with_class(target: type, name: str, *, takes_list: bool = False) -> str:
    """Why a worker can't make an object of this class and run jobs by it, in words, or nothing."""
    if not callable(getattr(target, "run", None)):
        method = "run(self, jobs)" if takes_list else "run(self, job)"
        return f"the class {target.__name__} serves {name!r} and needs a method {method}"
    if inspect.isabstract(target):
        missing = ", ".join(sorted(getattr(target, "__abstractmethods__", ())))
        return f"the class {target.__name__} serves {name!r} and is abstract: define {missing}"
    if misfit := _misfit(target, 0):
        return (
            f"an object of {target.__name__} is made without arguments: {misfit}; what a function needs to know "
            "comes to setup(self, settings)"
        )
    for method, (arguments, called_with) in {"run": (1, _RUN[takes_list]), **_METHODS}.items():
        if hasattr(target, method) and (problem := _problem_with_method(target, method, arguments)):
            kind_or_misfit = problem if problem.startswith("is ") else f"is called with {called_with}: {problem}"
            return f"{target.__name__}.{method}, which serves {name!r}, {kind_or_misfit}"
    return ""


def problem_with_hook(hook: object, name: str, arguments: tuple[str, ...]) -> str:
    """Why a worker can't call this hook of `_hooks.py`, in words, or nothing."""
    if not callable(hook):
        return f"{name} must be a function"
    if kind := _not_plain(hook):
        return f"{name} is {kind}"
    misfit = _misfit(hook, len(arguments))
    return f"{name} is called as {name}({', '.join(arguments)}): {misfit}" if misfit else ""


def _problem_with_method(target: type, method: str, arguments: int) -> str:
    found, bound = inspect.getattr_static(target, method), getattr(target, method)
    if not callable(bound):
        return "" if isinstance(found, property) else "is not callable"
    if kind := _not_plain(bound):
        return f"is {kind}"
    return _misfit(bound, arguments + isinstance(found, FunctionType))


def _not_plain(called: object) -> str:
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        return "an async function; a plain def is needed"
    if inspect.isgeneratorfunction(called):
        return "a generator function, which does nothing when it is called: return the result instead of yield"
    return ""


def _misfit(called: Callable[..., Any], arguments: int) -> str:
    """Why it can't be called with so many arguments by position, or nothing."""
    try:
        # Not that of a wrapped function: the wrapper is called, and may pass on something else.
        signature = inspect.signature(called, follow_wrapped=False)
    except (TypeError, ValueError):
        return ""  # written in C
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        return str(error)
    return ""
