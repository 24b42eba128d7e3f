"""The functions of an eager server: anything that a worker could run becomes a call with a job, and its options become
the policy of its jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gearman_client.arguments import to_duration_s, to_limit
from gearman_client.errors import ArgumentError
from gearman_client.testing.time_limit import call_within, finish_within
from gearman_client.worker.callbacks import finished, name_of, signature_of

if TYPE_CHECKING:
    from gearman_client.typed_json.signature import TaskSignature

#: The keys of a function in the manager's configuration that mean something here.
POLICY_KEYS: Final = ("retries", "crash_retries", "timeout", "keep_result", "max_queue", "settings", "batch")
#: The others are about time, places and queues of a real server, and change nothing in one process.
OTHER_KEYS: Final = (
    "backoff",
    "max_backoff",
    "max_running",
    "rate",
    "allow_options",
    "unique_scope",
    "redact",
    "show_workloads",
    "retention",
    "brake",
    "per_key",
    "fair",
    "weights",
    "linger",
    "prefetch",
)


@dataclass(frozen=True, slots=True)
class FunctionPolicy:
    """What the job server decides about the jobs of a function. Times in seconds; 0: no limit, or not at all."""

    retries: int = 0
    crash_retries: int = 3
    timeout_s: float = 0.0
    keep_result_s: float = 0.0
    max_queue: int = 0


@dataclass(frozen=True, slots=True)
class EagerFunction:
    """A function that an eager server can run. `call` takes an `EagerJob`, and returns what the function returned."""

    name: str
    call: Callable[[Any], Any]
    policy: FunctionPolicy
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Of an object with a `teardown`.
    teardown: Callable[[], object] | None = None


def declared_name(target: Any) -> str:
    """The name under which a function is registered if nobody gives another one.

    Raises:
        ArgumentError: it has none.
    """
    name = getattr(_declaration(target), "name", None)
    return name if isinstance(name, str) else name_of(target)


def make_function(name: str, target: Any, options: Mapping[str, Any]) -> EagerFunction:
    """Prepare a function for its jobs. `options` win over those of its decorator.

    target: a function of the job, a task, a class with `run`, or a function with `batch` of a list of jobs; `async def`
        too.

    Raises:
        ArgumentError: it can't be called, or an option has a value that it can't have.
        TypeError: there is no such option.
    """
    if not callable(target):
        raise ArgumentError(f"the function {name} is {type(target).__name__}: expected a function")
    _check_names(options)
    signature = signature_of(target)
    declared = getattr(_declaration(target), "options" if signature is None else "decorator_options", {})
    all_options = {**declared, **options}
    if signature is not None:
        return _prepared(name, target.function, signature, all_options)
    return _prepared(name, target, None, all_options)


def loaded_function(loaded: Any) -> EagerFunction:
    """Prepare a function that the manager's discovery has found."""
    options = {key: value for key, value in loaded.options.items() if key in (*POLICY_KEYS, *OTHER_KEYS)}
    signature = None
    if loaded.task is not None and not isinstance(loaded.target, type):
        from gearman_client.typed_json.signature import TaskSignature

        signature = TaskSignature(loaded.target)
    return _prepared(loaded.name, loaded.target, signature, options)


def _prepared(name: str, target: Any, signature: TaskSignature | None, options: Mapping[str, Any]) -> EagerFunction:
    settings = options.get("settings") or {}
    teardown = None
    if isinstance(target, type):
        signature = _signature_of_run(target)
        instance: Any = target()
        if hasattr(instance, "setup"):
            _ended(instance.setup(settings))
        if hasattr(instance, "teardown"):
            teardown = _ending(instance.teardown)
        target = instance.run
    if signature is not None:
        from gearman_client.typed_json.served_call import ServedCall

        call = ServedCall(signature).called_by(target, is_async=inspect.iscoroutinefunction(target))
    else:
        call = _one_of_batch(target) if options.get("batch") else target
    policy = _policy(name, options)
    return EagerFunction(name, _within(policy.timeout_s, call, name), policy, settings, teardown)


def _signature_of_run(target: type) -> TaskSignature | None:
    """The parameters of a decorated class's `run`, if it takes arguments instead of the job."""
    from gearman_client.typed_json.signature import TaskSignature

    run = inspect.getattr_static(target, "run", None)
    if _declaration(target) is None or not inspect.isfunction(run):
        return None
    signature = TaskSignature(run, has_self=True)
    return signature if signature.is_task else None


def seconds_of(value: Any, what: str) -> float:
    """A duration: `"30s"`, `"500ms"`, `"5m"`, `"1h"`, `"7d"`, a number of seconds, or a timedelta.

    Raises:
        ArgumentError: it is none; `what` names it.
    """
    if value is None:
        return 0.0
    return to_limit(to_duration_s(value, what), what)


def _declaration(target: Any) -> Any:
    """What a decorator recorded: a task itself, or the manager's declaration."""
    return target if signature_of(target) is not None else getattr(target, "__dict__", {}).get("__gearman_function__")


def _check_names(options: Mapping[str, Any]) -> None:
    known = (*POLICY_KEYS, *OTHER_KEYS)
    for name in options:
        if name not in known:
            raise TypeError(f"register() got an unexpected option {name!r}; it takes {', '.join(known)}")


def _policy(name: str, options: Mapping[str, Any]) -> FunctionPolicy:
    counts = {key: options[key] for key in ("retries", "crash_retries", "max_queue") if options.get(key) is not None}
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ArgumentError(f"{key} {value!r} of {name}: expected a whole number from 0 up")
    return FunctionPolicy(
        timeout_s=seconds_of(options.get("timeout"), f"timeout of {name}"),
        keep_result_s=seconds_of(options.get("keep_result"), f"keep_result of {name}"),
        **counts,
    )


def _one_of_batch(call: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    """A function of a list of jobs, called with one."""

    def call_with_one(job: Any) -> Any:
        results = list(call([job]))
        if len(results) != 1:
            raise ValueError(f"the function returned {len(results)} results for a list of one job")
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return call_with_one


def _within(timeout_s: float, call: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """The call under its time limit, to the end of the coroutine if it returns one."""

    def call_to_the_end(job: Any) -> Any:
        limit_s = timeout_s if job.timeout_s is None else job.timeout_s
        outcome = call_within(limit_s, lambda: call(job), name)
        if not inspect.iscoroutine(outcome):
            return outcome
        return finish_within(limit_s, lambda limited: finished(_closing(job, limited)), outcome, name)

    return call_to_the_end


async def _closing(job: Any, outcome: Coroutine[Any, Any, object]) -> object:
    try:
        return await outcome
    finally:
        await job.close()


def _ending(method: Callable[[], object]) -> Callable[[], object]:
    return lambda: _ended(method())


def _ended(returned: object) -> object:
    """What a method returned, or the result of its coroutine."""
    return finished(returned) if inspect.iscoroutine(returned) else returned
