"""Finds the function keys that do not hold on a job server that this manager did not start. Pure.

A `gearman-server` lists its rules in answer to the text command `policies`; any other server has none, and gives a
worker one job at a time, whatever `batch` and `prefetch` say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gearman_client.text import to_text, unescaped
from gearman_manager.config.resolve import BUILT_IN_FUNCTION_KEYS, ResolvedFunction, ResolvedPool
from gearman_process.values.durations import format_duration
from gearman_process.values.rates import parse_rate

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
    "allow_options",
    "keys",
    "brake",
    "unique_scope",
    "retention",
)
_WINDOWS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Further gaps are counted, not listed.
MAX_LISTED: Final = 20

Rules = Mapping[str, str]


def policy_gaps(
    functions: Mapping[str, ResolvedFunction], pools: Mapping[str, ResolvedPool], answer: bytes | None
) -> list[str]:
    """A sentence for each key that does not hold. `answer` is the server's answer to `policies`, or None."""
    there = None if answer is None else _rules(answer)
    sentences = [
        sentence for name, function in sorted(functions.items()) for sentence in _of_function(name, function, there)
    ]
    if there is None:
        sentences += _of_many_jobs(functions, pools)
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


def _of_many_jobs(functions: Mapping[str, ResolvedFunction], pools: Mapping[str, ResolvedPool]) -> Iterator[str]:
    wanted = {
        f"functions.{name}.batch": function.batch for name, function in sorted(functions.items()) if function.batch
    }
    wanted |= {f"pools.{name}.prefetch": pool.prefetch for name, pool in sorted(pools.items())}
    for key, jobs in wanted.items():
        if jobs > 1:
            yield f"{key}: {jobs} can't hold: this job server is no gearman-server and gives a worker one job at a time"


def _wanted(function: ResolvedFunction) -> Rules:
    """The rules that a job server would have to enforce beyond those of any server, in the words of its answer."""
    wanted: dict[str, float | None] = {"max_queue": function.max_queue, "max_running": function.max_running}
    wanted["keep_result"] = function.keep_result_s
    wanted["retention"] = function.privacy.retention_s
    if function.retries:
        wanted |= {"retries": function.retries, "backoff": function.backoff_s, "max_backoff": function.max_backoff_s}
    if function.crash_retries != BUILT_IN_FUNCTION_KEYS["crash_retries"]:
        wanted["crash_retries"] = function.crash_retries
    if not function.file:  # a program; Python functions are timed out by worker and supervisor
        wanted["timeout"] = function.timeout_s
    rules = {key: f"{value:.12g}" for key, value in wanted.items() if value is not None}
    if function.rate is not None:
        rules["rate"] = _count_per_s(function.rate)
    if function.allow_options is not None:
        rules["allow_options"] = ",".join(function.allow_options) or "none"
    if function.unique_scope != "server":
        rules["unique_scope"] = function.unique_scope
    if function.brake is not None:
        brake = function.brake
        rules["brake"] = f"{_count_per_s(brake.failures)}/{brake.hold:g}/{brake.probe}"
    keys = _keys_rules(function)
    return {**rules, "keys": keys} if keys else rules


def _keys_rules(function: ResolvedFunction) -> str:
    """`per_key`, `fair` and `weights` in the words of the answer."""
    rules = ["fair"] if function.is_fair else []
    if function.key_max_running is not None:
        rules.append(f"max_running={function.key_max_running}")
    if function.key_rate is not None:
        rules.append(f"rate={_count_per_s(function.key_rate)}")
    if function.is_fair and function.weights:
        rules.append(f"weights={len(function.weights)}")
    return ",".join(rules)


def _count_per_s(rate: str) -> str:
    parsed = parse_rate(rate)
    assert parsed is not None  # it is checked when it is read
    return f"{parsed[0]}/{parsed[1]:g}"


def _rules(answer: bytes) -> dict[str, Rules]:
    lines = (line.split(b"\t") for line in answer.split(b"\n")[:-2])
    return {to_text(unescaped(name)): dict(zip(_KEYS, map(to_text, values), strict=False)) for name, *values in lines}


def _shown(key: str, value: str) -> str:
    if key == "allow_options":
        return "all" if value == "-" else value.replace(",", ", ")
    if key == "unique_scope":
        return "server" if value == "-" else value
    if value == "-":
        return "no limit" if key in ("timeout", "crash_retries", "max_queue", "max_running", "rate") else "none"
    if key in ("timeout", "backoff", "max_backoff", "keep_result", "retention"):
        return format_duration(float(value))
    if key == "brake":
        failures, seconds, hold, probe = value.split("/")
        return f"failures {failures}/{seconds}s, hold {hold}s, probe {probe}"
    if key == "rate":
        count, _, window = value.partition("/")
        units = {str(seconds): unit for unit, seconds in _WINDOWS_S.items()}
        return f"{count}/{units.get(window, window + 's')}"
    return value
