"""Asks the job servers, by text commands, for their jobs, dead letters and schedules, for the control API.

Only our own job server knows these commands; `missing` or the error names a foreign one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import quote

from gearman_client import Address, AdminClient, AdminError
from gearman_manager.control.private_rows import shown_row
from gearman_manager.control.server_access import (
    CHANGE_TIMEOUT_S,
    SHARED,
    ServerAccess,
    affected,
    command_lines,
    lines_of,
    refusal,
    word,
)
from gearman_manager.control.server_rows import COLUMNS, Row, details_of, row_of, table_page
from gearman_manager.control.shown_finds import ShownFinds
from gearman_manager.control.turns import Turns
from gearman_manager.errors import ManagerError, NotFound, Unreachable
from gearman_manager.privacy import Privacy

_LISTS: Final[Mapping[str, str]] = {
    "jobs": "jobs list",
    "jobs/keys": "jobs keys",
    "jobs/batches": "jobs batches",
    "dead": "dead list",
}
_BATCHES: Final = "jobs/batches"
#: Those whose rows have workloads.
_OF_JOBS: Final = ("jobs", "dead")
#: What there can be one of, and the answer if there is none.
_ONES: Final = {"jobs": "job", _BATCHES: "batch", "dead": "dead letter"}
DEFAULT_LINES: Final = 100
_NO_SUCH: Final = (b"ERR UNKNOWN_JOB", b"ERR UNKNOWN_BATCH")


class ServerJobs:
    """Asks the job servers, in the order in which they are configured."""

    def __init__(
        self,
        addresses: Callable[[], Sequence[Address]],
        clusters: Callable[[], Sequence[Sequence[Address]]] | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        """`clusters` gives the same servers by cluster, first the one to ask; one without a cluster is alone. `privacy`
        says what is left out of their answers."""
        self._privacy = privacy or Privacy()
        self.servers = ServerAccess(addresses, clusters or (lambda: [(address,) for address in addresses()]))

    def page(self, family: str, conditions: Mapping[str, str]) -> dict[str, Any]:
        """A page of `jobs`, of `dead` letters, of `jobs/keys`, or of `jobs/batches`; `next` says where the next page
        begins, None after the last page of the last server; `looked` and `of`, if they are there, how many of how many
        jobs of this server were looked at. `conditions` are those of the text command, and the
        `server` to begin with. If one of several servers can't be asked its page is empty, and `missing` gives the
        reason.

        Raises:
            ManagerError: the only server can't be asked, or one refuses the conditions.
        """
        addresses = self.servers.having(family)
        server = conditions.get("server") or addresses[0]
        if family in SHARED:  # the cluster may be asked by way of another server than for the last page
            clusters = ([*map(str, cluster)] for cluster in self.servers.clusters())
            server = next((cluster[0] for cluster in clusters if server in cluster), server)
        if server not in addresses:
            raise ManagerError(f"{server} is none of the job servers: {', '.join(addresses)}")
        words = [f"{name}={quote(value)}" for name, value in conditions.items() if name != "server" and value]
        finds = ShownFinds(self._privacy, conditions.get("text", ""), conditions.get("unique", ""))
        try:
            with self.servers.connected(server) as admin:
                if family in _OF_JOBS and finds.needs_looks(conditions.get("function")):
                    limit = int(conditions.get("limit", DEFAULT_LINES))
                    words = [word for word in words if not word.startswith(("limit=", "after="))]
                    rows, cursor = finds.page(admin, family, words, limit, conditions.get("after"))
                else:
                    rows, cursor = table_page(admin, family, " ".join([_LISTS[family], *words]))
        except Unreachable as error:
            if not addresses[1:]:
                raise
            return {"jobs": [], "next": _next(addresses, server, None), "missing": str(error)}
        rows = [{**row, "server": server} for row in rows]
        if family in _OF_JOBS:
            rows = shown_rows(rows, self._privacy)
        return {"jobs": rows, "next": _next(addresses, server, cursor), **_how_far(cursor)}

    def show(self, family: str, handle: str) -> Row:
        """All details of one of `jobs` or `dead` letters by its handle, or of `jobs/batches` by its id.

        Raises:
            ManagerError: no server that can be asked has it.
        """
        command = _batch(handle) if family == _BATCHES else f"{family} show {word(handle)}"
        servers, missing = list(self.servers.by_name()), []
        for server in servers:
            try:
                with self.servers.connected(server) as admin:
                    answer = admin.command(command)
                    if not answer.startswith(_NO_SUCH):
                        row = {**details_of(lines_of(answer)), "server": server}
                        return shown_row(row, self._privacy.of(row["function"])) if family in _OF_JOBS else row
            except Unreachable as error:
                missing.append(str(error))
        if len(missing) == len(servers):
            raise Unreachable("; ".join(missing))
        raise NotFound("; ".join([f"there is no {_ONES[family]} {handle}", *missing]))

    def cancel(self, handles: Sequence[str]) -> int:
        """Cancel jobs; returns how many were found.

        Raises:
            ManagerError: a server refused, for example because commands from this host may not change anything.
        """
        cancelled = 0
        for server in self.servers.by_name():
            with self.servers.connected(server) as admin:
                for handle in handles:
                    answer = admin.command(f"cancel job {word(handle)}")
                    if answer.startswith(b"ERR NOT_ALLOWED"):
                        raise refusal(answer)
                    cancelled += answer.startswith(b"OK")
        return cancelled

    def stop(self, handles: Sequence[str]) -> int:
        """Stop jobs, and cancel those that wait; returns how many were found.

        Raises:
            ManagerError: a server does not know the command, or refuses it.
        """
        stopped, left = 0, list(handles)
        for server in self.servers.by_name():
            with self.servers.connected(server, CHANGE_TIMEOUT_S) as admin:
                # One by one: a server of a cluster also stops the jobs of the others, which would stop them once more.
                found = [handle for handle in left if affected(admin.command(f"stop job {word(handle)}"))]
            stopped += len(found)
            left = [handle for handle in left if handle not in found]
        return stopped

    def end_batch(self, name: str, how: str) -> int | None:
        """Close a batch of jobs, or also cancel or stop its jobs; returns how many these were, None: it is just closed.

        Raises:
            ManagerError: no server has it, or a server refuses, or can't write it; those before it have done it.
        """
        is_known, ended = False, 0
        for server in self.servers.one_of_each():
            with self.servers.connected(server, CHANGE_TIMEOUT_S) as admin:
                answer = admin.command(f"{_batch(name)} {how}")
                if answer.startswith(_NO_SUCH):
                    continue
                if not answer.startswith(b"OK"):
                    raise refusal(answer)
                is_known = True
                ended += sum(map(int, answer.split()[1:]))
        if not is_known:
            raise NotFound(f"there is no batch {name}")
        return None if how == "close" else ended

    def change(self, command: str, arguments: Sequence[str]) -> int:
        """Run a command that changes jobs, such as `dead retry`, on every server, or on those that have all of what it
        changes; returns the number of affected jobs.

        Raises:
            ManagerError: a server does not know the command, or refuses it.
        """
        return self._change(command, [" ".join([command, *arguments])])

    def change_each(self, command: str, handles: Sequence[str]) -> int:
        """The same for these jobs, however many they are.

        Raises:
            ManagerError: as `change`; some may be changed already.
        """
        return self._change(command, list(command_lines(command, handles)))

    def _change(self, command: str, lines: Sequence[str]) -> int:
        changed = 0
        for server in self.servers.having(command.split()[0]):
            with self.servers.connected(server, CHANGE_TIMEOUT_S) as admin:
                changed += sum(affected(admin.command(line)) for line in lines)
        return changed

    def pause(self, function: str) -> None:
        """Have every server start no more jobs of a function.

        Raises:
            ManagerError: a server could not be told, or refuses; it names the servers. The others were told.
        """
        self._tell_all(lambda admin: admin.pause_function(function))

    def resume(self, function: str) -> None:
        """Have every server start a function's jobs again.

        Raises:
            ManagerError: as `pause`, or no server knows the function.
        """
        unknown = []

        def resume(admin: AdminClient) -> None:
            try:
                admin.resume_function(function)
            except AdminError as error:
                if error.code != "UNKNOWN_FUNCTION":
                    raise
                unknown.append(error)

        told = self._tell_all(resume)
        if len(unknown) == told:
            raise NotFound(f"no job server knows a function {function}")

    def _tell_all(self, tell: Callable[[AdminClient], None]) -> int:
        """Tell every server; returns how many there are."""
        servers, failed = list(self.servers.by_name()), []
        for server in servers:
            try:
                with self.servers.connected(server) as admin:
                    tell(admin)
            except ManagerError as error:
                failed.append(str(error))
        if failed:
            others = len(servers) - len(failed)
            raise ManagerError("; ".join([*failed, *([f"it is done on {others} of {len(servers)}"] if others else [])]))
        return len(servers)

    def schedules(self) -> list[Row]:
        """The schedules of all job servers."""
        rows: list[Row] = []
        for server in self.servers.one_of_each():
            with self.servers.connected(server) as admin:
                answer = admin.command("schedules list")
                if answer.startswith(b"ERR UNKNOWN_COMMAND"):
                    continue  # a foreign server has none
                cells = (line.split(b"\t") for line in lines_of(answer))
                # One of before schedules could be paused tells less.
                names = COLUMNS["schedules"]
                rows += [
                    {**row_of(zip_longest(names, row[: len(names)], fillvalue=b"")), "server": server} for row in cells
                ]
        return rows

    def trigger(self, name: str) -> str:
        """Submit a schedule's job now; returns its handle.

        Raises:
            ManagerError: no server has such a schedule, or it can't be submitted.
        """
        command = f"schedules trigger {word(name, 'name of a schedule')}"
        for server in self.servers.one_of_each():
            with self.servers.connected(server) as admin:
                answer = admin.command(command)
                if answer.startswith(b"OK "):
                    return answer.split()[1].decode()
                if not answer.startswith((b"ERR UNKNOWN_SCHEDULE", b"ERR UNKNOWN_COMMAND")):
                    raise refusal(answer)
        raise _no_schedule(name)

    def pause_schedule(self, name: str, *, is_end: bool = False) -> None:
        """Have no run of a schedule due, or its runs due again, on all job servers that have it.

        Raises:
            ManagerError: no server has such a schedule, or one refuses.
        """
        command = f"schedules {'resume' if is_end else 'pause'} {word(name, 'name of a schedule')}"
        found = 0
        for server in self.servers.one_of_each():
            with self.servers.connected(server) as admin:
                answer = admin.command(command)
                if answer.startswith(b"OK"):
                    found += 1
                elif not answer.startswith((b"ERR UNKNOWN_SCHEDULE", b"ERR UNKNOWN_COMMAND")):
                    raise refusal(answer)
        if not found:
            raise _no_schedule(name)


def shown_rows(rows: Iterable[Row], privacy: Privacy) -> list[Row]:
    """The rows of a list, in turns: a thousand of them take the loop of the manager for long."""
    turns, shown = Turns(), []
    for row in rows:
        shown.append(shown_row(row, privacy.of(row["function"])))
        turns.others()
    return shown


def conditions_of(given: Mapping[str, str | float]) -> list[str]:
    """The words of a text command that select jobs, by texts and by moments or ages in seconds."""
    texts = {
        name: value if isinstance(value, str) else f"{value:.6f}".rstrip("0").rstrip(".")
        for name, value in given.items()
    }
    return [f"{name}={quote(text)}" for name, text in texts.items()]


def _batch(name: str) -> str:
    if not name:
        raise ManagerError("the id of a batch is expected")
    return f"jobs batch id={quote(name, safe='')}"


def _how_far(cursor: str | None) -> dict[str, int]:
    """How many of how many jobs the server has looked at, if its cursor says that."""
    numbers = (cursor or "").split(".")
    return {"looked": int(numbers[1]), "of": int(numbers[2])} if len(numbers) == 3 else {}


def _next(addresses: Sequence[str], server: str, cursor: str | None) -> dict[str, str] | None:
    if cursor is not None:
        return {"server": server, "after": cursor}
    following = addresses[addresses.index(server) + 1 :]
    return {"server": following[0]} if following else None


def _no_schedule(name: str) -> NotFound:
    return NotFound(f"there is no schedule {name}; `gearman-manager schedules` lists those that there are")
