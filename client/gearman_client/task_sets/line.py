"""One job server of a task set: the connection, opened without blocking, what waits to be sent and what is under way.

It chooses no server and decides nothing about a task; `TaskRunner` does. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic
from typing import Final, NamedTuple

from gearman_client.address import Address
from gearman_client.client.opening import Opening
from gearman_client.client.request import ALIVE_REQUEST, AliveRequest, Request
from gearman_client.client.server_pool import IDLE_S, PooledServer, PoolSettings, is_quiet
from gearman_client.client.submission import OPTIONS_REQUEST, Forms
from gearman_client.connection.connection import Connection
from gearman_client.connection.waiting import POLLIN, POLLOUT
from gearman_client.errors import (
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    NotSupported,
    ProtocolError,
    ServerError,
    Timeout,
)
from gearman_client.packet import PacketType
from gearman_client.task_sets.attempt import Attempt

#: The most submissions that a server has to answer at once: enough that the round trip does not count.
MAX_UNANSWERED: Final = 2000
#: What is sent at once: a portion ends with the packet that exceeds it.
PORTION_BYTES: Final = 64 * 1024


class LostAttempts(NamedTuple):
    """The attempts under way on a line that was lost: those that the server can't have, may have, and has accepted."""

    unsent: list[Attempt]
    unacknowledged: list[Attempt]
    created: list[Attempt]


class TaskLine:
    """The way to one server. It is down, being opened, or up.

    failure: why the last attempt to open it failed, at `failed_at`.
    """

    __slots__ = (
        "_answer_due",
        "_has_answered",
        "_heard_at",
        "_held",
        "_is_asking",
        "_is_forgotten",
        "_opening",
        "_sent_bytes",
        "_settings",
        "backlog",
        "exchange",
        "failed_at",
        "failure",
        "given_up",
        "is_ending",
        "is_up",
        "opened_at",
        "server",
    )

    def __init__(self, server: PooledServer, settings: PoolSettings) -> None:
        self.server = server
        self.exchange = server.exchange
        #: The attempts that wait to be sent.
        self.backlog: deque[Attempt] = deque()
        #: Those with options, while the server is asked whether it takes them.
        self._held: list[Attempt] = []
        self._is_asking = False
        self.is_up = False
        #: Whether the server has refused a job because it is about to end; what is under way is still finished.
        self.is_ending = False
        self.opened_at = self.failed_at = -inf
        self.failure: GearmanError | None = None
        #: The attempts under way whose time was over, at most.
        self.given_up = 0
        self._settings = settings
        self._opening: Opening | None = None
        #: `_opening` was begun by an earlier call, and nobody has gone on with it in time.
        self._is_forgotten = False
        #: When something came last.
        self._heard_at = -inf
        #: When the server must have answered something.
        self._answer_due = inf
        #: What was sent when that was set: a server that still takes bytes is not late.
        self._sent_bytes = 0
        #: Whether it has answered a request of ours on this connection.
        self._has_answered = False

    @property
    def address(self) -> Address:
        """The server's address."""
        return self.server.address

    @property
    def is_opening(self) -> bool:
        """Whether it may be up soon."""
        return self._opening is not None

    @property
    def takes_tasks(self) -> bool:
        """Whether it is up, and takes further tasks."""
        return self.is_up and not self.is_ending

    @property
    def load(self) -> int:
        """The number of requests that wait or are under way on it."""
        return len(self.backlog) + len(self._held) + self.exchange.under_way

    def due(self, silence_s: float) -> float:
        """When to call `check`, whatever happens."""
        if self._opening is not None:
            return self._opening.deadline
        if self._answer_due == inf and self.exchange.under_way:
            return self._heard_at + silence_s
        return self._answer_due

    def interest(self) -> tuple[int, int] | None:
        """The descriptor to watch, and for which events; None: nothing can happen."""
        if self._opening is not None:
            return self._opening.fileno(), self._opening.events
        connection = self.server.connection
        if connection is None or not self.is_up:
            return None
        return connection.fileno(), POLLIN | POLLOUT if connection.unsent_bytes else POLLIN

    def open(self, now: float) -> None:
        """Use the connection that the pool has kept, or begin to open one."""
        server, self.opened_at = self.server, now
        connection = server.connection
        # Balancers and NATs forget a connection that was idle for long, without a word.
        if connection is not None and now - server.alive_at < IDLE_S and is_quiet(connection):
            self.is_up = True
            return
        server.drop()
        opening = self._settings.take_opening(server.address)
        self._is_forgotten = opening is not None and now >= opening.deadline
        self._advance(opening or Opening(server.address, self._settings, now), now)

    def push(self, now: float) -> None:
        """Send as much of the backlog as the server takes.

        Raises:
            ConnectionLost: the line must be given up with `lose`.
        """
        connection, exchange = self.server.connection, self.exchange
        if connection is None or not self.is_up:
            return
        while connection.try_flush():
            portion = self._portion()
            if not portion:
                return
            if not exchange.awaiting:
                self._heard_at = now
                self._expect_answer(self._settings.reply_timeout_s, connection, now)
            exchange.ask_all(portion)
            connection.queue(b"".join([attempt.packet for attempt in portion]))

    def pull(self, now: float) -> bool:
        """Take what has arrived; False if that was nothing.

        Raises:
            ConnectionLost, ProtocolError: the line must be given up with `lose`.
        """
        connection = self.server.connection
        if self._opening is not None:
            self._advance(self._opening, now)
            return False
        if connection is None or not self.is_up:
            return False
        if connection.unsent_bytes:
            connection.try_flush()
        packets = connection.try_receive()
        if packets:
            self._heard_at = now
        exchange = self.exchange
        awaiting = exchange.awaiting
        exchange.take(packets)
        if self._held and self.server.takes_options is not None:
            self.backlog.extendleft(reversed(self._held))
            self._held.clear()
        if exchange.awaiting < awaiting:
            self._has_answered = True
            if exchange.awaiting:
                self._expect_answer(self._settings.reply_timeout_s, connection, now)
            else:
                self._answer_due = inf
        return bool(packets)

    def check(self, now: float, silence_s: float) -> None:
        """Look at the time.

        silence_s: a server that has jobs, and has said nothing for so long, is asked whether it is alive.

        Raises:
            Timeout: the server has answered nothing for too long: the line must be given up with `lose`.
        """
        connection = self.server.connection
        if self._opening is not None:
            self._advance(self._opening, now)
        elif connection is None or now < self.due(silence_s):
            return
        elif self._answer_due == inf:
            self.exchange.ask(AliveRequest())
            connection.queue(ALIVE_REQUEST)
            connection.try_flush()
            self._expect_answer(silence_s, connection, now)
        else:
            if connection.sent_bytes == self._sent_bytes:
                raise Timeout(f"no answer from {self.address} in {now - self._heard_at:.2g} s")
            self._expect_answer(self._settings.reply_timeout_s, connection, now)

    def lose(self, error: GearmanError, now: float) -> LostAttempts:
        """Give up the connection, and return what waited for it.

        A server that has just answered is tried again at once; one that has not is left out for a while.
        """
        connection = self.server.connection
        losses = self.exchange.lose(0 if connection is None else connection.unsent_bytes)
        if not self._has_answered or not isinstance(error, ConnectionLost):
            self._note_failure(error, now)
        self._reset()
        self.server.drop()
        attempts = [[each for each in requests if isinstance(each, Attempt)] for requests in losses[:3]]
        return LostAttempts(*attempts)

    def end_if_unwanted(self) -> None:
        """Close the connection if everything under way on it was given up: the server then drops what has not begun."""
        if not self.is_up or self.backlog or self._held or self.given_up < self.exchange.under_way:
            return
        self.given_up = 0
        if all(isinstance(request, Attempt) and request.is_over for request in self.exchange.requests()):
            self.server.drop()
            self._reset()

    def take_backlog(self) -> list[Attempt]:
        """Remove what waits to be sent, and return it."""
        waiting = [*self._held, *self.backlog]
        self._held.clear()
        self.backlog.clear()
        return waiting

    def leave(self) -> None:
        """Leave the connection to the pool, unless something is under way on it: then close it."""
        server = self.server
        if self.is_up and self.exchange.is_idle:
            server.alive_at = monotonic()
            server.answers += self._has_answered
        elif self.is_up:
            server.drop()
        self.exchange.lose()
        self._reset()

    def _reset(self) -> None:
        if self._opening is not None:
            self._settings.leave_opening(self._opening)
        self._opening = None
        self.is_up = self.is_ending = self._has_answered = self._is_asking = False
        self.given_up = 0
        self._answer_due = inf

    def _advance(self, opening: Opening, now: float) -> None:
        try:
            connection = opening.advance(now)
        except CouldNotConnect as error:
            opening.close()
            self._opening = None
            if self._is_forgotten:  # that it comes to nothing says little about the server today
                self._is_forgotten = False
                self._advance(Opening(self.address, self._settings, now), now)
            else:
                self._note_failure(error, now)
            return
        self._opening = opening if connection is None else None
        if connection is not None:
            self.is_up, self.failure = True, None
            self._settings.health.note_success(self.address)
            self.server.connect(connection)

    def _note_failure(self, error: GearmanError, now: float) -> None:
        self.failure, self.failed_at = error, now
        self._settings.health.note_failure(self.address, now)

    def _expect_answer(self, within_s: float, connection: Connection, now: float) -> None:
        self._answer_due = now + within_s
        self._sent_bytes = connection.sent_bytes

    def _portion(self) -> list[Request]:
        """The requests to send next; attempts that were given up meanwhile are not sent at all."""
        backlog, address = self.backlog, self.address
        portion: list[Request] = []
        room, size_bytes = MAX_UNANSWERED - self.exchange.awaiting, 0
        while backlog and room > 0 and size_bytes < PORTION_BYTES:
            attempt = backlog.popleft()
            task = attempt.task
            if task is not None:
                if task.submission is not None and not self._choose_form(attempt, task.submission.forms):
                    continue
                attempt.server = address
                task.attempts += 1
                portion.append(attempt)
                room -= 1
                size_bytes += len(attempt.packet)
        if self._held and not self._is_asking:
            self._is_asking = True
            portion.append(_OptionsQuestion(self.server))
        return portion

    def _choose_form(self, attempt: Attempt, forms: Forms[bytes]) -> bool:
        """Choose the packet that this server takes; False if it is not known yet, or there is none."""
        takes_options = self.server.takes_options
        if takes_options is None:
            self._held.append(attempt)
            return False
        try:
            attempt.packet = forms.chosen(takes_options, self.address)
        except NotSupported as error:
            attempt.abandon(error)
            return False
        return True


class _OptionsQuestion(Request):
    """Asks whether a server takes options of jobs on this connection."""

    __slots__ = ("_server",)
    answer = PacketType.OPTION_RES

    def __init__(self, server: PooledServer) -> None:
        super().__init__(OPTIONS_REQUEST)
        self._server = server

    def answered(self, body: bytes) -> None:
        self._server.takes_options = True

    def refused(self, error: ServerError) -> None:
        self._server.takes_options = False


#: What ends a line, and not the program.
LINE_ERRORS: Final = (ConnectionLost, ProtocolError, Timeout)
