"""Callbacks of a worker that are more than a function of the job: tasks, and coroutine functions."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from gearman_client.errors import ArgumentError

if TYPE_CHECKING:
    from gearman_client.typed_json.signature import TaskSignature

#: It returns bytes, text, None, or what JSON can hold. A task and a coroutine function become one with `prepared`.
JobCallback = Callable[[Any], object]


def name_of(target: Any) -> str:
    """A task's name at the job server; any other function's own.

    Raises:
        ArgumentError: it has none.
    """
    name = target.name if signature_of(target) is not None else getattr(target, "__name__", None)
    if not callable(target) or not isinstance(name, str):
        raise ArgumentError(f"{target!r}: expected a function with a name, or the name for one")
    return name


def prepared(target: Callable[..., object]) -> JobCallback:
    """The function to call with a job.

    Raises:
        UnsupportedAnnotation: JSON has no form for a parameter of a task.
    """
    signature = signature_of(target)
    if signature is not None:
        from gearman_client.typed_json.served_call import ServedCall

        function: Any = getattr(target, "function", None)
        target = ServedCall(signature).called_by(function, is_async=inspect.iscoroutinefunction(function))
    if inspect.iscoroutinefunction(target):
        call = target
        return lambda job: finished(call(job))
    return target


def signature_of(target: object) -> TaskSignature | None:
    """The parameters of a task; None for anything else. The class of tasks stands above this room."""
    signature = getattr(target, "signature", None)
    if signature is None or not hasattr(target, "function"):
        return None
    from gearman_client.typed_json.signature import TaskSignature

    return signature if isinstance(signature, TaskSignature) else None


def finished(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine in an event loop of its own, and return its result."""
    import asyncio  # here: most workers have no use for it
    from contextvars import copy_context

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A loop runs in this thread already, which can't be entered twice.
    ended: list[tuple[bool, Any]] = []
    context = copy_context()

    def run() -> None:
        try:
            ended.append((True, context.run(asyncio.run, coroutine)))
        except BaseException as error:  # noqa: BLE001 (raised again below, in the thread of the caller)
            ended.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    is_result, value = ended[0]
    if is_result:
        return value
    raise value
