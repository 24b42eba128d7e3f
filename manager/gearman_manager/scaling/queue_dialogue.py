"""The conversation with one job server about its queues: bytes in, queues and peers out. Pure: no socket, no clock.

It names the connection and requests pushed queue changes (our server has them; others answer UNKNOWN_OPTION and are
polled). Then it asks `status` and `workers` in turn, one question at a time: a late answer shows a stalled server. A
server that pushes is also asked, once, to tell of its troubles, which jobs of our workers are to be stopped, and which
other servers its cluster has.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from gearman_client.admin.tables import ConnectedWorker, parse_connected_worker, parse_function_status
from gearman_client.errors import AdminError, ProtocolError
from gearman_client.extensions import (
    JOB_STOPPING,
    JOB_STOPPING_ARGUMENTS,
    JOB_STOPPING_OPTION,
    ORPHANED_JOBS_OPTION,
    QUEUE_CHANGED,
    QUEUE_CHANGED_ARGUMENTS,
    QUEUE_CHANGED_HOLD_ARGUMENTS,
    QUEUE_EVENTS_OPTION,
    SERVER_TROUBLE,
    SERVER_TROUBLES_OPTION,
    SERVERS,
    SERVERS_OPTION,
    STORE_ID,
)
from gearman_client.packet import HEADER, HEADER_BYTES, RESPONSE_MAGIC, PacketType, encode_request, split_arguments
from gearman_client.text import to_argument, to_text
from gearman_manager.scaling.neighbours import Peers

BUSY_INTERVAL_S: Final = 0.1
IDLE_INTERVAL_S: Final = 1.0
#: A server that pushes is asked too, so that a lost change is corrected.
RECHECK_INTERVAL_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
MAX_PACKET_BYTES: Final = 64 * 1024
MAX_TROUBLE_BYTES: Final = 1000
_COUNTS: Final = QUEUE_CHANGED_ARGUMENTS - 1


class Hold(NamedTuple):
    """Why none of a function's jobs is started, in Unix seconds: since when an operator has paused it, since when its
    brake holds it, and until when; until when it is held because one of its jobs has wished so. 0: it is not. A brake
    whose time is over lets single jobs through, as probes."""

    paused_at: float = 0.0
    held_at: float = 0.0
    held_until: float = 0.0
    throttled_until: float = 0.0


@dataclass(frozen=True, slots=True)
class FunctionQueue:
    """One function's startable jobs (`queued`), running jobs and workers. `waiting` also counts delayed jobs, and jobs
    that a limit of the function, a pause or a brake (`hold`) holds back. `doubtful` is the part of `queued` on servers
    that can't tell which of the waiting jobs are startable."""

    queued: int = 0
    running: int = 0
    workers: int = 0
    waiting: int = 0
    doubtful: int = 0
    hold: Hold | None = None


class _Question(Enum):
    EVENTS = QUEUE_EVENTS_OPTION
    TROUBLES = SERVER_TROUBLES_OPTION
    STOPS = JOB_STOPPING_OPTION
    ORPHANS = ORPHANED_JOBS_OPTION
    SERVERS = SERVERS_OPTION
    STATUS = b"status\n"
    WORKERS = b"workers\n"


#: Options that a server of ours may be too old for.
_LATER_OPTIONS: Final = (_Question.TROUBLES, _Question.STOPS, _Question.ORPHANS, _Question.SERVERS)
_OPTIONS: Final = (_Question.EVENTS, *_LATER_OPTIONS)


class StoppedJob(NamedTuple):
    """A job that is to be stopped, and the connection of the worker that has it."""

    client_id: str
    address: str
    handle: str


class QueueDialogue:
    """One connection's conversation, from its greeting to its loss."""

    def __init__(self, client_id: str, *, offer_events: bool = True) -> None:
        self.functions: dict[str, FunctionQueue] = {}
        self.peers = Peers()
        self.is_informed = False  # both tables have been received
        self.is_pushed: bool | None = None if offer_events else False
        #: What keeps the server from doing all of its work, as it says; empty if nothing does, or if it does not tell.
        self.trouble = ""
        #: The id of the server's store; empty if it is not known, or if nobody takes over the server's jobs.
        self.store_id = b""
        #: Jobs that are to be stopped; the caller takes them out.
        self.stops: list[StoppedJob] = []
        #: What the server says of the servers of its cluster (the packet SERVERS); the caller takes it out.
        self.cluster: bytes | None = None
        self._wishes: list[_Question] = []
        self.client_id = client_id  #: the connection's name; a new one is told with the next question
        self._told_id = client_id
        self._pending = bytearray()
        self._question: _Question | None = None
        self._asked_at = -inf
        self._status_due = self._workers_due = -inf
        self._last_answers: dict[_Question, bytes] = {}

    # --- asking

    def greet(self, now: float) -> bytes:
        """The bytes to send first."""
        greeting = self._naming()
        if self.is_pushed is None:
            self._question, self._asked_at = _Question.EVENTS, now
            greeting += encode_request(PacketType.OPTION_REQ, QUEUE_EVENTS_OPTION)
        return greeting

    def ask(self, now: float) -> bytes:
        """The question that is due, or nothing."""
        if self._question is not None:
            return b""
        if self._told_id != self.client_id:
            self._workers_due = now  # to see whether the server shows it
            return self._naming() + self.ask(now)
        if self._wishes and self.is_informed:
            wish = self._wishes.pop(0)
            self._question, self._asked_at = wish, now
            return encode_request(PacketType.OPTION_REQ, wish.value)
        if now < min(self._status_due, self._workers_due):
            return b""
        question = _Question.STATUS if now >= self._status_due else _Question.WORKERS
        if question is _Question.WORKERS:
            self._workers_due = now + IDLE_INTERVAL_S
        self._question, self._asked_at = question, now
        return question.value

    def _naming(self) -> bytes:
        self._told_id = self.client_id
        return encode_request(PacketType.SET_CLIENT_ID, to_argument(self.client_id, "client id"))

    def wakes_at(self) -> float:
        """The time at which the next question is due, or the latest time for the answer to the last one."""
        if self._question is not None:
            return self._asked_at + ANSWER_TIMEOUT_S
        if self._wishes and self.is_informed:
            return -inf
        return min(self._status_due, self._workers_due)

    def is_overdue(self, now: float) -> bool:
        """Whether the server has owed an answer for too long."""
        return self._question is not None and now >= self._asked_at + ANSWER_TIMEOUT_S

    # --- hearing

    def feed(self, data: bytes, now: float) -> bool:
        """Take in received bytes; returns whether queues, peers or troubles have changed.

        Raises:
            ProtocolError, AdminError: the bytes make no sense, or were not asked for.
        """
        self._pending += data
        has_changed = False
        while self._pending:
            end = self._end_of_packet() if self._pending[0] == 0 else self._end_of_answer()
            if end == 0:
                break
            unit = bytes(self._pending[:end])
            del self._pending[:end]
            has_changed |= self._packet(unit, now) if unit[0] == 0 else self._answer(unit, now)
        return has_changed

    def _end_of_packet(self) -> int:
        if len(self._pending) < HEADER_BYTES:
            return 0
        magic, _, length = HEADER.unpack_from(self._pending)
        if magic != RESPONSE_MAGIC or length > MAX_PACKET_BYTES:
            raise ProtocolError("what came is no packet of a job server, or one that was not asked for")
        end: int = HEADER_BYTES + length
        return end if len(self._pending) >= end else 0

    def _end_of_answer(self) -> int:
        if self._question is None or self._question in _OPTIONS:
            raise ProtocolError(f"text that was not asked for: {bytes(self._pending[:80])!r}")
        if self._pending.startswith(b".\n"):
            return 2
        first_line = self._pending.find(b"\n") + 1
        if self._pending.startswith(b"ERR ") and self._pending[:first_line].endswith(b"\r\n"):
            return first_line
        end = self._pending.find(b"\n.\n")
        if end < 0 and len(self._pending) > MAX_ANSWER_BYTES:
            raise ProtocolError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        return end + 3 if end >= 0 else 0

    def _packet(self, packet: bytes, now: float) -> bool:
        _, packet_type, _ = HEADER.unpack_from(packet)
        body = packet[HEADER_BYTES:]
        if packet_type == QUEUE_CHANGED:
            return self._queue_changed(body, now)
        if packet_type == SERVER_TROUBLE:
            before, self.trouble = self.trouble, to_text(body[:MAX_TROUBLE_BYTES])
            return self.trouble != before
        if packet_type == STORE_ID:
            self.store_id = body
            return False
        if packet_type == JOB_STOPPING:
            self.stops.append(_stopped_job(body))
            return False
        if packet_type == SERVERS:
            self.cluster = body
            return False
        if packet_type == PacketType.OPTION_RES and self._question is _Question.EVENTS:
            self.is_pushed = True
            self._wishes = list(_LATER_OPTIONS)
        elif packet_type == PacketType.ERROR and self._question is _Question.EVENTS:
            self.is_pushed = False
        elif packet_type in (PacketType.OPTION_RES, PacketType.ERROR) and self._question in _LATER_OPTIONS:
            pass  # an older server of ours does not tell
        elif packet_type == PacketType.ERROR:
            code, text = split_arguments(packet_type, body)
            raise ProtocolError(f"the server says {to_text(code)}: {to_text(text)}")
        else:
            raise ProtocolError(f"a packet of type {packet_type} was not asked for")
        self._question = None
        return False

    def _queue_changed(self, body: bytes, now: float) -> bool:
        name, *numbers = body.split(b"\0")
        counts, times = numbers[:_COUNTS], numbers[_COUNTS:]
        is_complete = len(counts) == _COUNTS and len(times) in (0, QUEUE_CHANGED_HOLD_ARGUMENTS)
        if not is_complete or not all(n.isdigit() and len(n) <= 20 for n in numbers):
            raise ProtocolError(f"not a queue's state: {body[:80]!r}")
        hold = Hold(*(int(time_ms) / 1000 for time_ms in times)) if times else None
        queued, running, workers, waiting = map(int, counts)
        function, queue = to_text(name), FunctionQueue(queued, running, workers, waiting, hold=hold)
        before = self.functions.get(function)
        self.functions[function] = queue
        self._note_workers(before, queue, now)
        return queue != before

    def _answer(self, answer: bytes, now: float) -> bool:
        question, self._question = self._question, None
        if question is _Question.STATUS:
            return self._status(answer, now)
        has_changed = self._workers(answer) or not self.is_informed
        self.is_informed = True
        return has_changed

    def _status(self, answer: bytes, now: float) -> bool:
        has_changed = self._last_answers.get(_Question.STATUS) != answer
        if has_changed or self.is_pushed:
            if answer.startswith(b"ERR "):
                raise AdminError("ERR", to_text(answer[4:]).strip())
            has_changed = self._take_status(answer, now)
            self._last_answers[_Question.STATUS] = answer
        is_busy = any(queue.queued for queue in self.functions.values())
        busy_or_idle_s = BUSY_INTERVAL_S if is_busy else IDLE_INTERVAL_S
        self._status_due = now + (RECHECK_INTERVAL_S if self.is_pushed else busy_or_idle_s)
        return has_changed

    def _take_status(self, answer: bytes, now: float) -> bool:
        before, self.functions = self.functions, {}
        for line in answer.split(b"\n")[:-2]:
            row = parse_function_status(line)
            waiting = max(0, row.total - row.running)
            told = before.get(row.function) if self.is_pushed else None
            # `status` counts all waiting jobs; a server that pushes has told how many can start, and what holds others.
            queued, hold = (waiting, None) if told is None else (min(waiting, told.queued), told.hold)
            queue = FunctionQueue(queued, row.running, row.workers, waiting, hold=hold)
            self.functions[row.function] = queue
            self._note_workers(before.get(row.function), queue, now)
        return self.functions != before

    def _workers(self, answer: bytes) -> bool:
        if self._last_answers.get(_Question.WORKERS) == answer:
            return False
        self._last_answers[_Question.WORKERS] = answer
        before, self.peers = self.peers, Peers.of(_connections(answer))
        return self.peers != before

    def _note_workers(self, before: FunctionQueue | None, now_known: FunctionQueue, now: float) -> None:
        """If workers came or went, ask soon to whom they belong."""
        if before is None or before.workers != now_known.workers:
            self._workers_due = min(self._workers_due, now + BUSY_INTERVAL_S)


def _stopped_job(body: bytes) -> StoppedJob:
    arguments = body.split(b"\0")
    if len(arguments) != JOB_STOPPING_ARGUMENTS:
        raise ProtocolError(f"not a job that is to be stopped: {body[:80]!r}")
    return StoppedJob(*map(to_text, arguments))


def _connections(answer: bytes) -> list[ConnectedWorker]:
    """The rows of `workers`; none from a server without this command, or with another format."""
    connections = []
    for line in answer.split(b"\n")[:-2]:
        with suppress(AdminError):
            connections.append(parse_connected_worker(line))
    return connections
