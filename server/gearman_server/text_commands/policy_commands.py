"""The text command `policies`: which rules hold for which functions. Pure.

A manager asks for it where it did not start the server itself, to say which of its own keys do not hold there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.policies import FunctionPolicy, Policies


def policy_table(policies: Policies) -> bytes:
    """A line for functions of which nothing is written, named `*`, then one for each of the others."""
    lines = [_line(b"*", policies.default)]
    lines += [_line(printable(name), policies.of(name)) for name in policies.by_function]
    return b"".join(lines) + b".\n"


def _line(name: bytes, policy: FunctionPolicy) -> bytes:
    rate = policy.rate
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
    )
    return b"\t".join([name, *map(_shown, values)]) + b"\n"


def _shown(value: float | str | None) -> bytes:
    if value is None:
        return b"-"
    return value.encode() if isinstance(value, str) else b"%.12g" % value
