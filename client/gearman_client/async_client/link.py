"""One connection to a job server, shared by any number of coroutines of one event loop: requests in, answers out.

It never reconnects and chooses no server. It is finished once its server is gone or did not answer when an answer was
due, or when nobody needs it any more; `is_open` then is false.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, NamedTuple

from gearman_client import exclusive
from gearman_client.async_client.awaited import ASKED, OVER, WAITING, Awaited, AwaitedAnswer, AwaitedResult, Stage
from gearman_client.client.attempts import Limits
from gearman_client.client.calls import silent
from gearman_client.client.exchange import Exchange
from gearman_client.client.request import ALIVE_REQUEST
from gearman_client.connection.connection import Connection
from gearman_client.errors import ConnectionLost, GearmanError, ProtocolError, Timeout
from gearman_client.packet import PacketType

#: Requests wait while more bytes than these are not sent: the most that a slow server lets pile up here.
MAX_UNSENT_BYTES: Final = 1024 * 1024
#: How long a connection on which nobody waits for anything stays open after a request was left. Then it is closed, so
#: that the server gives up a job that no worker has begun.
LINGER_S: Final = 1.0
#: The jobs under way that nobody waits for, above which a connection takes no more requests: it is closed as soon as
#: nobody needs it, however busy the client is.
MAX_LEFT: Final = 1000
#: The most results for which one connection may wait at once (docs/protocol-extensions.md).
MAX_RESULT_WAITS: Final = 1000


class Watch(NamedTuple):
    """A foreground job may take longer than its server's answers, as long as the server is alive.

    limits: of the call.
    others: the number of servers that could take the job over.
    """

    limits: Limits
    others: int


class Link:
    """The conversation over one connection.

    reply_timeout_s: the server counts as lost if it was due to answer, or to take bytes, and did neither for so long.
    on_open_end: called once when the link takes no more requests, with the reason if the connection was lost.
    """

    def __init__(
        self, connection: Connection, reply_timeout_s: float, on_open_end: Callable[[Link, GearmanError | None], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = connection.address
        #: Whether it takes requests.
        self.is_open = True
        #: The server has confirmed that it answers requests for results.
        self.tells_results = False
        #: Whether the server takes options of jobs, on this connection; None: it was not asked.
        self.takes_options: bool | None = None
        #: The requests for results that are not answered, by handle.
        self.results: dict[bytes, list[AwaitedResult]] = {}
        #: The places of those that wait for results.
        self.result_waits = asyncio.Semaphore(MAX_RESULT_WAITS)
        self._connection = connection
        self._forks = exclusive.forks
        self._exchange = Exchange()
        self._reply_timeout_s = reply_timeout_s
        self._on_open_end = on_open_end
        #: The requests that wait for room.
        self._backlog: deque[Awaited] = deque()
        #: The numbers of requests that somebody waits for, and of those that were left.
        self._wanted = self._left = 0
        self._queued_bytes = 0
        self._is_flush_planned = self._awaits_room = False
        #: The number of requests that the server has answered.
        self.answers = 0
        #: When something came last.
        self.heard_at = self.loop.time()
        #: Nothing was under way before the bytes that are to be sent.
        self._is_doubtful = False
        self._alive_at = 0.0
        #: Whether it is alive: the question that was asked last.
        self._question: AwaitedAnswer | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.loop.add_reader(connection.fileno(), self._on_readable)

    @property
    def load(self) -> int:
        """The number of requests that somebody waits for."""
        return self._wanted

    async def ask(self, request: Awaited, answer_by: float, watch: Watch | None = None) -> Any:
        """Send a request, and wait for what its future gets. Only while `is_open`.

        Cancelling it leaves the connection as it is: what the server sends about the request is swallowed.
        answer_by: until when the server must have answered, in the time of the loop; may be infinite.
        watch: for a foreground job, which may take longer.

        Raises:
            Timeout: no answer in time; the connection is left as it is.
            ServerSilent: a server that has the job has stopped answering; the connection takes no more requests.
            ConnectionLost, ProtocolError, Timeout: the connection is gone; `request.stage` tells what is known.
        """
        self.start(request)
        future = request.future
        if answer_by < inf:
            request.timer = self.loop.call_at(answer_by, self._time_out, request, future, watch)
        try:
            return await future
        except BaseException:
            self.leave(request, future)
            raise
        finally:
            if request.timer is not None:
                request.timer.cancel()

    def start(self, request: Awaited) -> None:
        """Send a request as soon as there is room. The caller waits for its future, or calls `leave`."""
        request.prepare(self)
        if self._is_closed:
            request.lose(Stage.UNSENT, ConnectionLost(f"connection to {self.address} lost"))
            return
        self._wanted += 1
        if not self._exchange.awaiting and not self._backlog:
            self._alive_at = self.loop.time()
            self._is_doubtful = self._is_doubtful or self._exchange.is_idle
        if self._backlog or self._queued_bytes - self._connection.sent_bytes > MAX_UNSENT_BYTES:
            self._backlog.append(request)
        else:
            self._send(request)
        if self._watchdog is None:
            self._watchdog = self.loop.call_later(self._reply_timeout_s, self._look)

    def leave(self, request: Awaited, future: asyncio.Future[Any] | None = None) -> None:
        """Nobody waits for the request any more.

        future: the one that was awaited; the request may have got another caller's meanwhile.
        """
        future = future or request.future
        if not future.done():
            future.cancel()
        elif not future.cancelled():
            future.exception()  # else the loop would report it as one that nobody has seen
        if future is not request.future:
            return
        if request.stage is WAITING:
            request.stage = Stage.UNSENT
            request.packet = b""
            self._wanted -= 1
        elif request.stage is ASKED and not request.is_left:
            request.is_left = True
            self._wanted -= 1
            self._left += 1
            if self._left > MAX_LEFT:
                self.retire()
        if not self._wanted:
            self._note_unwanted()

    def note_end(self, request: Awaited) -> None:
        """The server has sent the last packet about a request."""
        request.stage = OVER
        self.answers += 1
        if request.is_left:
            self._left -= 1
        else:
            self._wanted -= 1
        if not self._wanted and (self._left or not self.is_open):
            self._note_unwanted()

    def retire(self) -> None:
        """Take no more requests, and close the connection as soon as nobody waits for an answer."""
        self._end_open(None)
        if not self._wanted:
            self._close()

    def give_up(self, error: GearmanError) -> None:
        """The connection is of no use any more: end all that is under way; each request gets an error of its own."""
        if self._is_closed:
            return
        losses = self._exchange.lose(self._connection.unsent_bytes)
        backlog, self._backlog = self._backlog, deque()
        self._close(error)
        for stage, requests in (
            (Stage.UNSENT, [*losses.unsent, *(request for request in backlog if request.stage is WAITING)]),
            (Stage.UNKNOWN, [*losses.unacknowledged, *losses.created, *losses.asked]),
        ):
            for request in requests:
                assert isinstance(request, Awaited)
                is_silent = isinstance(error, Timeout) and request.is_created
                request.lose(stage, silent(self.address) if is_silent else type(error)(*error.args))

    def forsake(self) -> None:
        """Close the descriptor and touch nothing else: the event loop is closed, or is that of the parent process."""
        self.is_open = False
        self._is_closed = True
        self._connection.close()

    def _send(self, request: Awaited) -> None:
        request.stage = ASKED
        self._exchange.ask(request)
        self._connection.queue(request.packet)
        self._queued_bytes += len(request.packet)
        if not self._is_flush_planned and not self._awaits_room:
            # Once for all the requests of this turn of the loop: a system call for each would take most of the time.
            self._is_flush_planned = True
            self.loop.call_soon(self._flush)

    def _note_unwanted(self) -> None:
        """Nobody waits for anything."""
        if not self.is_open:
            self._close()
        elif self._left and self._linger is None:
            self._linger = self.loop.call_later(LINGER_S, self._end_lingering)

    def _end_lingering(self) -> None:
        self._linger = None
        if self._wanted or not self._left:
            return
        left_s = self.heard_at + LINGER_S - self.loop.time()
        if left_s > 0:
            self._linger = self.loop.call_later(left_s, self._end_lingering)
        else:
            self.retire()

    def _flush(self) -> None:
        self._is_flush_planned = False
        if self._is_doubtful and not self._is_closed:
            # The server may have closed the connection while it was idle: a job must not be sent into that.
            self._is_doubtful = False
            if self._connection.wait_readable(0):
                self._on_readable()
        if self._is_closed:
            return
        sent_bytes = self._connection.sent_bytes
        try:
            is_done = self._connection.try_flush()
        except ConnectionLost as error:
            self.give_up(error)
            return
        if self._connection.sent_bytes != sent_bytes:
            self._alive_at = self.loop.time()
        if is_done == self._awaits_room:
            self._awaits_room = not is_done
            if is_done:
                self.loop.remove_writer(self._connection.fileno())
            else:
                self.loop.add_writer(self._connection.fileno(), self._flush)
        if self._backlog:
            self._admit()

    def _admit(self) -> None:
        """Send requests that waited for room, as many as there is room for."""
        backlog = self._backlog
        while backlog and self._queued_bytes - self._connection.sent_bytes <= MAX_UNSENT_BYTES:
            request = backlog.popleft()
            if request.stage is WAITING:
                self._send(request)

    def _on_readable(self) -> None:
        if self._is_closed:
            return
        if self._forks != exclusive.forks:
            self.forsake()  # what there is to read belongs to the parent
            return
        exchange = self._exchange
        try:
            packets = self._connection.try_receive()
            self.heard_at = self.loop.time()
            awaiting = exchange.awaiting
            exchange.take(packets)
            if exchange.awaiting != awaiting:
                self._alive_at = self.heard_at
            if self._connection.violation is not None:
                self.give_up(ConnectionLost(f"connection to {self.address} lost: {self._connection.violation}"))
        except (ConnectionLost, ProtocolError) as error:
            self.give_up(error)
        except BaseException:
            # Out of a callback, such as KeyboardInterrupt: the packets behind it are lost.
            self.give_up(ConnectionLost(f"connection to {self.address} lost: interrupted while its packets were read"))
            raise

    def _time_out(self, request: Awaited, future: asyncio.Future[Any], watch: Watch | None) -> None:
        if future.done():
            return
        now = self.loop.time()
        if watch is None or not request.is_created or now >= watch.limits.deadline:
            future.set_exception(Timeout(f"no answer from {self.address} in the time allowed"))
        elif request.questioned_at >= self.heard_at:
            error = silent(self.address)
            self._end_open(error)
            future.set_exception(error)
        else:
            # The worker may take its time. The server itself is asked whether it is there.
            request.questioned_at = now
            self._ask_whether_alive()
            answer_by = watch.limits.answer_by(watch.others)
            request.timer = self.loop.call_at(answer_by, self._time_out, request, future, watch)

    def _ask_whether_alive(self) -> None:
        if self._question is None or self._question.stage not in (WAITING, ASKED):
            self._question = AwaitedAnswer(ALIVE_REQUEST, PacketType.ECHO_RES)
            self.start(self._question)
            self.leave(self._question)

    def _look(self) -> None:
        """Whether the server is alive, if it is due to answer or to take bytes."""
        self._watchdog = None
        if not self._exchange.awaiting and not self._backlog:
            return
        left_s = self._alive_at + self._reply_timeout_s - self.loop.time()
        if left_s > 0:
            self._watchdog = self.loop.call_later(left_s, self._look)
        else:
            self.give_up(Timeout(f"no answer from {self.address} in {self._reply_timeout_s:g} s"))

    def _close(self, reason: GearmanError | None = None) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for timer in (self._watchdog, self._linger):
            if timer is not None:
                timer.cancel()
        descriptor = self._connection.fileno()
        if descriptor >= 0 and self._forks == exclusive.forks:  # else the parent's loop would lose its connection
            self.loop.remove_reader(descriptor)
            self.loop.remove_writer(descriptor)
        self._connection.close()
        self._end_open(reason)

    def _end_open(self, reason: GearmanError | None) -> None:
        if self.is_open:
            self.is_open = False
            self._on_open_end(self, reason)
