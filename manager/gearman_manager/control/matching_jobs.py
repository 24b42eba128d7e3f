"""All jobs that match, but only those that were there when somebody looked: counted, cancelled, stopped, tried again.

Each job server is asked for its clock first: what came to it after the look is not meant, whatever the clocks of the
machines say. The time that the question takes makes this moment earlier, never later.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote

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
from gearman_manager.control.server_rows import Row, table_page
from gearman_manager.control.shown_finds import ShownFinds
from gearman_manager.errors import ManagerError, Unreachable
from gearman_manager.privacy import Privacy

#: How often one looks how many are left.
LOOK_S: Final = 0.5
#: How often a server is asked for its clock: the quickest answer counts.
_QUESTIONS: Final = 5
#: Jobs of one server that are listed at once.
_PAGE_LINES: Final = 1000
#: Jobs, or letters, of one server among which a change or a count finds by a text what may be private: the manager may
#: have to look into each of them.
MOST_JOBS: Final = 100_000
#: How often a list is read that a server has forgotten meanwhile, since others have begun too many.
_READINGS: Final = 5
#: How the jobs are changed whose handles are given.
_BY_HANDLE: Final = {"cancel": "jobs purge", "stop": "stop job", "retry": "dead retry", "drop": "dead drop"}


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
    #: As words of a text command, without the state; none: all. Moments are meant by the manager's clock.
    conditions: tuple[str, ...]
    #: Unix seconds, by the manager's clock.
    seen_at: float
    #: Of `jobs`; empty: any.
    state: str = ""

    def condition(self, name: str) -> str | None:
        """What is asked for by that name."""
        values = (unquote(word.partition("=")[2]) for word in self.conditions if word.startswith(f"{name}="))
        return next(values, None)


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

    def __init__(self, servers: ServerAccess, privacy: Privacy | None = None) -> None:
        """`privacy` says what must not be found."""
        self._servers = servers
        self._privacy = privacy or Privacy()

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
                    words = _words(server, admin, matching)
                    for state, count in self._count_on(admin, matching, words).items():
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
            finds = self._finds(matching)
            if finds is not None:
                for line in command_lines(_BY_HANDLE[what], [*_listed(admin, matching.family, words, finds)]):
                    change.done += affected(admin.command(line))
                if what == "retry":
                    change.left += Counts(self._count_on(admin, matching, words)).of(what)
                return
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
                running = _listed(admin, "jobs", _with_state(words, "running"), None)
                for line in command_lines("stop job", [*running]):
                    change.done += affected(admin.command(line))
            if what == "retry":
                change.left += _concerned(admin, what, words)

    def _finds(self, matching: Matching) -> ShownFinds | None:
        """What tells which of the jobs that a server finds may be found; None: all of them."""
        text, unique = matching.condition("text") or "", matching.condition("unique") or ""
        finds = ShownFinds(self._privacy, text, unique)
        return finds if finds.needs_looks(matching.condition("function")) else None

    def _count_on(self, admin: AdminClient, matching: Matching, words: list[str]) -> dict[str, int]:
        finds = self._finds(matching)
        if finds is None:
            return _count(admin, matching.family, words)
        return Counter(_listed(admin, matching.family, words, finds).values())

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
    return "jobs purge all" if matching.state in ("", "waiting", "delayed") else None


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
    until, since = (
        min(matching.seen_at, float(matching.condition("until") or matching.seen_at)),
        matching.condition("since"),
    )
    moments = [f"until={max(0.0, until + lead):.6f}"]
    moments += [f"since={max(0.0, float(since) + lead):.6f}"] if since is not None else []
    return [*(word for word in matching.conditions if not word.startswith(("until=", "since="))), *state, *moments]


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


def _listed(admin: AdminClient, family: str, words: list[str], finds: ShownFinds | None) -> dict[str, str]:
    """The states of all jobs that match, by their handles. `finds` tells which of them may be found; None: all.

    They are read before any is changed: a change takes long, and a server remembers a list for a minute only.

    Raises:
        ManagerError: too many would have to be looked into.
    """
    there_are = 0 if finds is None else sum(_count(admin, family, []).values())
    if there_are > MOST_JOBS:  # not those that were found: their number is private
        raise ManagerError(
            f"a text or a unique key is not looked for among {there_are:,} jobs, since some may be private, but among "
            f"{MOST_JOBS:,} at most: choose a function without rules of privacy, or other conditions"
        )
    for left in reversed(range(_READINGS)):
        try:
            pages = _pages(admin, family, words, finds)
            return {row["handle"]: row.get("state", "dead") for found in pages for row in found}
        except AdminError as error:
            if error.code != "UNKNOWN_CURSOR" or not left:
                raise
    raise AssertionError("the last reading has returned or raised")


def _pages(admin: AdminClient, family: str, words: list[str], finds: ShownFinds | None) -> Iterator[list[Row]]:
    after: str | None = None
    while True:
        if finds is not None:
            rows, after = finds.page(admin, family, words, _PAGE_LINES, after)
        else:
            place = [] if after is None else [f"after={after}"]
            rows, after = table_page(
                admin, family, " ".join([f"{family} list", *words, f"limit={_PAGE_LINES}", *place])
            )
        yield rows
        if after is None:
            return


def _with_state(words: list[str], state: str) -> list[str]:
    return [*(word for word in words if not word.startswith("state=")), f"state={state}"]
