"""Jobs by HTTP: the path is the function, the body the workload, the answer's body the result.

Each request is one submission in a session of its own. Its headers give unique key, priority and background; the
answer's `X-Gearman-*` headers give the job's handle and the packet that ended it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gearman_client.packet import PacketType
from gearman_server.errors import ServerError
from gearman_server.http.caller import Caller, CallerGoneError, JobOutcome
from gearman_server.http.port import Environ, StartResponse, answer

if TYPE_CHECKING:
    from gearman_server.edge.listener import Listener

_METHODS: Final = ("GET", "HEAD", "POST", "PUT")
#: Methods that exist but have no meaning here. Any other is unknown.
_OTHER_METHODS: Final = ("CONNECT", "DELETE", "OPTIONS", "PATCH", "TRACE")

_REQUESTS: Final = {
    ("high", False): PacketType.SUBMIT_JOB_HIGH,
    ("normal", False): PacketType.SUBMIT_JOB,
    ("low", False): PacketType.SUBMIT_JOB_LOW,
    ("high", True): PacketType.SUBMIT_JOB_HIGH_BG,
    ("normal", True): PacketType.SUBMIT_JOB_BG,
    ("low", True): PacketType.SUBMIT_JOB_LOW_BG,
}
#: gearmand's default: identical workloads of one function are one job, unless the request says otherwise.
_DEFAULT_UNIQUE: Final = "-"
_READ_BYTES: Final = 1 << 16


class BadRequestError(ServerError):
    """A request is answered with an HTTP error status."""

    def __init__(self, status: str, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that a request submits."""

    function: bytes
    unique: bytes
    workload: bytes
    priority: str
    is_background: bool

    @property
    def packet(self) -> tuple[int, bytes]:
        """The packet that submits it by the Gearman protocol."""
        body = b"\0".join((self.function, self.unique, self.workload))
        return _REQUESTS[self.priority, self.is_background], body


class JobApplication:
    """The application of the HTTP port."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        try:
            if is_head and not _function(environ):
                return answer(start_response, "200 OK", is_head=True)
            submission = read_submission(environ, self._listener.settings.max_packet_bytes)
            outcome = self._run(environ, submission)
        except BadRequestError as error:
            environ["gearman.connection"].refuse_body()
            text = f"{error}\n".encode()
            return answer(start_response, error.status, text, *error.headers, is_head=is_head)
        except CallerGoneError:
            environ["gearman.connection"].close_connection = True
            return answer(start_response, "503 Service Unavailable", b"the server is ending\n", ("Retry-After", "1"))
        return _tell(start_response, outcome, is_head)

    def _run(self, environ: Environ, submission: Submission) -> JobOutcome:
        connection = environ["gearman.connection"]
        caller = Caller(self._listener, environ["gearman.identity"], connection.socket)
        try:
            return caller.call(submission.packet, is_background=submission.is_background)
        finally:
            caller.close("its HTTP request is over")


# --- the request


def read_submission(environ: Environ, max_bytes: int) -> Submission:
    """The request's submission, including its body.

    Raises:
        BadRequestError: it is no valid submission.
    """
    method = environ["REQUEST_METHOD"]
    if method in _OTHER_METHODS:
        raise BadRequestError("405 Method Not Allowed", f"{method} submits no job", ("Allow", ", ".join(_METHODS)))
    if method not in _METHODS:
        raise BadRequestError("501 Not Implemented", "the method is unknown")
    function = _function(environ)
    if not function:
        raise BadRequestError("404 Not Found", "the path names no function")
    if b"\0" in function:
        raise BadRequestError("400 Bad Request", "the function's name holds a zero byte")
    return Submission(
        function=function,
        unique=environ.get("HTTP_X_GEARMAN_UNIQUE", _DEFAULT_UNIQUE).encode("latin-1").replace(b"\0", b""),
        priority=_choice(environ, "X-Gearman-Priority", ("high", "normal", "low"), "normal"),
        is_background=_choice(environ, "X-Gearman-Background", ("true", "false"), "false") == "true",
        workload=_read_body(environ, max_bytes),
    )


def _function(environ: Environ) -> bytes:
    """The path without its leading slashes, percent-decoded."""
    path: str = environ["PATH_INFO"]
    return path.lstrip("/").encode("latin-1")


def _choice(environ: Environ, header: str, allowed: tuple[str, ...], default: str) -> str:
    given: str = environ.get("HTTP_" + header.upper().replace("-", "_"), default).strip().lower()
    if given not in allowed:
        raise BadRequestError("400 Bad Request", f"{header} must be one of {', '.join(allowed)}")
    return given


def _read_body(environ: Environ, max_bytes: int) -> bytes:
    """The workload. GET and HEAD have none, so their body is ignored."""
    encoding = environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    length = environ.get("CONTENT_LENGTH")
    if encoding not in ("", "chunked"):
        raise BadRequestError("501 Not Implemented", f"the transfer encoding {encoding} is unknown")
    if length is not None and int(length) > max_bytes:
        raise _too_large(max_bytes)
    if environ["REQUEST_METHOD"] not in ("POST", "PUT"):
        return b""
    if not encoding and length is None:
        raise BadRequestError("411 Length Required", "give a Content-Length, or send the workload in chunks")
    return _read(environ, max_bytes)


def _read(environ: Environ, max_bytes: int) -> bytes:
    """Read the body. Memory is taken only as bytes arrive, whatever length was announced."""
    pieces, size_bytes = [], 0
    try:
        while piece := environ["wsgi.input"].read(_READ_BYTES):
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise _too_large(max_bytes)
    except (OSError, ValueError) as error:
        raise BadRequestError("400 Bad Request", "the body is incomplete, or its chunks are malformed") from error
    return b"".join(pieces)


def _too_large(max_bytes: int) -> BadRequestError:
    return BadRequestError("413 Content Too Large", f"a workload may have at most {max_bytes} bytes")


# --- the answer


def _tell(start_response: StartResponse, outcome: JobOutcome, is_head: bool) -> list[bytes]:
    headers = [("X-Gearman-Command", outcome.command)]
    if outcome.handle:
        headers.append(("X-Gearman-Job-Handle", outcome.handle.decode("latin-1")))
    if outcome.command in ("WORK_COMPLETE", "WORK_EXCEPTION"):
        headers.append(("Content-Type", "application/octet-stream"))
    if outcome.status.startswith("503"):
        headers.append(("Retry-After", "1"))
    return answer(start_response, outcome.status, outcome.body, *headers, is_head=is_head)
