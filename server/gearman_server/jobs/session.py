"""One connection's protocol state: who it is, what it can do, which jobs it holds or listens to, what waits to be sent.

Pure: the listener moves the bytes. Replies that must not leave before a batch is committed are withheld here, and
whatever comes behind them on this connection waits too, so that a client sees its replies in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job

#: What a withheld reply counts towards the bound of its connection, beside the packets behind it.
WITHHELD_REPLY_BYTES: Final = 128


class WithheldReply:
    """A gap in a connection's replies, to be filled when a batch is committed, and the packets that wait behind it."""

    __slots__ = ("behind", "packet", "session")

    def __init__(self, session: Session | None) -> None:
        #: None: nobody waits.
        self.session = session
        #: What fills the gap; None: it is not allowed to leave yet. After it was set `Session.send_released` is called.
        self.packet: bytes | None = None
        self.behind: list[bytes] | None = None

    def release(self, packet: bytes) -> None:
        """Fill the gap: the reply leaves as soon as those before it have."""
        self.packet = packet
        if self.session is not None:
            self.session.send_released()


class Session:
    """The server's side of one connection."""

    __slots__ = (
        "_withheld",
        "asking",
        "assigned",
        "client_id",
        "done_at",
        "ending",
        "excepted_handle",
        "functions",
        "identity",
        "listening",
        "number",
        "out",
        "reply",
        "sleeping",
        "timeouts_s",
        "wants_attempt",
        "wants_exceptions",
        "withheld_bytes",
        "woken_for",
    )

    def __init__(self, identity: Identity, number: int = 0, *, wants_exceptions: bool = False) -> None:
        self.identity = identity
        #: Shown by the text command `workers`; means nothing else.
        self.number = number
        self.client_id = b"-"
        self.wants_exceptions = wants_exceptions
        self.wants_attempt = False
        #: What it can do, the function served longest ago first.
        self.functions: list[Function] = []
        self.timeouts_s: dict[Function, float] = {}
        self.sleeping = False
        #: The function for whose job it was sent a NOOP, until it asks for a job.
        self.woken_for: Function | None = None
        #: When it last was freed of a job (monotonic seconds).
        self.done_at = float("-inf")
        #: How the job is to be encoded for which it has asked; None: it has its answer.
        self.asking: Callable[[Job], bytes] | None = None
        #: Jobs it is running, by handle, in the order of their assignment.
        self.assigned: dict[bytes, Job] = {}
        #: The job that this worker ended last by an exception.
        self.excepted_handle = b""
        #: Jobs of which it is told the progress and the end.
        self.listening: set[Job] = set()
        #: Why the connection is to be closed after what is in `out` has been sent.
        self.ending: str | None = None
        #: Packets that may be sent now.
        self.out: list[bytes] = []
        #: Sends one packet. It is the list's own method while nothing is withheld, so that withholding costs a
        #: server without a durable store nothing at all.
        self.reply: Callable[[bytes], None] = self.out.append
        self._withheld: deque[WithheldReply] = deque()
        self.withheld_bytes = 0

    def withhold(self) -> WithheldReply:
        """Leave a gap for a reply that is not allowed to leave yet."""
        gap = WithheldReply(self)
        self.leave_gap(gap)
        return gap

    def leave_gap(self, gap: WithheldReply) -> None:
        """Leave this one, which was made for the session."""
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
        """Move to `out` what no longer waits for a gap before it."""
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
        if released == len(withheld):  # mostly: a batch holds all that a client has in flight
            withheld.clear()
            self.reply = out.append
        else:
            for _ in range(released):
                withheld.popleft()
        self.withheld_bytes -= size_bytes + released * WITHHELD_REPLY_BYTES

    def end(self, reason: str) -> None:
        """Ask the listener to close the connection once its replies are sent."""
        self.ending = self.ending or reason

    def close(self) -> None:
        """The connection is gone: nothing is kept for it, and whatever is still sent to it vanishes."""
        self.ending = self.ending or "closed"
        self._withheld.clear()
        self.withheld_bytes = 0
        self.out.clear()
        self.reply = _vanish


def _vanish(_packet: bytes) -> None:
    """Where packets for a closed connection go."""
