"""The text command `policies`: the rules for each function. Pure.

A manager sends it to a server that it did not start itself, to report which of its own keys have no effect there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.policies import FunctionPolicy, Policies


def policy_lines(policies: Policies) -> Iterator[bytes]:
    """A line named `*` for functions without rules of their own, then one for each of the others."""
    yield _line(b"*", policies.default)
    for name in policies.by_function:  # they are replaced as a whole, never changed
        yield _line(printable(name), policies.of(name))


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
