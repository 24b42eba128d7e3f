"""One connection's protocol state: its identity, functions, jobs, and the packets that wait to be sent.

Pure: the listener moves the bytes. Replies that must not leave before a batch is committed are withheld here, and all
later packets on this connection wait behind them, so that a client sees its replies in order.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gearman_client.packet import Packet
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.agenda import Alarm
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job

#: Packets of one session that are carried out before others have their turn.
PACKETS_AT_ONCE: Final = 128
#: The size that a withheld reply adds to its connection's bound, besides the packets behind it.
WITHHELD_REPLY_BYTES: Final = 128


class WorkerState(Enum):
    """The state of a connection as a worker. Connections that are no workers stay AWAKE."""

    __hash__ = object.__hash__

    #: It works, or is about to send a request.
    AWAKE = "awake"
    #: It has asked for a job, found none and is not answered yet.
    ASKING = "asking"
    #: It waits for a NOOP.
    SLEEPING = "sleeping"
    #: It was sent a NOOP and has yet to ask for a job.
    WOKEN = "woken"


# A look-up in an enum costs as much as ten in a module, and every packet needs one.
AWAKE: Final = WorkerState.AWAKE
ASKING: Final = WorkerState.ASKING
SLEEPING: Final = WorkerState.SLEEPING
WOKEN: Final = WorkerState.WOKEN

# The table of transitions, as for a job: in a state that does not allow the event, the look-up raises KeyError.
#: It asked for a job, and there is none.
ASK: Final = {AWAKE: ASKING}
#: It is given a job, or told that there is none.
ANSWER: Final = {ASKING: AWAKE}
#: It sent PRE_SLEEP, and there is no job for it.
SLEEP: Final = {AWAKE: SLEEPING, SLEEPING: SLEEPING}
#: It no longer sleeps, or is no longer expected after a NOOP: it asks for a job, is about to get a NOOP, or is gone.
ROUSE: Final = {SLEEPING: AWAKE, WOKEN: AWAKE}
#: It is sent a NOOP; a sleeper was roused first.
WAKE: Final = {AWAKE: WOKEN}


class WithheldReply:
    """A gap in a connection's replies, filled when a batch is committed, and the packets that wait behind it."""

    __slots__ = ("behind", "packet", "session")

    def __init__(self, session: Session | None) -> None:
        #: None: nobody waits for the reply.
        self.session = session
        #: The reply; None while it must not leave. Code that sets it calls `Session.send_released` afterwards.
        self.packet: bytes | None = None
        self.behind: list[bytes] | None = None

    def release(self, packet: bytes) -> None:
        """Fill the gap: the reply leaves once the replies before it have left."""
        self.packet = packet
        if self.session is not None:
            self.session.send_released()


class LongAnswer(WithheldReply):
    """A gap that is filled piece by piece, as the peer reads."""

    __slots__ = ("pieces",)

    def __init__(self, session: Session, pieces: Iterator[bytes]) -> None:
        super().__init__(session)
        self.pieces = pieces


class BatchRule(NamedTuple):
    """The batches that a worker wants of a function."""

    #: The most jobs of a batch.
    at_most: int
    #: A job may wait for so long for the batch to fill up.
    linger_s: float


class HeldSet:
    """The jobs that a worker was given at once; its connection has the extension `grab-many`."""

    __slots__ = (
        "alarm",
        "asked",
        "first",
        "given_at",
        "is_batch",
        "is_plain",
        "jobs",
        "key",
        "shortest_s",
        "since",
        "takes_lists",
        "told_at",
    )

    def __init__(self) -> None:
        #: Who knows it may give the jobs back over another connection; empty: nobody.
        self.key = b""
        #: Whether it takes sets of plain jobs in one packet (`plain-sets`).
        self.takes_lists = False
        #: Whether the jobs of the set are of one function, and have no extras.
        self.is_plain = True
        #: The number of jobs in the last GRAB_JOBS.
        self.asked = 1
        #: The jobs, until they are sent.
        self.jobs: list[Job] = []
        #: By handle: when each of them entered its queue.
        self.since: dict[bytes, float] = {}
        #: Whether all of them are begun at once; else the worker runs them one after the other.
        self.is_batch = False
        #: The handle of the first, which is begun in any case.
        self.first = b""
        self.given_at = 0.0
        #: When a supervisor was last told of it.
        self.told_at = float("-inf")
        #: The shortest limit of its jobs (seconds), and the alarm for the limits.
        self.shortest_s = float("inf")
        self.alarm: Alarm | None = None

    def begin(self, now: float, *, is_batch: bool) -> None:
        """The next set follows."""
        self.given_at, self.is_batch, self.is_plain = now, is_batch, True
        self.jobs.clear()
        self.since = {}
        self.first = b""
        self.shortest_s = float("inf")

    def is_begun(self, job: Job, assigned: dict[bytes, Job]) -> bool:
        """Whether the worker has begun the job; `assigned` are those that it has not answered, maybe without this."""
        if self.is_batch or job.handle not in self.since:
            return True
        return next(iter(assigned), job.handle) == job.handle

    def was_begun_at_once(self, job: Job) -> bool:
        """Whether the job was begun when it was given out; also called in other threads."""
        return self.is_batch or job.handle == self.first or job.handle not in self.since


class Session:
    """The server's side of one connection."""

    __slots__ = (
        "_holds",
        "_withheld",
        "asking",
        "assigned",
        "assignment",
        "client_id",
        "done_at",
        "ending",
        "excepted_handle",
        "functions",
        "held",
        "identity",
        "is_drained",
        "is_halted",
        "is_peer",
        "listening",
        "number",
        "out",
        "ready",
        "reply",
        "rest",
        "timeouts_s",
        "wants_exceptions",
        "withheld_bytes",
        "woken_for",
        "worker_state",
    )

    def __init__(self, identity: Identity, number: int = 0, *, wants_exceptions: bool = False) -> None:
        self.identity = identity
        #: The descriptor of its connection, which the text command `workers` shows.
        self.number = number
        self.client_id = b"-"
        self.wants_exceptions = wants_exceptions
        #: The encoder of a job that answers GRAB_JOB_UNIQ and GRAB_JOB_ALL; None: it asked for no extension of these.
        self.assignment: Callable[[Job], bytes] | None = None
        #: The functions that it can do; if they are few, the one served longest ago first.
        self.functions: dict[Function, None] = {}
        #: If they are many: those with jobs in their queues, by priority, the one whose turn it is first. The jobs of
        #: some may have been taken since.
        self.ready: tuple[OrderedDict[Function, None], ...] | None = None
        self.timeouts_s: dict[Function, float] = {}
        self.worker_state = AWAKE
        #: While it is WOKEN: the function for whose job it was sent a NOOP.
        self.woken_for: Function | None = None
        #: When it last stopped having a job, for whatever reason (monotonic seconds).
        self.done_at = float("-inf")
        #: While it is ASKING: the encoder of the job that it will get.
        self.asking: Callable[[Job], bytes] | None = None
        #: The jobs that it runs, by handle, in the order of their assignment.
        self.assigned: dict[bytes, Job] = {}
        #: Whether it was taken out of service: it registers for no function any more, so it gets no job.
        self.is_drained = False
        #: Whether it is a server of the same cluster.
        self.is_peer = False
        #: The jobs that it was given at once; None: it has not asked for that extension.
        self.held: HeldSet | None = None
        #: The handle of the job that this worker last ended by an exception.
        self.excepted_handle = b""
        #: The jobs whose progress and end it is told.
        self.listening: set[Job] = set()
        #: Why the connection is to be closed once `out` has been sent; None: it stays open.
        self.ending: str | None = None
        #: Packets that may be sent now.
        self.out: list[bytes] = []
        #: Sends one packet. While nothing is withheld it is the list's own method, so that a server without a durable
        #: store pays nothing for withholding.
        self.reply: Callable[[bytes], None] = self.out.append
        self._withheld: deque[WithheldReply] = deque()
        self.withheld_bytes = 0
        #: Whether no further packet is carried out now: it is ending, had its turn, or `is_held`.
        self.is_halted = False
        #: Packets that have to wait for the session's next turn.
        self.rest: deque[Packet] | None = None
        self._holds = 0

    # --- its turns

    def yield_turn(self) -> None:
        """Let others go first after this request, because it took longer than most."""
        self.is_halted = True

    def hold(self) -> None:
        """Carry out no further packet until `unhold`, because this request takes many turns."""
        self._holds += 1
        self.is_halted = True

    def unhold(self) -> None:
        """End one `hold`: the session goes on at its next turn."""
        self._holds -= 1

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone, so that nobody reads an answer."""
        return self.reply is _vanish

    @property
    def is_held(self) -> bool:
        """Whether a request takes many turns and is not over."""
        return self._holds > 0

    @property
    def can_go_on(self) -> bool:
        """Whether it waits for nothing but its next turn."""
        return self.is_halted and not self._holds and self.ending is None

    def set_aside(self, packets: Iterable[Packet]) -> None:
        """Keep packets for the next turn, behind those that wait already."""
        self.is_halted = True
        if self.rest is None:
            self.rest = deque(packets)
        else:
            self.rest.extend(packets)

    def begin_turn(self) -> list[Packet]:
        """The packets to carry out now; the others stay. It must be one that can go on."""
        rest = self.rest or deque()
        packets = [rest.popleft() for _ in range(min(PACKETS_AT_ONCE, len(rest)))]
        self.is_halted = False
        if not rest:
            self.rest = None
        return packets

    def end_turn(self, left: Iterable[Packet]) -> None:
        """Keep the packets that the end of a turn has left over, before those that wait already."""
        packets = deque(left)
        if self.ending is not None:
            self.rest = None
        elif packets:
            packets.extend(self.rest or ())
            self.rest = packets
        self.is_halted = self.ending is not None or self.rest is not None or self.is_held

    # --- its replies

    def answer(self, pieces: Iterator[bytes]) -> None:
        """Reply with an answer in pieces: the first of them now, each of the others when `send_piece` is called.

        Until the last, no further packet is carried out, and other replies wait behind the answer.
        """
        self.reply(next(pieces, b""))
        second = next(pieces, None)
        if second is not None:
            self.hold()
            self.leave_gap(LongAnswer(self, chain((second,), pieces)))

    @property
    def has_piece(self) -> bool:
        """Whether the next piece of an answer may be sent now."""
        return bool(self._withheld) and isinstance(self._withheld[0], LongAnswer)

    def send_piece(self) -> None:
        """Move the next piece of the answer to `out`; after the last, the replies that have waited for it.

        An empty piece only lets others have their turn.
        """
        answer = self._withheld[0]
        assert isinstance(answer, LongAnswer)
        piece = next(answer.pieces, None)
        if piece is None:
            self.unhold()
            answer.release(b"")
        elif piece:
            self.out.append(piece)

    def withhold(self) -> WithheldReply:
        """Leave a gap for a reply that must not leave yet."""
        gap = WithheldReply(self)
        self.leave_gap(gap)
        return gap

    def leave_gap(self, gap: WithheldReply) -> None:
        """Leave this gap, which was made for the session."""
        if not self._withheld:
            self.reply = self._reply_behind
        self._withheld.append(gap)
        self.withheld_bytes += WITHHELD_REPLY_BYTES

    def _reply_behind(self, packet: bytes) -> None:
        gap = self._withheld[-1]
        if gap.behind is None:
            gap.behind = [packet]
        else:
            gap.behind.append(packet)
        self.withheld_bytes += len(packet)

    def send_released(self) -> None:
        """Move the replies that no longer wait for a gap before them to `out`."""
        withheld, out = self._withheld, self.out
        released = size_bytes = 0
        for gap in withheld:
            if gap.packet is None:
                break
            out.append(gap.packet)
            released += 1
            if gap.behind is not None:
                out += gap.behind
                size_bytes += sum(map(len, gap.behind))
        if released == len(withheld):  # the usual case: one batch holds everything that a client has in flight
            withheld.clear()
            self.reply = out.append
        else:
            for _ in range(released):
                withheld.popleft()
        self.withheld_bytes -= size_bytes + released * WITHHELD_REPLY_BYTES

    def end(self, reason: str) -> None:
        """Have the listener close the connection once its replies are sent."""
        self.ending = self.ending or reason
        self.is_halted = True

    def close(self) -> None:
        """The connection is gone: drop its packets, and discard any that still follow."""
        self.end("closed")
        self.rest = None
        self._withheld.clear()
        self.withheld_bytes = 0
        self.out.clear()
        self.reply = _vanish


def _vanish(_packet: bytes) -> None:
    """Discard a packet for a closed connection."""
