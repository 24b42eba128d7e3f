"""Connections to the job servers for text commands, the lines of these, and their refusals as errors of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from gearman_client import Address, AdminClient, AdminError, GearmanError
from gearman_client.packet import MAX_LINE_BYTES
from gearman_manager.errors import ManagerError, NotFound, NotNow, Unreachable
from gearman_manager.job_servers.connection import connect_to

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 8.0
#: A million jobs take a few seconds.
CHANGE_TIMEOUT_S: Final = 280.0
#: What each server of a cluster has all of.
SHARED: Final = ("dead", "jobs/batches")
#: What a line's end takes, and more.
_MARGIN_BYTES: Final = 64


class ServerAccess:
    """The job servers, in the order in which they are configured."""

    def __init__(
        self, addresses: Callable[[], Sequence[Address]], clusters: Callable[[], Sequence[Sequence[Address]]]
    ) -> None:
        """`clusters` gives the same servers by cluster, first the one to ask; one without a cluster is alone."""
        self.addresses = addresses
        self.clusters = clusters

    def by_name(self) -> dict[str, Address]:
        """The addresses of all job servers, by what they are called."""
        return {str(address): address for address in self.addresses()}

    def one_of_each(self) -> list[str]:
        """A server of each cluster, and all servers without one."""
        return [str(cluster[0]) for cluster in self.clusters()]

    def having(self, family: str) -> list[str]:
        """Those to ask so that each of `jobs`, `dead` letters or `jobs/batches` is told once."""
        return self.one_of_each() if family in SHARED else list(self.by_name())

    @contextmanager
    def connected(self, server: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Iterator[AdminClient]:
        """Connects to one server. All errors meanwhile, refusals included, become a ManagerError that names it."""
        address = self.by_name().get(server)
        if address is None:  # a reload has taken it away since somebody listed the servers
            raise Unreachable(f"{server} is no job server of ours any more")
        try:
            connection = connect_to(address, CONNECT_TIMEOUT_S)
            with AdminClient(connection, timeout_s=timeout_s) as admin:
                yield admin
        except AdminError as error:
            if error.code == "UNKNOWN_COMMAND":
                raise Unreachable(f"{server} is no gearman-server: it can't be asked for its jobs") from error
            kind = ManagerError if error.code.startswith("INVALID") else NotNow
            raise kind(f"the job server {server} says: {error}") from error
        except (OSError, GearmanError) as error:
            raise Unreachable(f"the job server {server} can't be asked: {error}") from error


def word(text: str, what: str = "handle of a job") -> str:
    """A text that can stand in a line as one word.

    Raises:
        NotFound: it can't; the message says that it is no `what`.
    """
    if not text.isprintable() or " " in text or not text:
        raise NotFound(f"{text!r} is no {what}")
    return text


def command_lines(command: str, handles: Sequence[str]) -> Iterator[str]:
    """Lines that carry the command out for all these jobs, none longer than a job server reads.

    Raises:
        NotFound: one can be no handle.
    """
    return (" ".join([command, *part]) for part in parts_of(command, handles))


def parts_of(command: str, handles: Sequence[str]) -> Iterator[list[str]]:
    """The handles in parts, each of which has room in a line with that command.

    Raises:
        NotFound: one can be no handle.
    """
    part: list[str] = []
    size = len(command)
    for handle in handles:
        if handle == "all" or "=" in handle:  # these would mean others too
            raise NotFound(f"{handle!r} is no handle of a job")
        needed = len(word(handle).encode()) + 1
        if part and size + needed > MAX_LINE_BYTES - _MARGIN_BYTES:
            yield part
            part, size = [], len(command)
        part.append(handle)
        size += needed
    if part:
        yield part


def affected(answer: bytes) -> int:
    """N out of `OK N`.

    Raises:
        AdminError: it is a refusal.
    """
    if not answer.startswith(b"OK "):
        raise refusal(answer)
    return int(answer.split()[1])


def lines_of(answer: bytes) -> list[bytes]:
    """The lines of a table.

    Raises:
        AdminError: it is a refusal.
    """
    if answer.startswith(b"ERR "):
        raise refusal(answer)
    return answer.split(b"\n")[:-2]


def refusal(answer: bytes) -> AdminError:
    """A refusal as an error."""
    code, _, text = answer.removeprefix(b"ERR ").decode(errors="replace").strip().partition(" ")
    return AdminError(code, text.replace("+", " "))
