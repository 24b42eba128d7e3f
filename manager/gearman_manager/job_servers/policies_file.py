"""Writes the bundled job server's policies file: the functions' keys that it enforces, and the schedules."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gearman_manager.config import Config, Function, ResolvedFunction, Schedule
from gearman_manager.config.resolve import FunctionIdentity, resolve_function
from gearman_process.values.durations import format_duration

FILE_NAME: Final = "policies.yaml"


def policies_of(functions: Mapping[str, ResolvedFunction]) -> dict[str, dict[str, object]]:
    """The rules of each function, by the keys of the server's `--policies` file."""
    policies: dict[str, dict[str, object]] = {}
    for name, function in functions.items():
        policies[name] = {
            "retries": function.retries,
            "crash_retries": function.crash_retries,
            "backoff": format_duration(function.backoff_s),
            "max_backoff": format_duration(function.max_backoff_s),
        }
        limits = {"max_queue": function.max_queue, "max_running": function.max_running, "rate": function.rate}
        policies[name] |= {key: limit for key, limit in limits.items() if limit is not None}
        if function.keep_result_s is not None:
            policies[name]["keep_result"] = format_duration(max(0.001, function.keep_result_s))
        if function.timeout_s is not None:
            policies[name]["timeout"] = format_duration(max(0.001, function.timeout_s))
    return policies


def provisional_policies(config: Config) -> dict[str, dict[str, object]]:
    """The rules of the configuration alone, for the time before the modules are loaded: stored jobs and other workers
    may be there at once. A function may be named with the prefix or without."""
    resolved = {
        registered: resolve_function(
            FunctionIdentity(registered, name, pool=""), written, decorated=Function(), defaults=config.defaults
        )
        for name, written in config.functions.items()
        for registered in {name, config.prefix + name}
    }
    return policies_of(resolved)


def schedules_of(schedules: Mapping[str, Schedule]) -> dict[str, dict[str, Any]]:
    """The schedules, by the keys of the server's `--policies` file."""
    told: dict[str, dict[str, Any]] = {}
    for name, schedule in schedules.items():
        keys = {key: value for key in Schedule.model_fields if (value := getattr(schedule, key)) is not None}
        if schedule.every is not None:
            keys["every"] = format_duration(schedule.every)
        told[name] = keys
    return told


def write_policies(
    file: Path, functions: Mapping[str, Mapping[str, object]], schedules: Mapping[str, Mapping[str, object]]
) -> bool:
    """Write the file, as JSON, which is YAML too. It is replaced as a whole, so no reader sees half of it.

    Returns False if it held the same already.

    Raises:
        OSError: the file can't be written.
    """
    text = json.dumps({"functions": functions, "schedules": schedules}, indent=1, sort_keys=True)
    if file.exists() and file.read_text() == text:
        return False
    fresh = file.with_suffix(".fresh")
    # Workloads of schedules stand in it.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as written:
        written.write(text)
    os.replace(fresh, file)
    return True
