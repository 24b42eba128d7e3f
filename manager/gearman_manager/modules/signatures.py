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


def is_async(target: Any) -> bool:
    """Whether an asyncio loop has to run this function, or the `run` of this class."""
    called = getattr(target, "run", None) if isinstance(target, type) else target
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(vars(type(called)).get("__call__"))


def problem_with_function(target: Callable[..., Any], name: str, *, takes_list: bool = False) -> str:
    """Why a worker can't call this function with a job, or with a list of them, in words, or nothing."""
    kind = _not_callable(target, may_be_async=not takes_list)
    kind = kind or _not_callable(vars(type(target)).get("__call__"), may_be_async=not takes_list)
    if kind:
        return f"{name!r} is {kind}"
    misfit = _misfit(target, 1)
    what = "the list of jobs, as in def f(jobs)" if takes_list else "the job, as in def f(job)"
    return f"{name!r} is called with one argument, {what}: {misfit}" if misfit else ""


def problem_with_task(target: Callable[..., Any], name: str) -> str:
    """Why a worker can't call this task, in words, or nothing: its parameters are known to be fine."""
    kind = _not_callable(target, may_be_async=True)
    return f"{name!r} is {kind}" if kind else ""


def problem_with_class(target: type, name: str, *, takes_list: bool = False, is_task: bool = False) -> str:
    """Why a worker can't make an object of this class and run jobs by it, in words, or nothing.

    `is_task`: `run` takes arguments, and its parameters are known to be fine.
    """
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
    may_be_async = is_async(target) and not takes_list
    for method, (arguments, called_with) in {"run": (1, _RUN[takes_list]), **_METHODS}.items():
        known = None if is_task and method == "run" else arguments
        problem = _problem_with_method(target, method, known, may_be_async=may_be_async)
        if problem:
            kind_or_misfit = problem if problem.startswith("is ") else f"is called with {called_with}: {problem}"
            return f"{target.__name__}.{method}, which serves {name!r}, {kind_or_misfit}"
    return ""


def problem_with_hook(hook: object, name: str, arguments: tuple[str, ...]) -> str:
    """Why a worker can't call this hook of `_hooks.py`, in words, or nothing."""
    if not callable(hook):
        return f"{name} must be a function"
    if kind := _not_callable(hook, may_be_async=False):
        return f"{name} is {kind}"
    misfit = _misfit(hook, len(arguments))
    return f"{name} is called as {name}({', '.join(arguments)}): {misfit}" if misfit else ""


def _problem_with_method(target: type, method: str, arguments: int | None, *, may_be_async: bool) -> str:
    if not hasattr(target, method):
        return ""
    found, bound = inspect.getattr_static(target, method), getattr(target, method)
    if not callable(bound):
        return "" if isinstance(found, property) else "is not callable"
    if kind := _not_callable(bound, may_be_async=may_be_async):
        return f"is {kind}"
    return "" if arguments is None else _misfit(bound, arguments + isinstance(found, FunctionType))


def _not_callable(called: object, *, may_be_async: bool) -> str:
    """Why a plain call of it does not do its work, in words, or nothing."""
    if inspect.isasyncgenfunction(called):
        return "an async generator function, which does nothing when it is called: return the result instead of yield"
    if inspect.iscoroutinefunction(called) and not may_be_async:
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
