"""All jobs that match, but only those that were there when somebody looked: counted, cancelled, stopped, tried again.

Each job server is asked for its clock first: what came to it after the look is not meant, whatever the clocks of the
machines say. The time that the question takes makes this moment earlier, never later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import gevent

from gearman_client import AdminClient, AdminError
from gearman_manager.control.bulk_changes import BulkChange
from gearman_manager.control.server_access import (
    CHANGE_TIMEOUT_S,
    ServerAccess,
    affected,
    command_lines,
    lines_of,
    refusal,
)
from gearman_manager.errors import ManagerError, Unreachable

#: How often one looks how many are left.
LOOK_S: Final = 0.5
#: How often a server is asked for its clock: the quickest answer counts.
_QUESTIONS: Final = 5
#: Running jobs of one server that are listed at once.
_PAGE_LINES: Final = 1000


class Kind(NamedTuple):
    """A kind of change: of which family of jobs, and in which states these must be."""

    family: str
    states: tuple[str, ...]


CHANGES: Final[Mapping[str, Kind]] = {
    "cancel": Kind("jobs", ("waiting", "delayed")),
    "stop": Kind("jobs", ("waiting", "delayed", "running")),
    "retry": Kind("dead", ("dead",)),
    "drop": Kind("dead", ("dead",)),
}


@dataclass(frozen=True, slots=True)
class Matching:
    """Those that are meant: the `jobs` or `dead` letters that meet all conditions, and were there at that moment."""

    family: str
    #: As words of a text command, without the state; none: all.
    conditions: tuple[str, ...]
    #: Unix seconds, by the manager's clock.
    seen_at: float
    #: Of `jobs`; empty: any.
    state: str = ""


@dataclass(slots=True)
class Counts:
    """How many there are, by state, and why the job servers that can't be asked are missing."""

    by_state: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def of(self, what: str) -> int:
        """How many of them a change concerns."""
        return sum(self.by_state.get(state, 0) for state in CHANGES[what].states)


class MatchingJobs:
    """Asks the job servers."""

    def __init__(self, servers: ServerAccess) -> None:
        self._servers = servers

    def count(self, matching: Matching) -> Counts:
        """Count them.

        Raises:
            ManagerError: no job server can be asked, or one refuses the conditions.
        """
        counts = Counts()
        servers = self._servers.having(matching.family)
        for server in servers:
            try:
                with self._servers.connected(server, CHANGE_TIMEOUT_S) as admin:
                    for state, count in _count(admin, matching.family, _words(server, admin, matching)).items():
                        counts.by_state[state] = counts.by_state.get(state, 0) + count
            except Unreachable as error:
                counts.missing.append(str(error))
        if len(counts.missing) == len(servers):
            raise Unreachable("; ".join(counts.missing))
        return counts

    def change(self, what: str, matching: Matching, change: BulkChange) -> None:
        """Change all of them: `cancel`, `stop`, `retry` or `drop`; notes in `change` what has become of them."""
        for server in self._servers.having(matching.family):
            try:
                self._change_on(server, what, matching, change)
            except ManagerError as error:
                change.problems.append(str(error))

    def _change_on(self, server: str, what: str, matching: Matching, change: BulkChange) -> None:
        with self._servers.connected(server, CHANGE_TIMEOUT_S) as admin:
            words = _words(server, admin, matching)
            command = _command(what, matching)
            if command is not None:
                there_are = _concerned(admin, what, words)
                watcher = gevent.spawn(self._watch, server, what, words, (change, there_are))
                try:
                    change.done += affected(admin.command(" ".join([command, *words])))
                finally:
                    watcher.kill()
                    change.underway = 0
            if what == "stop" and matching.state in ("", "running"):
                for line in command_lines("stop job", _running(admin, words)):
                    change.done += affected(admin.command(line))
            if what == "retry":
                change.left += _concerned(admin, what, words)

    def _watch(self, server: str, what: str, words: list[str], progress: tuple[BulkChange, int]) -> None:
        """Note how many of those that there were are changed so far, as long as that lasts."""
        change, there_were = progress
        with suppress(ManagerError), self._servers.connected(server, CHANGE_TIMEOUT_S) as admin:
            while True:
                gevent.sleep(LOOK_S)
                change.underway = max(0, there_were - _concerned(admin, what, words))


def _command(what: str, matching: Matching) -> str | None:
    """The command that changes all of them at once; None: those in this state are changed one by one, or not at all."""
    if matching.family == "dead":
        return f"dead {what} all"
    if matching.state not in ("", "waiting", "delayed"):
        return None
    is_some = any(word.startswith(("function=", "tag=", "key=")) for word in matching.conditions)
    return "jobs purge" if is_some else "jobs purge all"


def _words(server: str, admin: AdminClient, matching: Matching) -> list[str]:
    """The conditions for one job server, with the moment by its clock.

    Raises:
        Unreachable: it is too old for that.
    """
    try:
        lead = max(_lead(admin) for _ in range(_QUESTIONS))
    except AdminError as error:
        if not error.code.startswith("INVALID"):
            raise
        raise Unreachable(
            f"{server} is an older gearman-server, which can't tell jobs that were there from later ones: upgrade it"
        ) from error
    state = [f"state={matching.state}"] if matching.state else []
    return [*matching.conditions, *state, f"until={max(0.0, matching.seen_at + lead):.6f}"]


def _lead(admin: AdminClient) -> float:
    """By how much the server's clock is ahead of ours at least, in seconds: the answer's way makes it less."""
    answer = admin.command("jobs clock")
    if not answer.startswith(b"OK "):
        raise refusal(answer)
    return float(answer.split()[1]) - time.time()


def _count(admin: AdminClient, family: str, words: list[str]) -> dict[str, int]:
    rows = (line.split(b"\t") for line in lines_of(admin.command(" ".join([f"{family} count", *words]))))
    return {state.decode(): int(count) for state, count in rows}


def _concerned(admin: AdminClient, what: str, words: list[str]) -> int:
    return Counts(_count(admin, CHANGES[what].family, words)).of(what)


def _running(admin: AdminClient, words: list[str]) -> list[str]:
    """The handles of those that run: no more than there are workers."""
    chosen = [*(word for word in words if word != "state=running"), "state=running", f"limit={_PAGE_LINES}"]
    handles: list[str] = []
    after: list[str] | None = []
    while after is not None:
        rows = [line.split(b"\t") for line in lines_of(admin.command(" ".join(["jobs list", *chosen, *after])))]
        after = [f"after={rows.pop()[1].decode()}"] if rows and len(rows[-1]) == 2 else None
        handles += [row[0].decode(errors="replace") for row in rows]
    return handles
