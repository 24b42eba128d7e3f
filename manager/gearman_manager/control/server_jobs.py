"""Asks the job servers, by text commands, for their jobs, dead letters and schedules, for the control API.

Only our own job server knows these commands; `missing` or the error names a foreign one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from gearman_client import Address, AdminClient, AdminError, GearmanError
from gearman_client.text import unescaped
from gearman_manager.errors import ManagerError, NotFound, NotNow, Unreachable
from gearman_manager.job_servers.connection import connect_to

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 8.0
#: A million jobs take a few seconds.
CHANGE_TIMEOUT_S: Final = 280.0

Row = dict[str, Any]

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": (
        *("handle", "function", "state", "priority", "attempt", "age_s", "for_s", "bytes", "background", "unique"),
        "preview",
    ),
    "jobs/keys": ("key", "waiting", "running", "startable", "held_by", "opens_in_s"),
    "jobs/batches": (
        *("batch", "state", "jobs", "waiting", "complete", "failed", "expired", "cancelled", "stopped", "is_cancelled"),
        *("is_counting", "opened", "closed", "ended"),
    ),
    "dead": ("handle", "function", "priority", "attempts", "died", "bytes", "unique", "error", "preview"),
    "schedules": ("schedule", "function", "next", "last_run", "timing", "priority", "missed", "unique"),
}
_LISTS: Final[Mapping[str, str]] = {
    "jobs": "jobs list",
    "jobs/keys": "jobs keys",
    "jobs/batches": "jobs batches",
    "dead": "dead list",
}
_BATCHES: Final = "jobs/batches"
#: Each server of a cluster has all of these.
_SHARED: Final = ("dead", _BATCHES)
#: What there can be one of, and the answer if there is none.
_ONES: Final = {"jobs": "job", _BATCHES: "batch", "dead": "dead letter"}
_NO_SUCH: Final = (b"ERR UNKNOWN_JOB", b"ERR UNKNOWN_BATCH")
_WHOLE: Final = frozenset(
    {
        *("attempt", "attempts", "bytes", "failures", "losses", "clients", "waiting", "running", "startable"),
        *("jobs", "complete", "failed", "expired", "cancelled", "stopped"),
    }
)
_FLAGS: Final = frozenset({"background", "is_cancelled", "is_counting"})
_SECONDS: Final = frozenset(
    {
        "age_s",
        "for_s",
        "died",
        "submitted",
        "since",
        "first_attempt",
        "last_attempt",
        "not_before",
        "expires",
        "opens_in_s",
        "next",
        "last_run",
        *("opened", "closed", "ended"),
    }
)


#: Fields with several values.
_SEVERAL: Final = frozenset({"tags", "options", "headers"})


class ServerJobs:
    """Asks the job servers, in the order in which they are configured."""

    def __init__(
        self,
        addresses: Callable[[], Sequence[Address]],
        clusters: Callable[[], Sequence[Sequence[Address]]] | None = None,
    ) -> None:
        """`clusters` gives the same servers by cluster, first the one to ask; one without a cluster is alone."""
        self._addresses = addresses
        self._clusters = clusters or (lambda: [(address,) for address in addresses()])

    def page(self, family: str, conditions: Mapping[str, str]) -> dict[str, Any]:
        """A page of `jobs`, of `dead` letters, of `jobs/keys`, or of `jobs/batches`; `next` says where the next page
        begins, None after the last page of the last server. `conditions` are those of the text command, and the
        `server` to begin with. If one of several servers can't be asked its page is empty, and `missing` gives the
        reason.

        Raises:
            ManagerError: the only server can't be asked, or one refuses the conditions.
        """
        clusters = [[*map(str, cluster)] for cluster in self._clusters()]
        addresses = [cluster[0] for cluster in clusters] if family in _SHARED else list(self._by_name())
        server = conditions.get("server") or addresses[0]
        if family in _SHARED:  # the cluster may be asked by way of another server than for the last page
            server = next((cluster[0] for cluster in clusters if server in cluster), server)
        if server not in addresses:
            raise ManagerError(f"{server} is none of the job servers: {', '.join(addresses)}")
        words = [f"{name}={quote(value)}" for name, value in conditions.items() if name != "server" and value]
        try:
            with self._connected(server) as admin:
                lines = _table(admin.command(" ".join([_LISTS[family], *words])))
        except Unreachable as error:
            if not addresses[1:]:
                raise
            return {"jobs": [], "next": _next(addresses, server, None), "missing": str(error)}
        cells = [line.split(b"\t") for line in lines]
        cursor = cells.pop()[1].decode() if cells and len(cells[-1]) == 2 else None
        rows = [{**_row(zip(_COLUMNS[family], row, strict=True)), "server": server} for row in cells]
        return {"jobs": rows, "next": _next(addresses, server, cursor)}

    def show(self, family: str, handle: str) -> Row:
        """All details of one of `jobs` or `dead` letters by its handle, or of `jobs/batches` by its id.

        Raises:
            ManagerError: no server that can be asked has it.
        """
        command = _batch(handle) if family == _BATCHES else f"{family} show {_word(handle)}"
        missing = []
        for server in self._by_name():
            try:
                with self._connected(server) as admin:
                    answer = admin.command(command)
                    if not answer.startswith(_NO_SUCH):
                        pairs = (line.split(b"\t", 1) for line in _table(answer))
                        return {**_row((name.decode(), value) for name, value in pairs), "server": server}
            except Unreachable as error:
                missing.append(str(error))
        if len(missing) == len(self._by_name()):
            raise Unreachable("; ".join(missing))
        raise NotFound("; ".join([f"there is no {_ONES[family]} {handle}", *missing]))

    def cancel(self, handles: Sequence[str]) -> int:
        """Cancel jobs; returns how many were found.

        Raises:
            ManagerError: a server refused, for example because commands from this host may not change anything.
        """
        cancelled = 0
        for server in self._by_name():
            with self._connected(server) as admin:
                for handle in handles:
                    answer = admin.command(f"cancel job {_word(handle)}")
                    if answer.startswith(b"ERR NOT_ALLOWED"):
                        raise _refused(answer)
                    cancelled += answer.startswith(b"OK")
        return cancelled

    def stop(self, handles: Sequence[str]) -> int:
        """Stop jobs, and cancel those that wait; returns how many were found.

        Raises:
            ManagerError: a server does not know the command, or refuses it.
        """
        stopped, left = 0, list(handles)
        for server in self._by_name():
            with self._connected(server, CHANGE_TIMEOUT_S) as admin:
                # One by one: a server of a cluster also stops the jobs of the others, which would stop them once more.
                found = [handle for handle in left if _affected(admin.command(f"stop job {_word(handle)}"))]
            stopped += len(found)
            left = [handle for handle in left if handle not in found]
        return stopped

    def end_batch(self, name: str, how: str) -> int | None:
        """Close a batch of jobs, or also cancel or stop its jobs; returns how many these were, None: it is just closed.

        Raises:
            ManagerError: no server has it, or a server refuses, or can't write it; those before it have done it.
        """
        is_known, ended = False, 0
        for server in self._one_of_each():
            with self._connected(server, CHANGE_TIMEOUT_S) as admin:
                answer = admin.command(f"{_batch(name)} {how}")
                if answer.startswith(_NO_SUCH):
                    continue
                if not answer.startswith(b"OK"):
                    raise _refused(answer)
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
        changed = 0
        is_shared = command.split()[0] in _SHARED
        for server in self._one_of_each() if is_shared else self._by_name():
            with self._connected(server, CHANGE_TIMEOUT_S) as admin:
                changed += _affected(admin.command(" ".join([command, *arguments])))
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
        servers, failed = list(self._by_name()), []
        for server in servers:
            try:
                with self._connected(server) as admin:
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
        for server in self._one_of_each():
            with self._connected(server) as admin:
                answer = admin.command("schedules list")
                if answer.startswith(b"ERR UNKNOWN_COMMAND"):
                    continue  # a foreign server has none
                cells = (line.split(b"\t") for line in _table(answer))
                rows += [{**_row(zip(_COLUMNS["schedules"], row, strict=True)), "server": server} for row in cells]
        return rows

    def trigger(self, name: str) -> str:
        """Submit a schedule's job now; returns its handle.

        Raises:
            ManagerError: no server has such a schedule, or it can't be submitted.
        """
        command = f"schedules trigger {_word(name, 'name of a schedule')}"
        for server in self._one_of_each():
            with self._connected(server) as admin:
                answer = admin.command(command)
                if answer.startswith(b"OK "):
                    return answer.split()[1].decode()
                if not answer.startswith((b"ERR UNKNOWN_SCHEDULE", b"ERR UNKNOWN_COMMAND")):
                    raise _refused(answer)
        raise NotFound(f"there is no schedule {name}; `gearman-manager schedules` lists those that there are")

    def _one_of_each(self) -> Sequence[str]:
        """A server of each cluster, and all servers without one."""
        return [str(cluster[0]) for cluster in self._clusters()]

    def _by_name(self) -> dict[str, Address]:
        return {str(address): address for address in self._addresses()}

    @contextmanager
    def _connected(self, server: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Iterator[AdminClient]:
        """Connects to one server. All errors meanwhile, refusals included, become a ManagerError that names it."""
        try:
            connection = connect_to(self._by_name()[server], CONNECT_TIMEOUT_S)
            with AdminClient(connection, timeout_s=timeout_s) as admin:
                yield admin
        except AdminError as error:
            if error.code == "UNKNOWN_COMMAND":
                raise Unreachable(f"{server} is no gearman-server: it can't be asked for its jobs") from error
            kind = ManagerError if error.code.startswith("INVALID") else NotNow
            raise kind(f"the job server {server} says: {error}") from error
        except (OSError, GearmanError) as error:
            raise Unreachable(f"the job server {server} can't be asked: {error}") from error


def conditions_of(texts: Mapping[str, str], older_s: float | None) -> list[str]:
    """The words of a text command that select jobs, by function, tag, key and age (seconds)."""
    words = [f"{name}={quote(text)}" for name, text in texts.items()]
    return words if older_s is None else [*words, f"older={older_s:g}"]


def _affected(answer: bytes) -> int:
    """N out of `OK N`."""
    if not answer.startswith(b"OK "):
        raise _refused(answer)
    return int(answer.split()[1])


def _word(word: str, what: str = "handle of a job") -> str:
    if not word.isprintable() or " " in word or not word:
        raise NotFound(f"{word!r} is no {what}")
    return word


def _batch(name: str) -> str:
    if not name:
        raise ManagerError("the id of a batch is expected")
    return f"jobs batch id={quote(name, safe='')}"


def _next(addresses: Sequence[str], server: str, cursor: str | None) -> dict[str, str] | None:
    if cursor is not None:
        return {"server": server, "after": cursor}
    following = addresses[addresses.index(server) + 1 :]
    return {"server": following[0]} if following else None


def _table(answer: bytes) -> list[bytes]:
    if answer.startswith(b"ERR "):
        raise _refused(answer)
    return answer.split(b"\n")[:-2]


def _refused(answer: bytes) -> AdminError:
    code, _, text = answer.removeprefix(b"ERR ").decode(errors="replace").strip().partition(" ")
    return AdminError(code, text.replace("+", " "))


def _row(cells: Any) -> Row:
    row: Row = {}
    for name, cell in cells:
        if name in _WHOLE:
            row[name] = int(cell)
        elif name in _SECONDS:
            row[name] = float(cell) if cell else None
        elif name in _FLAGS:
            row[name] = cell == b"1"
        elif name in ("preview", "workload"):
            row[name] = cell.decode(errors="replace")  # still escaped, since people read it
        elif name in _SEVERAL:
            texts = [text.decode(errors="replace") for text in unescaped(cell).split(b"\0")] if cell else []
            row[name] = texts if name == "tags" else dict(text.split("=", 1) for text in texts)
        else:
            row[name] = unescaped(cell).decode(errors="replace")
        if name == "workload":
            row["workload_base64"] = base64.b64encode(unescaped(cell)).decode()
    return row
