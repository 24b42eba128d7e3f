"""The rules: which of the things that were seen are troubles. Pure functions over a snapshot and what came before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final
from urllib.parse import urlencode

from gearman_manager.alerts.memory import Memory
from gearman_manager.alerts.snapshot import Snapshot
from gearman_manager.config.alert_keys import AlertRules
from gearman_process.values.durations import format_duration
from gearman_process.values.rates import parse_rate

#: The time over which dead letters count.
DEAD_WINDOW_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One trouble."""

    rule: str
    kind: str  #: `function`, `pool`, `job server` or `manager`
    name: str
    since: float  #: monotonic seconds
    text: str
    last_error: str = ""
    look: str = ""  #: a command that shows more

    @property
    def key(self) -> tuple[str, str]:
        """Two findings with one key are the same trouble, seen twice."""
        return self.rule, self.name


def failures_of(rules: AlertRules) -> tuple[int, float]:
    """The number and the window, in seconds, of the rule `failures`; 0 if it does not hold."""
    parsed = parse_rate(rules.failures) if rules.failures else None
    return (0, 0.0) if parsed is None else parsed


def findings(rules: AlertRules, seen: Snapshot, memory: Memory) -> list[Finding]:
    """All troubles now; the look must be in the memory already."""
    return [finding for rule in _RULES for finding in rule(rules, seen, memory)]


def _waiting(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    if rules.waiting is None:
        return
    limit = format_duration(rules.waiting)
    for name, function in seen.functions.items():
        since, handle = function.oldest or (memory.functions[name].stalled_since, "")
        if since is None or seen.now - since < rules.waiting:
            continue
        which = f" ({handle})" if handle else ""
        text = f"{function.waiting} jobs wait, the oldest{which} for longer than {limit}"
        error = next((pool.last_error for pool in seen.pools.values() if name in pool.functions), "")
        yield Finding("waiting", "function", name, since, text, error, f"gearman-manager jobs list {quote(name)}")


def _failures(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    most, window_s = failures_of(rules)
    if not most:
        return
    for name, pool in seen.pools.items():
        readings = memory.pools[name].failed
        failed = pool.failed - readings[0][1]
        if failed >= most:
            text = f"{failed} jobs failed in {format_duration(window_s)}"
            since = readings[0][0]
            look = f"gearman-manager logs {name}{_page(seen, pool.functions)}"
            yield Finding("failures", "pool", name, since, text, pool.job_error, look)


def _dead(rules: AlertRules, seen: Snapshot, _memory: Memory) -> Iterator[Finding]:
    if rules.dead is None:
        return
    recent = [letter for letter in seen.letters if letter.died > seen.unix_now - DEAD_WINDOW_S]
    for name, count in Counter(letter.function for letter in recent).items():
        if count < rules.dead:
            continue
        mine = sorted((letter for letter in recent if letter.function == name), key=lambda letter: letter.died)
        since = seen.now - max(0.0, seen.unix_now - mine[0].died)
        text = (
            f"{count} background job{'s' * (count > 1)} failed for good within an hour, the last one {mine[-1].handle}"
        )
        look = f"gearman-manager dead list {quote(name)}{_page(seen, [name])}"
        yield Finding("dead", "function", name, since, text, mine[-1].error, look)


def _page(seen: Snapshot, functions: Sequence[str]) -> str:
    """The page where the failures are grouped, as words after a command; empty: there is none."""
    if not seen.pages:
        return ""
    query = "?" + urlencode({"function": functions[0]}) if len(functions) == 1 else ""
    return f", or {seen.pages}failures{query}"


def _crash_loop(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    if not rules.crash_loop:
        return
    for name, pool in seen.pools.items():
        since = memory.pools[name].crashing_since
        if since is not None:
            others = "others serve" if pool.has_workers else "none is left"
            text = f"its workers die as soon as they are replaced, {others}"
            yield Finding("crash_loop", "pool", name, since, text, pool.last_error, f"gearman-manager logs {name}")


def _no_jobs(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    for name, limit_s in rules.no_jobs.items():
        function = memory.functions.get(name)
        if function is not None and seen.now - function.active_at >= limit_s:
            text = f"it has had no job for {format_duration(limit_s)}"
            yield Finding("no_jobs", "function", name, function.active_at, text, "", "gearman-manager status")


def _server_down(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    for name in seen.servers if rules.server_down is not None else ():
        since = memory.servers[name].down_since
        if since is not None and rules.server_down is not None and seen.now - since >= rules.server_down:
            yield Finding("server_down", "job server", name, since, "it does not answer", "", "gearman-manager status")


def _peer_down(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    for name, peer in seen.peers.items() if rules.peer_down is not None else ():
        since = memory.peers[name]
        if since is not None and rules.peer_down is not None and seen.now - since >= rules.peer_down:
            text, look = "it does not answer", "gearman-manager peers"
            yield Finding("peer_down", "manager", name, since, text, peer.error, look)


def _store(rules: AlertRules, seen: Snapshot, memory: Memory) -> Iterator[Finding]:
    for name, server in seen.servers.items() if rules.store else ():
        since = memory.servers[name].trouble_since
        if since is not None:
            text = "it can't do all of its work"
            yield Finding("store", "job server", name, since, text, server.trouble, "gearman-manager logs")


Rule = Callable[[AlertRules, Snapshot, Memory], Iterator[Finding]]
_RULES: Final[tuple[Rule, ...]] = (_store, _server_down, _peer_down, _crash_loop, _failures, _dead, _waiting, _no_jobs)
