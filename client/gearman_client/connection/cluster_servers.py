"""The servers of a cluster, as one of them tells of them: in the answer to the text command `servers`, and in the
packet SERVERS. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_client.text import to_text, unescaped

#: The state of a server that serves.
ALIVE: Final = "alive"
_COLUMNS: Final = 6
_MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class ClusterServer:
    """One job server of a cluster.

    id: a number that no other server ever has; 0 for a server without a cluster.
    address: where others reach it, as `host:port`; empty if nowhere.
    state: `alive`, or `dead`: then the others adopt its jobs.
    is_this: it is the server that says so.
    """

    id: int
    name: str
    address: str
    version: str
    state: str
    is_this: bool

    @property
    def is_alive(self) -> bool:
        """Whether it serves."""
        return self.state == ALIVE


def parse_server(line: bytes) -> ClusterServer:
    """`id TAB name TAB address TAB version TAB state TAB is_this`; bytes that do not print are written as `\\xNN`.

    Raises:
        ValueError: the line is no such row.
    """
    number, *texts = line.split(b"\t")
    # A later version may add columns.
    if len(texts) < _COLUMNS - 1 or not number.isdigit() or len(number) > _MAX_DIGITS:
        raise ValueError(f"no row of servers: {line[:200]!r}")
    name, address, version, state, is_this = (to_text(unescaped(text)) for text in texts[: _COLUMNS - 1])
    return ClusterServer(int(number), name, address, version, state, is_this == "1")


def parse_servers(table: bytes) -> Sequence[ClusterServer]:
    """The rows in the packet SERVERS, one a line.

    Raises:
        ValueError: a line is no such row.
    """
    return tuple(parse_server(line) for line in table.splitlines())
