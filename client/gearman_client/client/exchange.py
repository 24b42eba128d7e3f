"""One connection's conversation with many requests under way: packets in, calls on the requests' objects out. Pure.

The caller sends each request's `packet` in the order of `ask`, passes what arrives to `take`, and tells with `lose`
that the connection is gone. Who waits for an answer, for how long, and what a lost request means, is its own affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gearman_client.client.foreground import server_error
from gearman_client.client.job_status import to_number
from gearman_client.client.request import Request, ResultRequest, SharedJob
from gearman_client.errors import ProtocolError
from gearman_client.extensions import BATCH, RESULT, STOP_JOB
from gearman_client.packet import Packet, PacketType

#: The limits of what is kept about unknown handles: packets of jobs that are not created yet, and handles of ended jobs
#: of which more may follow. No known server needs more than a few; the oldest are dropped.
MAX_EARLY_BYTES: Final = 16 * 1024 * 1024
MAX_ENDED_HANDLES: Final = 10_000
#: What a kept packet takes beside its body.
_PACKET_BYTES: Final = 256

# Plain numbers: comparing with a member of an enum costs a look-up for each packet.
_JOB_CREATED: Final = int(PacketType.JOB_CREATED)
_COMPLETE: Final = int(PacketType.WORK_COMPLETE)
_FAIL: Final = int(PacketType.WORK_FAIL)
_EXCEPTION: Final = int(PacketType.WORK_EXCEPTION)
_STATUS: Final = int(PacketType.WORK_STATUS)
_DATA: Final = int(PacketType.WORK_DATA)
_WARNING: Final = int(PacketType.WORK_WARNING)
_ERROR: Final = int(PacketType.ERROR)
_ENDS: Final = frozenset({_FAIL, _EXCEPTION})
_REPORTS: Final = frozenset({_STATUS, _DATA, _WARNING})
_ANSWERS: Final = frozenset(
    {PacketType.STATUS_RES, PacketType.STATUS_RES_UNIQUE, PacketType.ECHO_RES, PacketType.OPTION_RES, STOP_JOB, BATCH}
)
_TOO_MANY_WAITS: Final = "TOO_MANY_WAITS"


class Losses(NamedTuple):
    """The requests under way when a connection was lost, by what can be known of them; each in the order of asking.

    unsent: the server can't have them.
    unacknowledged: the server may have them. A job among these may exist.
    created: foreground jobs that the server has accepted.
    asked: those that asked for a kept result.
    """

    unsent: list[Request]
    unacknowledged: list[Request]
    created: list[Request]
    asked: list[ResultRequest]


class Exchange:
    """The requests under way on one connection."""

    __slots__ = ("_asked", "_awaiting", "_early", "_early_bytes", "_ended", "_jobs")

    def __init__(self) -> None:
        #: The requests whose answers come in the order of asking.
        self._awaiting: deque[Request] = deque()
        #: The accepted foreground jobs by handle. Equal jobs that the server made one share a `SharedJob`.
        self._jobs: dict[bytes, Request] = {}
        self._asked: dict[bytes, list[ResultRequest]] = {}
        #: Packets of unknown handles, kept while the handle may be that of a submission still to be answered.
        self._early: dict[bytes, list[Packet]] = {}
        self._early_bytes = 0
        #: Handles of jobs that have ended, but of which more packets may come.
        self._ended: dict[bytes, None] = {}

    @property
    def awaiting(self) -> int:
        """The number of requests that the server has to answer at once."""
        return len(self._awaiting)

    @property
    def under_way(self) -> int:
        """The number of requests under way; jobs that the server made one count as one."""
        return len(self._awaiting) + len(self._jobs) + len(self._asked)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not (self._awaiting or self._jobs or self._asked)

    def requests(self) -> Iterator[Request]:
        """Every request under way."""
        yield from self._awaiting
        for job in self._jobs.values():
            yield from _each(job)
        for asked in self._asked.values():
            yield from asked

    def ask(self, request: Request) -> None:
        """Note a request. Its packet must be sent after those of all earlier ones."""
        if isinstance(request, ResultRequest):
            self._asked.setdefault(request.handle, []).append(request)
        else:
            self._awaiting.append(request)

    def ask_all(self, submissions: Iterable[Request]) -> None:
        """As `ask` for each, for submissions alone."""
        self._awaiting.extend(submissions)

    def take(self, packets: Iterable[Packet]) -> None:
        """Take what has arrived, and call the requests.

        Raises:
            ProtocolError: the packet answers no request; the connection can't be used any more.
        """
        jobs, awaiting = self._jobs, self._awaiting
        for packet_type, body in packets:
            if packet_type == _COMPLETE:
                # A handle alone has an empty text: Perl's worker sends such, and servers may pass it on as it came.
                handle, _, result = body.partition(b"\0")
                job = jobs.pop(handle, None)
                if job is None:
                    self._keep_early(handle, packet_type, body)
                else:
                    job.complete(result)
            elif packet_type == _JOB_CREATED:
                if not awaiting or awaiting[0].answer != _JOB_CREATED:
                    raise self._unexpected(packet_type)
                request = awaiting.popleft()
                if not request.has_result:
                    request.created(body)
                elif body in jobs or self._early or self._ended:
                    self._join(body, request)
                else:
                    jobs[body] = request
                    request.created(body)
                if self._early and not awaiting:
                    self._forget_early()
            elif packet_type in _REPORTS:
                self._take_report(packet_type, body)
            elif packet_type in _ENDS:
                self._take_end(packet_type, body)
            else:
                self._take_answer(packet_type, body)

    def lose(self, unsent_bytes: int = 0) -> Losses:
        """The connection is gone: forget all requests, and return them.

        unsent_bytes: the number of bytes of the requests' packets that were never given to the kernel.
        """
        asked = [request for requests in self._asked.values() for request in requests]
        # Requests for results are not in the order of the others; taking all of them as unsent errs on the safe side.
        unsent_bytes -= sum(len(request.packet) for request in asked)
        unsent: deque[Request] = deque()
        awaiting = self._awaiting
        while unsent_bytes > 0 and awaiting:
            # A packet of which only a part was sent counts as unsent: no server acts on a part.
            unsent.appendleft(awaiting.pop())
            unsent_bytes -= len(unsent[0].packet)
        created = [request for job in self._jobs.values() for request in _each(job)]
        losses = Losses(list(unsent), list(awaiting), created, asked)
        for kept in (awaiting, self._jobs, self._asked, self._ended):
            kept.clear()
        self._forget_early()
        return losses

    def _unexpected(self, packet_type: int) -> ProtocolError:
        """The error for a packet that is no answer to the next request, which stays."""
        what = _name(packet_type)
        if not self._awaiting or packet_type not in (_JOB_CREATED, *_ANSWERS):
            return ProtocolError(f"the server sent {what}, which answers no request")
        return ProtocolError(f"the server sent {what}, but a request waits for {_name(self._awaiting[0].answer)}")

    def _join(self, handle: bytes, request: Request) -> None:
        """Note an accepted job whose handle may be known already, or may have been in packets that came too early."""
        self._ended.pop(handle, None)
        running = self._jobs.get(handle)
        if running is None:
            self._jobs[handle] = request
        elif isinstance(running, SharedJob):
            running.requests.append(request)
        else:
            self._jobs[handle] = SharedJob([running, request], handle, self._note_end)
        request.created(handle)
        self.take(self._take_early(handle))

    def _take_report(self, packet_type: int, body: bytes) -> None:
        handle, _, rest = body.partition(b"\0")
        job = self._jobs.get(handle)
        asked = self._asked.get(handle)
        if job is not None:
            if not (isinstance(job, SharedJob) and job.is_copy(packet_type, body)):
                _report(job, packet_type, rest)
        elif asked is None:
            self._keep_early(handle, packet_type, body)
        for request in asked or ():
            _report(request, packet_type, rest)

    def _take_end(self, packet_type: int, body: bytes) -> None:
        # gearmand's substitute for an exception has a zero byte after the handle.
        handle, _, data = body.partition(b"\0")
        job = self._jobs.pop(handle, None)
        if job is None:
            self._keep_early(handle, packet_type, body)
            return
        # After an exception a server may send the worker's WORK_FAIL too; after a cancelled job's WORK_FAIL gearmand
        # passes on the worker's later packets.
        self._note_end(handle)
        if packet_type == _FAIL:
            job.fail()
        else:
            job.exception(data)

    def _take_answer(self, packet_type: int, body: bytes) -> None:
        if packet_type == RESULT:
            self._take_result(body)
        elif packet_type == _ERROR:
            self._take_error(body)
        elif packet_type in _ANSWERS:
            if not self._awaiting or self._awaiting[0].answer != packet_type:
                raise self._unexpected(packet_type)
            self._awaiting.popleft().answered(body)
            if self._early and not self._awaiting:
                self._forget_early()
        else:
            raise self._unexpected(packet_type)

    def _take_result(self, body: bytes) -> None:
        handle = body.partition(b"\0")[0]
        requests = self._asked.get(handle)
        if not requests:
            raise self._unexpected(RESULT)
        request = requests.pop(0)
        if not requests:
            del self._asked[handle]
        request.answered(body)

    def _take_error(self, body: bytes) -> None:
        error = server_error(body)
        if error.code == _TOO_MANY_WAITS and self._asked:
            # It does not say which request was one too many: the newest, as far as anybody can know.
            handle, requests = next(reversed(self._asked.items()))
            request: Request = requests.pop()
            if not requests:
                del self._asked[handle]
        elif self._awaiting:
            request = self._awaiting.popleft()
        else:
            raise ProtocolError(f"the server sent an error that answers no request: {error}")
        request.refused(error)
        if self._early and not self._awaiting:
            self._forget_early()

    def _keep_early(self, handle: bytes, packet_type: int, body: bytes) -> None:
        """Keep a packet of an unknown handle if it may be that of a submission whose JOB_CREATED is still to come.

        Otherwise it is about a job that has ended here, or that was submitted by nobody here: there is nothing to do.
        """
        if not self._awaiting or handle in self._ended:
            return
        early = self._early
        early.setdefault(handle, []).append((packet_type, body))
        self._early_bytes += len(body) + _PACKET_BYTES
        while self._early_bytes > MAX_EARLY_BYTES:
            self._take_early(next(iter(early)))

    def _take_early(self, handle: bytes) -> list[Packet]:
        packets = self._early.pop(handle, [])
        self._early_bytes -= sum(len(body) + _PACKET_BYTES for _, body in packets)
        return packets

    def _forget_early(self) -> None:
        self._early.clear()
        self._early_bytes = 0

    def _note_end(self, handle: bytes) -> None:
        self._ended[handle] = None
        if len(self._ended) > MAX_ENDED_HANDLES:
            del self._ended[next(iter(self._ended))]


def _each(job: Request) -> list[Request]:
    return job.requests if isinstance(job, SharedJob) else [job]


def _report(request: Request, packet_type: int, rest: bytes) -> None:
    if packet_type == _DATA:
        request.data(rest)
    elif packet_type == _WARNING:
        request.warning(rest)
    else:
        numerator, _, denominator = rest.partition(b"\0")
        request.status(to_number(numerator), to_number(denominator))


def _name(packet_type: int) -> str:
    try:
        return PacketType(packet_type).name
    except ValueError:
        return f"packet type {packet_type}"
