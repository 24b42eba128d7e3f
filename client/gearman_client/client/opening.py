"""A connection to a job server that is being opened: its name, TCP, TLS, and the answers to the first questions.

It never blocks, so that one call can wait for several servers, and none for a server that was down at the last attempt.
"""

from __future__ import annotations

import select
from dataclasses import dataclass
from time import monotonic
from typing import Final

from gearman_client import exclusive
from gearman_client.address import Address
from gearman_client.connection.connecting import NO_NAME_SERVER, ConnectAttempt
from gearman_client.connection.connection import Connection
from gearman_client.connection.lookup import Lookup
from gearman_client.connection.roster import Roster
from gearman_client.errors import ConnectionLost, CouldNotConnect, ProtocolError, Timeout
from gearman_client.extensions import SERVERS, SERVERS_OPTION
from gearman_client.packet import PacketType, encode_request

#: The first questions to a server, whose answers, even refusals, prove that it is alive, and not just its machine.
_EXCEPTIONS: Final = b"exceptions"
EXCEPTIONS_REQUEST: Final = encode_request(PacketType.OPTION_REQ, _EXCEPTIONS)
SERVERS_REQUEST: Final = encode_request(PacketType.OPTION_REQ, SERVERS_OPTION)
_OPTION_ANSWERS: Final = frozenset({PacketType.OPTION_RES, PacketType.ERROR})
#: A wait for an answer looks at its deadline so often.
_TICK_S: Final = 1.0
#: The least time for the answer to the first question, counted from the question.
_ANSWER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class OpeningSettings:
    """How connections are opened.

    connect_timeout_s: the limit for a server to accept a connection and to answer the first question.
    reply_timeout_s: how long a connection may take no byte.
    exceptions: ask for WORK_EXCEPTION packets, as the first question; without it nothing is asked.
    roster: is told of the servers of the cluster, which are asked for beside it; None: they are not.
    """

    connect_timeout_s: float
    reply_timeout_s: float
    exceptions: bool
    roster: Roster | None = None


class Opening:
    """Watch `fileno` for `events`, and call `advance` when one occurs or at `deadline`.

    Raises (also from `advance`):
        CouldNotConnect: the server can't be reached, or does not answer like a job server.
    """

    def __init__(self, address: Address, settings: OpeningSettings, now: float) -> None:
        self.address = address
        self.started = now
        self.forks = exclusive.forks
        self._settings = settings
        self._limit = now + settings.connect_timeout_s
        self._lookup: Lookup | None = Lookup(address)
        self._attempt: ConnectAttempt | None = None
        self._connection: Connection | None = None
        #: Whether a first connection was closed before its server had answered: one that was just ending, say.
        self._is_second = False
        #: The number of first questions that are not answered.
        self._questions = 0

    @property
    def deadline(self) -> float:
        """When to call `advance` at the latest (monotonic)."""
        return self._limit if self._attempt is None else min(self._attempt.deadline, self._limit)

    @property
    def missing(self) -> str:
        """What has not come so far."""
        return "no answer" if self._lookup is None else "no address of the host from the name servers"

    def fileno(self) -> int:
        """The descriptor to watch; it changes from step to step."""
        step = self._connection or self._attempt or self._lookup
        return -1 if step is None else step.fileno()

    @property
    def events(self) -> int:
        """The events of `poll` to watch for."""
        return select.POLLIN if self._attempt is None else self._attempt.events

    def advance(self, now: float) -> Connection | None:
        """Do what can be done at once; the connection once it is open, which then belongs to the caller."""
        if self._lookup is not None:
            self._look_up(self._lookup, now)
        if self._attempt is not None:
            self._connect(self._attempt, now)
        connection = self._connection
        if connection is None:
            if now >= self._limit:
                reason = "no answer" if self._lookup is None else NO_NAME_SERVER
                raise CouldNotConnect(f"could not connect to {self.address}: {reason}")
            return None
        if self._questions and not self._has_answers(connection, now):
            return None if self._connection is not None else self.advance(now)
        self._connection = None
        return connection

    def close(self) -> None:
        """Give up."""
        for step in (self._lookup, self._attempt, self._connection):
            if step is not None:
                step.close()
        self._lookup = self._attempt = self._connection = None

    def _look_up(self, lookup: Lookup, now: float) -> None:
        candidates = lookup.take()
        if candidates is not None:
            lookup.close()
            self._lookup = None
            self._attempt = ConnectAttempt(self.address, max(0.001, self._limit - now), now, candidates)

    def _connect(self, attempt: ConnectAttempt, now: float) -> None:
        sock = attempt.advance(now)
        if sock is None:
            return
        self._attempt = None
        try:
            self._connection = Connection(sock, self.address, stall_s=self._settings.reply_timeout_s, tick_s=_TICK_S)
        except OSError as error:  # the peer reset it before we used it
            sock.close()
            reason = error.strerror or error
            raise CouldNotConnect(f"could not connect to {self.address}: {reason}; check host and port") from error
        if not self._settings.exceptions:
            return
        if self._settings.roster is not None:
            self._connection.queue(SERVERS_REQUEST)
            self._questions += 1
        # Every server knows this one. It comes last: a server that passes the other one over keeps nobody waiting.
        self._connection.queue(EXCEPTIONS_REQUEST)
        self._questions += 1
        self._limit = max(self._limit, now + _ANSWER_S)

    def _has_answers(self, connection: Connection, now: float) -> bool:
        """Whether the first questions are answered."""
        try:
            connection.try_flush()
            for packet_type, body in connection.try_receive():
                self._take(connection, packet_type, body, now)
        except (ConnectionLost, ProtocolError) as error:
            if self._is_second or isinstance(error, ProtocolError):
                raise no_job_server(self.address, error) from error
            self._start_again(connection)
            return False
        if self._questions and now >= self._limit:
            raise no_job_server(self.address, Timeout(f"no answer from {self.address} in the time allowed"))
        return not self._questions

    def _start_again(self, connection: Connection) -> None:
        """Open another connection: its server may be the next process of the one that has closed this one."""
        connection.close()
        self._connection, self._questions, self._is_second = None, 0, True
        self._lookup = Lookup(self.address)

    def _take(self, connection: Connection, packet_type: int, body: bytes, now: float) -> None:
        if packet_type == SERVERS and self._settings.roster is not None:
            self._learn_on(connection, self._settings.roster, body, now)
        elif packet_type not in _OPTION_ANSWERS:
            raise ProtocolError(f"packet type {packet_type} does not answer OPTION_REQ")
        else:
            self._questions = 0 if body == _EXCEPTIONS else max(0, self._questions - 1)

    def _learn_on(self, connection: Connection, roster: Roster, table: bytes, now: float) -> None:
        """Learn the servers of the cluster, now and whenever the server tells of a change."""
        address = self.address
        if roster.learn(address, table, now):
            connection.on_servers = lambda table: roster.learn(address, table, monotonic())
        else:
            connection.on_servers = _ignore


def _ignore(_table: bytes) -> None:
    """The server may tell of a cluster of which nothing is to be learned."""


def no_job_server(address: Address, reason: Exception) -> CouldNotConnect:
    """The error for a port where something else than a job server listens."""
    return CouldNotConnect(
        f"could not connect to {address}: something listens there but it does not answer like a job server "
        f"({reason}); check host and port"
    )
