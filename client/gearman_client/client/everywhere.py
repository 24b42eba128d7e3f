"""One question to several servers at once: each answers when it can, and none waits for another one.

A server that takes too long after another has answered is passed over, so that a dead one delays nobody.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator, Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

from gearman_client.client.attempts import Limits
from gearman_client.client.foreground import server_error, unknown_request
from gearman_client.client.opening import Opening
from gearman_client.client.server_pool import (
    ALIVE_S,
    IDLE_S,
    PATIENCE_S,
    PooledServer,
    PoolSettings,
    ServerPool,
    is_quiet,
)
from gearman_client.connection.connection import Connection
from gearman_client.connection.waiting import POLLIN, wait_for_any
from gearman_client.errors import ConnectionLost, CouldNotConnect, GearmanError, ProtocolError, Timeout
from gearman_client.packet import Packet, PacketType

AnswerT = TypeVar("AnswerT")
#: What is said to one server: it yields a packet and the type of its answer, gets the answer's body, or the ServerError
#: of an ERROR packet raised, and returns what it found out.
Dialogue = Generator[tuple[bytes, int], bytes, AnswerT]

#: How long a connection whose answer is not needed any more is kept for it, so that it can be used again.
_GRACE_S: Final = 0.02
#: What a server may send about a job before the answer.
_REPORTS: Final = frozenset({PacketType.WORK_STATUS, PacketType.WORK_DATA, PacketType.WORK_WARNING})


def ask_all(
    pool: ServerPool,
    servers: Sequence[PooledServer],
    dialogue: Callable[[PooledServer], Dialogue[AnswerT]],
    limits: Limits,
    *,
    hurries: bool,
) -> Generator[tuple[PooledServer, AnswerT | GearmanError], None, None]:
    """Each server with its answer, or with the reason why there is none, in the order in which they are known.

    Ending the iteration early gives up the other questions.
    hurries: do not wait long for the others once one has answered.
    """
    now = monotonic()
    settings = pool.settings
    asked = [_Asked(server, settings, dialogue, limits, now) for server in servers]
    try:
        while asked:
            now = monotonic()
            ended = _advance(asked, now)
            for each, outcome in ended:
                yield each.server, outcome.value
            if hurries and any(not isinstance(outcome.value, GearmanError) for _, outcome in ended):
                for each in asked:
                    each.hurry(now)
            if asked and not ended:
                _wait(asked, now)
    finally:
        _end(asked)


def _advance(asked: list[_Asked[AnswerT]], now: float) -> list[tuple[_Asked[AnswerT], _Outcome[AnswerT]]]:
    """Take out those that are answered, or have failed."""
    ended = [(each, outcome) for each in asked if (outcome := each.advance(now)) is not None]
    for each, _ in ended:
        asked.remove(each)
    return ended


def _wait(asked: Sequence[_Asked[AnswerT]], now: float) -> None:
    watched = [each.interest() for each in asked]
    if all(descriptor >= 0 for descriptor, _ in watched):  # else one has just begun, and goes on without waiting
        wait_for_any(watched, min(each.due for each in asked) - now)


def _end(asked: Sequence[_Asked[AnswerT]]) -> None:
    """Nobody needs the other answers. Most are about to come, and their connections are worth a moment."""
    until = monotonic() + _GRACE_S
    late = [each for each in asked if each.is_sent]
    while late and (now := monotonic()) < until:
        wait_for_any([each.interest() for each in late], until - now)
        _advance(late, now)
        late = [each for each in late if each.is_sent]
    for each in asked:
        each.give_up()


class _Outcome(Generic[AnswerT]):
    """What became of one question."""

    __slots__ = ("value",)

    def __init__(self, value: AnswerT | GearmanError) -> None:
        self.value = value


class _Asked(Generic[AnswerT]):
    """The question to one server."""

    def __init__(
        self,
        server: PooledServer,
        settings: PoolSettings,
        begin: Callable[[PooledServer], Dialogue[AnswerT]],
        limits: Limits,
        now: float,
    ) -> None:
        self.server = server
        self._settings = settings
        self._begin_dialogue = begin
        self._limits = limits
        self._deadline = limits.deadline
        #: The type of the answer that is due.
        self._awaited = 0
        self._may_ask_again = True
        self._opening: Opening | None = None
        self._connection: Connection | None = None
        connection = server.connection
        if connection is not None and now - server.alive_at < IDLE_S and is_quiet(connection):
            self._begin(connection, now)
        else:
            self._open(now)

    @property
    def is_sent(self) -> bool:
        """Whether an answer is due over a connection."""
        return self._connection is not None

    @property
    def due(self) -> float:
        """When to call `advance` at the latest."""
        return self._deadline if self._opening is None else min(self._deadline, self._opening.deadline)

    def interest(self) -> tuple[int, int]:
        """The descriptor to watch, and for which events."""
        if self._opening is not None:
            return self._opening.fileno(), self._opening.events
        assert self._connection is not None
        return self._connection.fileno(), POLLIN | (select.POLLOUT if self._connection.unsent_bytes else 0)

    def hurry(self, now: float) -> None:
        """Another server has answered."""
        self._deadline = min(self._deadline, now + (PATIENCE_S if self._connection is None else ALIVE_S))

    def advance(self, now: float) -> _Outcome[AnswerT] | None:
        """Do what can be done at once; what became of the question, once that is known."""
        try:
            if self._opening is not None:
                connection = self._opening.advance(now)
                if connection is not None:
                    self._opening = None
                    self._settings.health.note_success(self.server.address)
                    self.server.connect(connection)
                    self._begin(connection, now)
            if self._connection is not None:
                self._take(self._connection)
        except StopIteration as end:
            self._note_answer(now)
            return _Outcome(end.value)
        except CouldNotConnect as error:
            return self._fail(error, now)
        except (ConnectionLost, ProtocolError) as error:
            return self._lose(error, now)
        except GearmanError as error:  # the server's answer
            self._note_answer(now)
            return _Outcome(error)
        if now < self._deadline:
            return None
        return self._fail(Timeout(f"no answer from {self.server.address} in the time allowed"), now)

    def give_up(self) -> None:
        """Nobody waits for the answer: it must not meet the next request."""
        if self._opening is not None:
            self._settings.leave_opening(self._opening)
        elif self._connection is not None:
            self.server.drop()
        self._opening = self._connection = None

    def _open(self, now: float) -> None:
        self.server.drop()
        opening = self._settings.take_opening(self.server.address)
        if opening is not None and now >= opening.deadline:
            opening.close()  # nobody has looked after it in time, which says little about the server today
            opening = None
        self._opening = opening or Opening(self.server.address, self._settings, now)

    def _begin(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._deadline = min(self._deadline, now + self._limits.reply_timeout_s)
        self._dialogue = self._begin_dialogue(self.server)
        request, self._awaited = next(self._dialogue)
        connection.queue(request)

    def _take(self, connection: Connection) -> None:
        connection.try_flush()
        for packet in connection.try_receive():
            if packet[0] not in _REPORTS:
                self._hear(packet, connection)

    def _hear(self, packet: Packet, connection: Connection) -> None:
        packet_type, body = packet
        if packet_type == PacketType.ERROR:
            error = server_error(body)
            request = self._dialogue.throw(unknown_request(error, self.server.address) or error)
        elif packet_type != self._awaited:
            raise ProtocolError(f"{self.server.address} answered with packet type {packet_type}, not {self._awaited}")
        else:
            request = self._dialogue.send(body)
        packet_to_send, self._awaited = request
        connection.queue(packet_to_send)
        connection.try_flush()

    def _note_answer(self, now: float) -> None:
        self.server.answers += 1
        self.server.alive_at = now
        self._connection = None

    def _lose(self, error: GearmanError, now: float) -> _Outcome[AnswerT] | None:
        if not self._may_ask_again:
            return self._fail(error, now)
        self._may_ask_again = False
        self._connection = None
        self._open(now)
        return None

    def _fail(self, error: GearmanError, now: float) -> _Outcome[AnswerT]:
        if self._limits.deadline > now or isinstance(error, CouldNotConnect):
            self._settings.health.note_failure(self.server.address, now)
        self.give_up()
        return _Outcome(error)
