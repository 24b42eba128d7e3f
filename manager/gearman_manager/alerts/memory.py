"""What the rules have to remember from one look to the next: since when something is so. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gearman_manager.alerts.snapshot import FunctionView, PoolView, Snapshot

V = TypeVar("V")
#: Readings of a pool's failures that are kept: for a rule over an hour one every twenty seconds.
MOST_READINGS: Final = 200


@dataclass(slots=True)
class PoolMemory:
    """A pool so far."""

    crashing_since: float | None = None
    ended: int = 0
    #: With their times; the first one is the last that is out of the window.
    failed: deque[tuple[float, int]] = field(default_factory=deque)


@dataclass(slots=True)
class FunctionMemory:
    """A function so far."""

    #: Since when jobs wait all the time, and since when none of those that could start has been taken.
    waiting_since: float | None = None
    stalled_since: float | None = None
    startable: int = 0
    active_at: float = 0.0  #: when it had a job last, or when it was seen first
    is_busy: bool = False  #: jobs of it were seen in the last look


@dataclass(slots=True)
class ServerMemory:
    """A job server so far."""

    down_since: float | None = None
    trouble_since: float | None = None


@dataclass(slots=True)
class Memory:
    """By name. What is gone is forgotten."""

    pools: dict[str, PoolMemory] = field(default_factory=dict)
    functions: dict[str, FunctionMemory] = field(default_factory=dict)
    servers: dict[str, ServerMemory] = field(default_factory=dict)
    #: Since when each manager does not answer.
    peers: dict[str, float | None] = field(default_factory=dict)

    def take_in(self, seen: Snapshot, failures_window_s: float) -> None:
        """Remember a look."""
        _keep_only(self.pools, seen.pools)
        _keep_only(self.functions, seen.functions)
        _keep_only(self.servers, seen.servers)
        _keep_only(self.peers, seen.peers)
        for name, function in seen.functions.items():
            memory = self.functions.setdefault(name, FunctionMemory(active_at=seen.now))
            _take_in_function(memory, function, seen.now)
        for name, pool in seen.pools.items():
            self._take_in_pool(name, pool, seen, failures_window_s)
        for name, server in seen.servers.items():
            of_server = self.servers.setdefault(name, ServerMemory())
            of_server.down_since = _since(of_server.down_since, server.is_answering is False, seen.now)
            of_server.trouble_since = _since(of_server.trouble_since, bool(server.trouble), seen.now)

        for name, peer in seen.peers.items():
            self.peers[name] = _since(self.peers.get(name), peer.is_answering is False, seen.now)

    def _take_in_pool(self, name: str, pool: PoolView, seen: Snapshot, window_s: float) -> None:
        memory = self.pools.setdefault(name, PoolMemory(ended=pool.ended))
        memory.crashing_since = _since(memory.crashing_since, pool.is_crashing, seen.now)
        readings = memory.failed
        if not readings or seen.now - readings[-1][0] >= window_s / MOST_READINGS:
            readings.append((seen.now, pool.failed))
        while len(readings) > 1 and readings[1][0] <= seen.now - window_s:
            readings.popleft()
        if pool.ended != memory.ended:
            memory.ended = pool.ended
            self._note_jobs(pool, seen.now)

    def _note_jobs(self, pool: PoolView, now: float) -> None:
        """The pool's workers have ended jobs. Short ones may never be seen in a queue, and the workers do not tell of
        which function they were: those of the pool whose jobs were not seen just now may have had some."""
        mine = [self.functions[name] for name in pool.functions if name in self.functions]
        if not any(memory.is_busy for memory in mine):
            for memory in mine:
                memory.active_at = now


def _take_in_function(memory: FunctionMemory, seen: FunctionView, now: float) -> None:
    memory.is_busy = seen.waiting > 0 or seen.running > 0
    if memory.is_busy:
        memory.active_at = now
    memory.waiting_since = _since(memory.waiting_since, seen.waiting > 0 and not seen.is_paused, now)
    is_stalled = 0 < memory.startable <= seen.startable
    memory.stalled_since = _since(memory.stalled_since, is_stalled and not seen.is_paused, now)
    memory.startable = seen.startable


def _since(before: float | None, is_so: bool, now: float) -> float | None:
    if not is_so:
        return None
    return now if before is None else before


def _keep_only(kept: dict[str, V], names: Iterable[str]) -> None:
    for name in kept.keys() - set(names):
        del kept[name]
