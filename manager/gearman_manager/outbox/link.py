"""One job server, served by a thread of its own: a server that is slow or silent holds no rows but those it has."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from gearman_client.address import Address
from gearman_client.client.attempts import LOSSES, Limits
from gearman_client.client.calls import Conversation, ask
from gearman_client.client.foreground import server_error
from gearman_client.client.server_pool import PoolSettings, ServerPool, next_packets
from gearman_client.client.submission import OPTIONS_REQUEST
from gearman_client.connection.connection import Connection
from gearman_client.connection.roster import Roster
from gearman_client.errors import CouldNotConnect, GearmanError, NotSupported, ProtocolError, ServerEnding, ServerError
from gearman_client.packet import PacketType
from gearman_manager.outbox.batch import Answer, Answered, Batch, is_to_be_repeated
from gearman_manager.outbox.row import OutboxRow

_log = logging.getLogger("outbox")

CONNECT_TIMEOUT_S: Final = 3.0
#: An idle link looks so often whether its connection is still there.
_LOOK_S: Final = 1.0
#: The wait before another attempt to connect, which doubles up to the other one.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
#: A server that is none of ours is asked again so often: it may be replaced.
_FOREIGN_PAUSE_S: Final = 30.0
#: A wave is begun only so long before the end of the lease, so that it arrives within it.
_MARGIN_S: Final = 0.5


class Link:
    """A job server. The relay gives it one batch at a time, and hears in `reports` of its end.

    is_ready: the server answers, and takes options of jobs.
    batch: the batch that the thread has; the relay sets and clears it.
    """

    def __init__(self, address: Address, reply_timeout_s: float, report: Callable[[Link, object], None]) -> None:
        """`report` is called from the thread, with `Up`, `Down`, `Told` or a list of `Answered`."""
        self.address = address
        self.name = str(address)
        self.is_ready = False
        self.batch: Batch | None = None
        self._report = report
        self._reply_timeout_s = reply_timeout_s
        ear = _Ear(address, lambda table: report(self, Told(table)))
        self._pool = ServerPool([address], PoolSettings(CONNECT_TIMEOUT_S, reply_timeout_s, True, ear))
        self._server = self._pool.servers[0]
        self._orders: SimpleQueue[Batch | None] = SimpleQueue()
        self._pause_s = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name=f"outbox {address}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def send(self, batch: Batch) -> None:
        """Send a batch; its report follows in any case."""
        self.batch = batch
        self._orders.put(batch)

    def leave(self) -> None:
        """End the thread after its batch."""
        self._orders.put(None)

    def stop(self, timeout_s: float) -> None:
        """End the thread after its batch, and wait for it so long."""
        self.leave()
        self._thread.join(timeout_s)

    # --- the thread

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            try:
                batch = self._orders.get(timeout=pause_s)
            except Empty:
                pause_s = self._look()
                continue
            if batch is None:
                self._pool.close()
                return
            try:
                answers = self._answers(batch)
            except Exception:  # noqa: BLE001 - the boundary of the thread: the server may have any of the rows
                _log.exception("job server %s: internal error", self.name)
                self._server.drop()
                self._note(Down("internal error"))
                answers = [Answered(row, Answer.LOST, text="internal error") for row in batch.rows]
            self._report(self, answers)
            pause_s = _LOOK_S if self.is_ready else 0.0

    def _look(self) -> float:
        """Connect, or see whether the connection is still there. Returns the time until the next look."""
        try:
            self._connected()
        except NotSupported as error:
            self._note(Down(str(error), is_foreign=True))
            return _FOREIGN_PAUSE_S
        except (CouldNotConnect, *LOSSES) as error:
            self._note(Down(str(error)))
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
            return pause_s
        self._pause_s = _FIRST_PAUSE_S
        if not self.is_ready:
            self.is_ready = True
            self._report(self, Up())
        return _LOOK_S

    def _note(self, down: Down) -> None:
        self.is_ready = False
        self._report(self, down)

    def _connected(self) -> Connection:
        """The connection, on which the server has said that it takes options of jobs.

        Raises:
            NotSupported: it does not.
            CouldNotConnect, ConnectionLost, ProtocolError, Timeout: there is no server that answers.
        """
        now = monotonic()
        connection = self._pool.connection(self._server, now + CONNECT_TIMEOUT_S)
        if not self._server.takes_options:
            limits = Limits(now + 2 * CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S)
            try:
                ask(self._server, connection, OPTIONS_REQUEST, PacketType.OPTION_RES, limits)
            except (ServerError, NotSupported) as error:
                raise NotSupported(
                    f"{self.name} is no gearman-server: it knows no ids of submissions, without which a row of the "
                    "outbox could become two jobs"
                ) from error
            self._server.takes_options = True
        return connection

    def _answers(self, batch: Batch) -> Sequence[Answered]:
        answers: list[Answered] = []
        held: set[str] = set()
        for wave in batch.waves:
            rows = [row for row in wave if row.order_key is None or row.order_key not in held]
            answers += [Answered(row, Answer.UNSENT) for row in wave if row.order_key in held]
            if not self.is_ready or monotonic() > batch.leased_until - _MARGIN_S:
                answers += [Answered(row, Answer.UNSENT) for row in rows]
                continue
            of_wave = self._answers_of(rows)
            answers += of_wave
            repeated = (each.row.order_key for each in of_wave if is_to_be_repeated(each))
            held.update(key for key in repeated if key is not None)
            trouble = next((each.text for each in of_wave if each.answer in (Answer.LOST, Answer.UNSENT)), None)
            if trouble is not None:
                self._server.drop()
                self._note(Down(trouble))
        return answers

    def _answers_of(self, rows: Sequence[OutboxRow]) -> Sequence[Answered]:
        try:
            connection = self._connected()
        except GearmanError as error:
            return [Answered(row, Answer.UNSENT, text=str(error)) for row in rows]
        before, answers = connection.sent_bytes, list[Answered]()
        try:
            with Conversation(self._server):
                for row in rows:
                    connection.queue(row.packet)
                connection.flush(monotonic() + self._reply_timeout_s)
                self._read_answers(connection, rows, answers)
        except LOSSES as error:
            # A packet of which only a part was sent counts as sent, because the kernel may have the rest by now.
            left_bytes = connection.sent_bytes - before - sum(len(row.packet) for row in rows[: len(answers)])
            for row in rows[len(answers) :]:
                answers.append(Answered(row, Answer.LOST if left_bytes > 0 else Answer.UNSENT, text=str(error)))
                left_bytes -= len(row.packet)
        return answers

    def _read_answers(self, connection: Connection, rows: Sequence[OutboxRow], answers: list[Answered]) -> None:
        deadline = monotonic() + self._reply_timeout_s
        while len(answers) < len(rows):
            for packet_type, body in next_packets(connection, deadline):
                if len(answers) == len(rows):
                    raise ProtocolError(f"{self.name} has answered more than was asked")
                row = rows[len(answers)]
                if packet_type == PacketType.JOB_CREATED:
                    answers.append(Answered(row, Answer.CREATED))
                elif packet_type == PacketType.ERROR:
                    error = server_error(body)
                    # One that is ending has not taken the row; it refuses every other one too.
                    answer = Answer.UNSENT if isinstance(error, ServerEnding) else Answer.REFUSED
                    answers.append(Answered(row, answer, error.code, error.text))
                else:
                    raise ProtocolError(f"{self.name} answered a submission with packet type {packet_type}")


class _Ear(Roster):
    """Passes on what the server tells of its cluster: the relay has the roster, and this link its one server."""

    def __init__(self, address: Address, tell: Callable[[bytes], object]) -> None:
        super().__init__([address])
        self._tell = tell

    def learn(self, told_by: Address, table: bytes, now: float) -> bool:
        may_tell_more = Roster([told_by]).learn(told_by, table, now)
        if may_tell_more:
            self._tell(table)
        return may_tell_more


class Up:
    """The server answers."""


class Told:
    """The server tells of its cluster, in a packet SERVERS."""

    def __init__(self, table: bytes) -> None:
        self.table = table


class Down:
    """The server does not answer, for this reason, or it is none of ours."""

    def __init__(self, reason: str, *, is_foreign: bool = False) -> None:
        self.reason = reason
        self.is_foreign = is_foreign
