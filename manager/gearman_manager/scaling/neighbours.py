"""The other managers and the foreign workers that serve a pool's functions, as the job servers list them. Pure.

A supervisor's connection (`gm:MANAGER`) shows that the manager is there; its workers' connections (`gm:MANAGER/POOL/N`)
show the functions that it serves. Workers with other names are foreign. A manager whose pool went to zero shows no
worker, so it is remembered while its supervisor is connected. Managers and workers that let jobs wait don't count.

Pools with a maximum over all managers are announced before they have workers: `gm:MANAGER+MARKS`, six digits for each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from gearman_client.admin.tables import ConnectedWorker

PREFIX: Final = "gm:"
#: Neighbours that let jobs wait this long are no longer expected to take them.
PATIENCE_S: Final = 2.0
_MARK_DIGITS: Final = 6
_ANNOUNCED: Final = re.compile(rf"(.+)\+((?:[0-9a-f]{{{_MARK_DIGITS}}})+)")


def mark_of(pool: str) -> str:
    """The mark of a pool's name: short, because gearmand cuts the name of a connection after 127 bytes."""
    return blake2b(pool.encode(), digest_size=_MARK_DIGITS // 2).hexdigest()


def announced_name(manager: str, pools: Iterable[str]) -> str:
    """The manager's name with the marks of these pools."""
    marks = "".join(sorted(map(mark_of, pools)))
    return f"{manager}+{marks}" if marks else manager


@dataclass(frozen=True, slots=True)
class Peers:
    """The connections of one job server, as far as they matter here."""

    supervisors: frozenset[str] = frozenset()
    managers: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: by function, managers with workers for it
    unlabelled: tuple[frozenset[str], ...] = ()  #: the functions of each foreign worker
    announced: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: by mark, the managers that announce it
    crews: Mapping[tuple[str, str], int] = field(default_factory=dict)  #: by manager and pool, the number of workers

    @classmethod
    def of(cls, connections: Iterable[ConnectedWorker]) -> Peers:
        """From the answer to the text command `workers`."""
        supervisors: set[str] = set()
        managers: dict[str, set[str]] = {}
        unlabelled = []
        announced: dict[str, set[str]] = {}
        crews = Counter[tuple[str, str]]()
        for connection in connections:
            name, slash, worker = connection.client_id.removeprefix(PREFIX).partition("/")
            if not connection.client_id.startswith(PREFIX):
                if connection.functions:
                    unlabelled.append(frozenset(connection.functions))
                continue
            if slash:
                crews[name, worker.partition("/")[0]] += 1
            else:
                name, marks = _without_marks(name)
                supervisors.add(name)
                for mark in marks:
                    announced.setdefault(mark, set()).add(name)
            for function in connection.functions:
                managers.setdefault(function, set()).add(name)
        return cls(frozenset(supervisors), _frozen(managers), tuple(unlabelled), _frozen(announced), dict(crews))


def _frozen(names: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(values) for key, values in names.items()}


def _without_marks(name: str) -> tuple[str, list[str]]:
    """A supervisor's name in two parts: the manager, and the marks of its pools."""
    announced = _ANNOUNCED.fullmatch(name)
    if announced is None:
        return name, []
    marks = announced[2]
    return announced[1], [marks[at : at + _MARK_DIGITS] for at in range(0, len(marks), _MARK_DIGITS)]


@dataclass(frozen=True, slots=True)
class Company:
    """The managers that serve a pool's functions, this one's rank among them, and the number of foreign workers."""

    managers: int = 1
    rank: int = 0
    foreign_workers: int = 0


class Neighbours:
    """The memory of one pool's company."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._patient_until: dict[str, float] = {}  # by other manager: how long it counts without a worker
        self._stalled_since: float | None = None  # since then jobs wait and none runs
        self.next_change: float | None = None  # when patience with a neighbour ends

    def company(
        self, now: float, servers: Sequence[Peers], functions: Collection[str], queued: int, running: int
    ) -> Company:
        """The company that counts now."""
        deadlines = self._look_at_managers(now, servers, functions, is_waiting=queued > 0)
        names = sorted({*self._patient_until, self._own_name})
        foreign_workers = max((_count_foreign(peers, functions) for peers in servers), default=0)
        if not queued or running or not foreign_workers:
            self._stalled_since = None
        else:
            self._stalled_since = now if self._stalled_since is None else self._stalled_since
            if now >= self._stalled_since + PATIENCE_S:
                foreign_workers = 0
            else:
                deadlines.append(self._stalled_since + PATIENCE_S)
        self.next_change = min(deadlines, default=None)
        return Company(len(names), names.index(self._own_name), foreign_workers)

    def _look_at_managers(
        self, now: float, servers: Sequence[Peers], functions: Collection[str], *, is_waiting: bool
    ) -> list[float]:
        """Note the managers that have workers for these functions, or had some and were not needed since.

        Returns the times at which patience ends with managers that show no worker while jobs wait.
        """
        serving = {name for peers in servers for function in functions for name in peers.managers.get(function, ())}
        connected = {name for peers in servers for name in peers.supervisors}
        patient_until = dict.fromkeys(serving - {self._own_name}, now + PATIENCE_S)
        deadlines = []
        for name in (self._patient_until.keys() & connected) - serving:
            until = self._patient_until[name] if is_waiting else now + PATIENCE_S
            if now < until:
                patient_until[name] = until
            if now < until and is_waiting:
                deadlines.append(until)
        self._patient_until = patient_until
        return deadlines


def _count_foreign(peers: Peers, functions: Collection[str]) -> int:
    return sum(not served.isdisjoint(functions) for served in peers.unlabelled)
