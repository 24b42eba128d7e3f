"""The rows of the administration tables, parsed strictly. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gearman_client.connection import cluster_servers
from gearman_client.connection.cluster_servers import ClusterServer
from gearman_client.errors import AdminError
from gearman_client.text import to_text, unescaped


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """One line of `status`: `total` jobs, `running` of them with a worker, and `workers` that offer the function."""

    function: str
    total: int
    running: int
    workers: int


@dataclass(frozen=True, slots=True)
class PriorityStatus:
    """One line of `prioritystatus`: the jobs waiting at each priority, and `workers` that offer the function."""

    function: str
    high: int
    normal: int
    low: int
    workers: int


@dataclass(frozen=True, slots=True)
class ConnectedWorker:
    """One line of `workers`: `fd` is the server's number for the connection; `client_id` is "-" if it has none."""

    fd: int
    address: str
    client_id: str
    functions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownJob:
    """One line of `show jobs`."""

    handle: str
    retries: int
    ignored: bool
    queued: bool


@dataclass(frozen=True, slots=True)
class FunctionHold:
    """One line of `holds`, which only our own server has: a reason for which none of a function's jobs is started.

    kind: `paused` by an operator, `held` by its brake, `probed`: the brake lets single jobs through, or `throttled`: as
    one of its jobs wished. since, until: Unix seconds; until is None if the end is not known.
    """

    function: str
    kind: str
    since: float
    until: float | None


def parse_function_hold(line: bytes) -> FunctionHold:
    """`function TAB kind TAB since TAB until`; bytes of the name that do not print are written as `\\xNN`."""
    name, *rest = line.split(b"\t")
    try:
        kind, since, until = rest
        return FunctionHold(
            to_text(unescaped(name)), to_text(kind), float(since), None if until == b"-" else float(until)
        )
    except ValueError:
        raise _malformed(line) from None


def parse_server(line: bytes) -> ClusterServer:
    """A row of `servers`, which only our own server has."""
    try:
        return cluster_servers.parse_server(line)
    except ValueError:
        raise _malformed(line) from None


def parse_function_status(line: bytes) -> FunctionStatus:
    """`function TAB total TAB running TAB workers`"""
    function, numbers = _columns(line, 3)
    return FunctionStatus(function, *numbers)


def parse_priority_status(line: bytes) -> PriorityStatus:
    """`function TAB high TAB normal TAB low TAB workers`"""
    function, numbers = _columns(line, 4)
    return PriorityStatus(function, *numbers)


def parse_shown_job(line: bytes) -> ShownJob:
    """`handle TAB retries TAB ignored TAB queued`"""
    handle, (retries, ignored, queued) = _columns(line, 3)
    return ShownJob(handle, retries, bool(ignored), bool(queued))


def parse_connected_worker(line: bytes) -> ConnectedWorker:
    """`fd address client-id : function function`; the client id may hold blanks, and be empty. Names may hold TABs."""
    fd, _, rest = to_text(line).partition(" ")
    address, _, rest = rest.partition(" ")
    if rest.endswith(" :"):
        client_id, colon, functions = rest[:-2], ":", ""
    else:
        client_id, colon, functions = rest.partition(" : ")
    if not (fd.isascii() and fd.isdigit()) or not address or not colon:
        raise _malformed(line)
    return ConnectedWorker(int(fd), address, client_id, tuple(filter(None, functions.split(" "))))


def _columns(line: bytes, count: int) -> tuple[str, list[int]]:
    """A name (which may hold a TAB) and the `count` numbers after it."""
    name, *numbers = line.rsplit(b"\t", count)
    if len(numbers) != count or not all(number.isdigit() and len(number) <= 20 for number in numbers):
        raise _malformed(line)
    return to_text(name), [int(number) for number in numbers]


def _malformed(line: bytes) -> AdminError:
    return AdminError("MALFORMED_LINE", repr(line[:200]))
