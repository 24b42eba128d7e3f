"""Writes the policies file of a bundled job server: the functions' keys that it enforces, and the schedules."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gearman_manager.config import Config, Function, ResolvedFunction, Schedule
from gearman_manager.config.resolve import FunctionIdentity, resolve_function
from gearman_process.values.durations import format_duration

_FILE_NAME: Final = re.compile(r"policies(-[0-9]+)?\.yaml")


def file_name(number: int) -> str:
    """The name of a job server's file in the run folder; the first one's is that of a single one."""
    return "policies.yaml" if number == 1 else f"policies-{number}.yaml"


def is_file_name(name: str) -> bool:
    """Whether a file of this name in the run folder is one of ours."""
    return _FILE_NAME.fullmatch(name) is not None


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
        if function.allow_options is not None:
            policies[name]["allow_options"] = list(function.allow_options)
        if function.unique_scope != "server":
            policies[name]["unique_scope"] = function.unique_scope
        per_key = {"max_running": function.key_max_running, "rate": function.key_rate}
        keys = {
            "per_key": {key: limit for key, limit in per_key.items() if limit is not None},
            "fair": function.is_fair,
            "weights": dict(function.weights) if function.is_fair else {},
        }
        policies[name] |= {key: value for key, value in keys.items() if value}
        if function.brake is not None:
            brake = function.brake
            hold = format_duration(max(0.001, brake.hold))
            policies[name]["brake"] = {"failures": brake.failures, "hold": hold, "probe": brake.probe}
        if function.keep_result_s is not None:
            policies[name]["keep_result"] = format_duration(max(0.001, function.keep_result_s))
        if function.privacy.retention_s is not None:
            policies[name]["retention"] = format_duration(max(0.001, function.privacy.retention_s))
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
