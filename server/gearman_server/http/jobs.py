"""Jobs by HTTP: the path is the function, the body the workload, the answer's body the result.

Each request is one submission in a session of its own. Its headers give unique key, priority, background and options;
the answer's `X-Gearman-*` headers give the job's handle and the packet that ended it. DELETE stops a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_pairs
from gearman_client.packet import PacketType
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest, text_answer
from gearman_server.http.caller import Caller, CallerGoneError, JobOutcome
from gearman_server.http.option_headers import job_pairs
from gearman_server.http.stopping import stop_job

if TYPE_CHECKING:
    from gearman_server.edge.listener import Listener
    from gearman_server.http.port import HttpPeer
    from gearman_server.http.web_pages import WebPages

_METHODS: Final = ("GET", "HEAD", "POST", "PUT")
#: Methods that exist but have no meaning here. Any other is unknown.
_OTHER_METHODS: Final = ("CONNECT", "OPTIONS", "PATCH", "TRACE")

_REQUESTS: Final = {
    ("high", False): PacketType.SUBMIT_JOB_HIGH,
    ("normal", False): PacketType.SUBMIT_JOB,
    ("low", False): PacketType.SUBMIT_JOB_LOW,
    ("high", True): PacketType.SUBMIT_JOB_HIGH_BG,
    ("normal", True): PacketType.SUBMIT_JOB_BG,
    ("low", True): PacketType.SUBMIT_JOB_LOW_BG,
}
#: The same as options: the middle of each queue's range.
_PRIORITIES: Final = {"high": b"8", "normal": b"5", "low": b"2"}
#: gearmand's default: identical workloads of one function are one job, unless the request says otherwise.
_DEFAULT_UNIQUE: Final = "-"


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that a request submits, but for its workload."""

    function: bytes
    unique: bytes
    priority: str
    is_background: bool
    #: Its own options and headers.
    pairs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def packet_type(self) -> int:
        """The packet that submits it by the Gearman protocol."""
        return SUBMIT_JOB_WITH if self.pairs else _REQUESTS[self.priority, self.is_background]

    @property
    def start(self) -> bytes:
        """The packet's body up to the workload."""
        start = b"%s\0%s\0" % (self.function, self.unique)
        if not self.pairs:
            return start
        return start + encode_pairs([(b"background", b"%d" % self.is_background), *self.pairs])


class JobApplication:
    """The application of the HTTP port."""

    def __init__(self, listener: Listener, pages: WebPages) -> None:
        """`pages` decides which web pages may submit jobs."""
        self._listener = listener
        self._pages = pages

    def __call__(self, request: HttpRequest, peer: HttpPeer) -> HttpAnswer:
        """Serve one request."""
        self._pages.check(request, peer.identity)
        if request.method == "HEAD" and not _function(request):
            return text_answer(200)
        if request.method == "DELETE":
            return self._stop(request.path, peer)
        submission = read_submission(request)
        max_bytes = self._listener.settings.max_packet_bytes
        body = _read_workload(request, submission.start, max_bytes)
        caller = Caller(self._listener, peer.identity, peer.stream)
        try:
            packet = submission.packet_type, bytes(body)
            body.clear()
            outcome = caller.call(packet, is_background=submission.is_background, on_submitted=request.body.release)
        except CallerGoneError as error:
            raise _is_ending() from error
        finally:
            caller.close("its HTTP request is over")
        return _answer(outcome)

    def _stop(self, path: bytes, peer: HttpPeer) -> HttpAnswer:
        caller = Caller(self._listener, peer.identity, peer.stream)
        try:
            return stop_job(caller, path)
        except CallerGoneError as error:
            raise _is_ending() from error
        finally:
            caller.close("its HTTP request is over")


# --- the request


def read_submission(request: HttpRequest) -> Submission:
    """The request's submission.

    Raises:
        HttpRefusal: it is no valid submission.
    """
    method = request.method
    if method in _OTHER_METHODS:
        raise HttpRefusal(405, f"{method} submits no job", ("Allow", ", ".join((*_METHODS, "DELETE"))))
    if method not in _METHODS:
        raise HttpRefusal(501, "the method is unknown")
    function = _function(request)
    if not function:
        raise HttpRefusal(404, "the path names no function")
    if b"\0" in function:
        raise HttpRefusal(400, "the function's name holds a zero byte")
    unique = request.header("x-gearman-unique")
    priority = _choice(request, "X-Gearman-Priority", ("high", "normal", "low"), "normal")
    pairs = job_pairs(request.headers)
    if pairs and priority != "normal":
        if any(key == b"priority" for key, _ in pairs):
            raise HttpRefusal(400, "X-Gearman-Option-Priority: X-Gearman-Priority is given too, keep one of them")
        pairs.append((b"priority", _PRIORITIES[priority]))
    return Submission(
        function=function,
        unique=(_DEFAULT_UNIQUE if unique is None else unique).encode("latin-1"),
        priority=priority,
        is_background=_choice(request, "X-Gearman-Background", ("true", "false"), "false") == "true",
        pairs=tuple(pairs),
    )


def _function(request: HttpRequest) -> bytes:
    """The path without its leading slashes."""
    return request.path.lstrip(b"/")


def _choice(request: HttpRequest, header: str, allowed: tuple[str, ...], default: str) -> str:
    given = request.header(header.lower())
    chosen = default if given is None else given.lower()
    if chosen not in allowed:
        raise HttpRefusal(400, f"{header} must be one of {', '.join(allowed)}")
    return chosen


def _read_workload(request: HttpRequest, start: bytes, max_bytes: int) -> bytearray:
    """The packet's body: its start and the workload. GET and HEAD have none, so their body is ignored. Memory is taken
    only as bytes arrive, whatever length was announced."""
    if (request.length or 0) > max_bytes:
        raise _too_large(max_bytes)
    if request.method not in ("POST", "PUT"):
        return bytearray(start)
    if not request.has_body and request.length is None:
        raise HttpRefusal(411, "give a Content-Length, or send the workload in chunks")
    body = bytearray(start)
    while data := request.body.read():
        body += data
        if len(body) > max_bytes + len(start):
            raise _too_large(max_bytes)
    return body


def _too_large(max_bytes: int) -> HttpRefusal:
    return HttpRefusal(413, f"a workload may have at most {max_bytes} bytes")


# --- the answer


def _is_ending() -> HttpRefusal:
    return HttpRefusal(503, "the server is ending", ("Retry-After", "1"))


def _answer(outcome: JobOutcome) -> HttpAnswer:
    headers = [("X-Gearman-Command", outcome.command)]
    if outcome.handle:
        headers.append(("X-Gearman-Job-Handle", outcome.handle.decode("latin-1")))
    if outcome.command in ("WORK_COMPLETE", "WORK_EXCEPTION"):
        headers.append(("Content-Type", "application/octet-stream"))
    if outcome.status == 503:
        headers.append(("Retry-After", "1"))
    return text_answer(outcome.status, outcome.body, *headers)
