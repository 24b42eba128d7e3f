"""The attempts of one call: each has a server and a connection, until one is answered or the call's time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, NamedTuple, TypeVar

from gearman_client.client.server_pool import PooledServer, ServerPool
from gearman_client.connection.connection import Connection
from gearman_client.errors import ConnectionLost, CouldNotConnect, GearmanError, ProtocolError, Timeout

#: A call whose request was lost so often fails: it may be the request that servers do not survive.
MAX_LOSSES: Final = 10
#: The pause before the servers are tried again when none can be reached; it doubles up to the other one.
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
#: A server is not given up for another one before it had so much time for an answer.
_LEAST_WAIT_S: Final = 1.0
#: The most times that a server is chosen because there are others than a moment ago.
MAX_CHOICES: Final = 10
#: What loses a request, rather than answering it.
LOSSES: Final = (ConnectionLost, ProtocolError, Timeout)

AnswerT = TypeVar("AnswerT")


class Limits(NamedTuple):
    """The time of one call; seconds, and monotonic times.

    deadline: the end of the whole call; infinite: only the other two limits apply.
    reply_timeout_s: for each of the server's own answers.
    connect_timeout_s: how long to look for another server after a request was lost.
    """

    deadline: float
    reply_timeout_s: float
    connect_timeout_s: float

    def begin(self) -> None:
        """Check that there is time: what is submitted now must not be submitted in vain.

        Raises:
            Timeout: there is none.
        """
        if monotonic() >= self.deadline:
            raise Timeout("no time is left for the call: nothing was sent")

    def answer_by(self, others: int) -> float:
        """Until when to await an answer of a server itself. With other servers it leaves half of the time for them."""
        now = monotonic()
        left_s = self.deadline - now
        if others and left_s > 2 * _LEAST_WAIT_S:
            left_s /= 2
        return now + min(self.reply_timeout_s, left_s)


class LostRequests:
    """What one call has lost so far, and whether it may try again. It knows no clock and no connection.

    others: the number of servers that could take over.
    """

    def __init__(self, limits: Limits, others: int) -> None:
        self.limits = limits
        self.others = others
        self._losses = 0
        self._loss: GearmanError | None = None
        self._search_until = inf
        self._pause_s = _FIRST_PAUSE_S

    def note(self, error: GearmanError, answers: int, now: float) -> bool:
        """A request was lost; whether its server is to be left out when it is sent again.

        answers: the number of requests that the server has answered over the same connection.

        Raises:
            GearmanError: `error` itself, if another attempt would not help, has no time, or if there were too many.
        """
        if not self.others and not isinstance(error, ConnectionLost):
            raise error
        self._losses += 1
        self._loss = error
        self._search_until = min(self.limits.deadline, now + self.limits.connect_timeout_s)
        self._pause_s = _FIRST_PAUSE_S
        if self._losses > MAX_LOSSES or now >= self.limits.deadline:
            raise error
        # A connection from an earlier call can end at any time; one that was made for this call says more.
        return bool(self.others) and (answers == 0 or self._losses > 1 or isinstance(error, Timeout))

    def pause_s(self, error: CouldNotConnect, now: float) -> float:
        """How long to wait before the servers are tried again, because none can be reached.

        Raises:
            CouldNotConnect: `error` itself, if nothing was lost.
            ConnectionLost: they were tried for long enough.
        """
        if self._loss is None:
            raise error
        if now + self._pause_s >= self._search_until:
            raise ConnectionLost(f"{self._loss}; no server for another attempt: {error}") from self._loss
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s


class Attempts(LostRequests):
    """The attempts of one call. They may go to any server, equal keys beginning with the same one, or to `only` one."""

    def __init__(self, pool: ServerPool, limits: Limits, key: bytes = b"", only: PooledServer | None = None) -> None:
        super().__init__(limits, 0 if only else len(pool.servers) - 1)
        self.pool = pool
        self._key = key
        self._only = only

    @property
    def is_for_one(self) -> bool:
        """Whether they may go only to one server."""
        return self._only is not None

    def next(self) -> tuple[PooledServer, Connection]:
        """The server and the connection for the next attempt.

        Raises:
            Timeout: the call has no time.
            CouldNotConnect: no server can be reached.
            ConnectionLost: no server can be reached any more after the request was lost, also not after a while.
        """
        if self._loss is None:
            self.limits.begin()
        while True:
            try:
                if self._only is not None:
                    return self._only, self.pool.connection(self._only, self.limits.deadline)
                return self._choose()
            except CouldNotConnect as error:
                pause_s = self.pause_s(error, monotonic())
            time.sleep(pause_s)

    def _choose(self) -> tuple[PooledServer, Connection]:
        pool = self.pool
        if self._loss is not None:
            pool.refresh(is_idle=False)
        for _ in range(MAX_CHOICES):
            chosen = pool.choose(self._key, self.limits.deadline)
            # A new connection may have told of more servers, and the key may be for one of those.
            if not pool.refresh(is_idle=False) or not self._key:
                break
        self.others = len(pool.servers) - 1
        return chosen

    def lost(self, server: PooledServer, error: GearmanError) -> None:
        """The request was lost, and is to be sent again.

        Raises:
            GearmanError: `error` itself, if there is to be no other attempt.
        """
        now = monotonic()
        if self.note(error, server.answers, now):
            self.pool.health.note_failure(server.address, now)


def repeat(attempts: Attempts, ask: Callable[[PooledServer, Connection], AnswerT]) -> AnswerT:
    """Ask a server, and another one if the answer is lost: for requests that may arrive twice.

    Raises:
        ConnectionLost, CouldNotConnect, ProtocolError, Timeout: no server has answered.
    """
    while True:
        server, connection = attempts.next()
        try:
            return ask(server, connection)
        except LOSSES as error:
            attempts.lost(server, error)
