"""Who else works on a pool's functions: other managers and foreign workers, as the job servers list them. Pure.

A supervisor's connection (`gm:MANAGER`) says that the manager is there, its workers' (`gm:MANAGER/POOL/N`) which
functions it serves; workers of other names belong to nobody. A manager whose pool went to zero shows no worker, so it
is remembered while its supervisor is there, but nobody is counted on who lets jobs wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gearman_client import ConnectedWorker

PREFIX: Final = "gm:"
#: Jobs that wait so long are not taken by those of whom it was expected.
PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Peers:
    """The connections of one job server, as far as they matter here."""

    supervisors: frozenset[str] = frozenset()
    managers: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by function, those with workers for it
    unlabelled: tuple[frozenset[str], ...] = ()  # the functions of each worker that belongs to no manager

    @classmethod
    def of(cls, connections: Iterable[ConnectedWorker]) -> Peers:
        """From the answer to the text command `workers`."""
        supervisors: set[str] = set()
        managers: dict[str, set[str]] = {}
        unlabelled = []
        for connection in connections:
            manager, is_worker = _manager(connection.client_id)
            if manager is None:
                if connection.functions:
                    unlabelled.append(frozenset(connection.functions))
            elif not is_worker:
                supervisors.add(manager)
            for function in connection.functions if manager else ():
                managers.setdefault(function, set()).add(manager or "")
        serving = {function: frozenset(names) for function, names in managers.items()}
        return cls(frozenset(supervisors), serving, tuple(unlabelled))


def _manager(client_id: str) -> tuple[str | None, bool]:
    """Whose connection this is, and whether it is a worker's."""
    if not client_id.startswith(PREFIX):
        return None, False
    name, slash, _ = client_id.removeprefix(PREFIX).partition("/")
    return name, bool(slash)


@dataclass(frozen=True, slots=True)
class Company:
    """Who serves a pool's functions: how many managers, this one's place among them, and workers of nobody."""

    managers: int = 1
    rank: int = 0
    foreign_workers: int = 0


class Neighbours:
    """What is known of one pool's company."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._patient_until: dict[str, float] = {}  # by other manager: how long it is counted on without a worker
        self._stalled_since: float | None = None  # since when jobs wait and none runs
        self.next_change: float | None = None  # when patience with somebody ends

    def company(
        self, now: float, servers: Sequence[Peers], functions: Collection[str], queued: int, running: int
    ) -> Company:
        """Who is to be counted on now."""
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
        """Note those with workers for these functions, and those that had some and were not needed since.

        Returns when patience with those ends that show no worker while jobs wait.
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
