"""Finds the function keys that do not hold on a job server that this manager did not start. Pure.

A `gearman-server` lists its rules in answer to the text command `policies`; any other server has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gearman_client.text import to_text
from gearman_manager.config.resolve import BUILT_IN_FUNCTION_KEYS, ResolvedFunction
from gearman_manager.job_servers.escapes import unescaped
from gearman_process.values.durations import format_duration

COMMAND: Final = "policies"
#: The columns of the answer, after the function's name.
_KEYS: Final = (
    "timeout",
    "retries",
    "crash_retries",
    "backoff",
    "max_backoff",
    "max_queue",
    "max_running",
    "rate",
    "keep_result",
)
_WINDOWS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Further gaps are counted, not listed.
MAX_LISTED: Final = 20

Rules = Mapping[str, str]


def policy_gaps(functions: Mapping[str, ResolvedFunction], answer: bytes | None) -> list[str]:
    """A sentence for each key that does not hold. `answer` is the server's answer to `policies`, or None."""
    there = None if answer is None else _rules(answer)
    sentences = [
        sentence for name, function in sorted(functions.items()) for sentence in _of_function(name, function, there)
    ]
    more = len(sentences) - MAX_LISTED
    return sentences if more <= 0 else [*sentences[:MAX_LISTED], f"and {more} more"]


def _of_function(name: str, function: ResolvedFunction, there: Mapping[str, Rules] | None) -> Iterator[str]:
    for key, wanted in _wanted(function).items():
        where = f"functions.{name}.{key}: {_shown(key, wanted)}"
        if there is None:
            yield f"{where} can't hold: this job server is no gearman-server and has no policies"
            continue
        found = there.get(name, there.get("*", {})).get(key, "-")
        if found != wanted:
            yield f"{where} does not hold: this job server's own policies say {_shown(key, found)}"


def _wanted(function: ResolvedFunction) -> Rules:
    """The rules that a job server would have to enforce beyond those of any server, in the words of its answer."""
    wanted: dict[str, float | None] = {"max_queue": function.max_queue, "max_running": function.max_running}
    wanted["keep_result"] = function.keep_result_s
    if function.retries:
        wanted |= {"retries": function.retries, "backoff": function.backoff_s, "max_backoff": function.max_backoff_s}
    if function.crash_retries != BUILT_IN_FUNCTION_KEYS["crash_retries"]:
        wanted["crash_retries"] = function.crash_retries
    if not function.file:  # a program; Python functions are timed out by worker and supervisor
        wanted["timeout"] = function.timeout_s
    rules = {key: f"{value:.12g}" for key, value in wanted.items() if value is not None}
    if function.rate is not None:
        count, _, unit = function.rate.partition("/")
        rules["rate"] = f"{int(count)}/{_WINDOWS_S[unit]}"
    return rules


def _rules(answer: bytes) -> dict[str, Rules]:
    lines = (line.split(b"\t") for line in answer.split(b"\n")[:-2])
    return {to_text(unescaped(name)): dict(zip(_KEYS, map(to_text, values), strict=False)) for name, *values in lines}


def _shown(key: str, value: str) -> str:
    if value == "-":
        return "no limit" if key in ("timeout", "crash_retries", "max_queue", "max_running", "rate") else "none"
    if key in ("timeout", "backoff", "max_backoff", "keep_result"):
        return format_duration(float(value))
    if key == "rate":
        count, _, window = value.partition("/")
        units = {str(seconds): unit for unit, seconds in _WINDOWS_S.items()}
        return f"{count}/{units.get(window, window + 's')}"
    return value
