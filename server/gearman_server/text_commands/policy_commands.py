"""The text command `policies`: the rules for each function. Pure.

A manager sends it to a server that it did not start itself, to report which of its own keys have no effect there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Policies


def policy_lines(policies: Policies) -> Iterator[bytes]:
    """A line named `*` for functions without rules of their own, then one for each of the others."""
    yield _line(b"*", policies.default)
    for name in policies.by_function:  # they are replaced as a whole, never changed
        yield _line(printable(name), policies.of(name))


def _line(name: bytes, policy: FunctionPolicy) -> bytes:
    rate, brake = policy.rate, policy.brake
    failures = None if brake is None else f"{brake.failures.count}/{brake.failures.per_s:g}"
    values = (
        policy.timeout_s,
        policy.retries,
        policy.crash_retries,
        policy.backoff_s,
        policy.max_backoff_s,
        policy.max_queue,
        policy.max_running,
        None if rate is None else f"{rate.count}/{rate.per_s:g}",
        policy.keep_result_s,
        None if policy.allow_options is None else ",".join(sorted(policy.allow_options)) or "none",
        _shown_keys(policy.keys),
        None if brake is None else f"{failures}/{brake.hold_s:g}/{brake.probe}",
        "cluster" if policy.is_unique_in_cluster else None,
        policy.retention_s,
    )
    return b"\t".join([name, *map(_shown, values)]) + b"\n"


def _shown_keys(keys: KeyPolicy | None) -> str | None:
    """The rules for keys, separated by commas: `fair,max_running=5,rate=100/60,weights=2`."""
    if keys is None:
        return None
    rate = keys.rate
    rules = {
        "fair": keys.is_fair,
        f"max_running={keys.max_running}": keys.max_running is not None,
        f"rate={rate.count}/{rate.per_s:g}" if rate is not None else "": rate is not None,
        f"weights={len(keys.weights)}": bool(keys.weights),
    }
    return ",".join(rule for rule, is_set in rules.items() if is_set)


def _shown(value: float | str | None) -> bytes:
    if value is None:
        return b"-"
    return value.encode() if isinstance(value, str) else b"%.12g" % value
