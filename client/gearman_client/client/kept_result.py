"""The request for the kept result of a background job: the reports that precede the answer, and the answer.

docs/protocol-extensions.md describes the packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from time import monotonic
from typing import Final

from gearman_client.address import Address
from gearman_client.client.attempts import Attempts, Limits, repeat
from gearman_client.client.calls import Conversation, ask, at_home, first_with
from gearman_client.client.everywhere import Dialogue, ask_all
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import to_number
from gearman_client.client.request import ResultRequest
from gearman_client.client.server_pool import PooledServer, ServerPool, next_packets
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    GearmanError,
    JobException,
    JobFailed,
    NotSupported,
    ProtocolError,
    ResultExpired,
    ResultNotKept,
    ResultUnknown,
    ServerError,
    Timeout,
)
from gearman_client.extensions import GET_RESULT, JOB_RESULT_OPTION, RESULT, RESULT_ARGUMENTS
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_argument, to_text

_OPTION: Final = encode_request(PacketType.OPTION_REQ, JOB_RESULT_OPTION)
#: The longest wait that the request can carry; a longer one waits for ever.
_MAX_WAIT_MS: Final = 10**12 - 1
#: The part of a call's time that is left for the server's answer after its wait.
_ANSWER_S: Final = 0.1
#: The states in which there is no result, although the job has not failed and is no longer under way.
_WITHOUT: Final[dict[str, tuple[type[GearmanError], str]]] = {
    "unknown": (ResultUnknown, "the server has no result: there was no such job, or it is over and nothing was kept"),
    "expired": (ResultExpired, "its result has expired, or newer results needed the room"),
    "too-large": (ResultNotKept, "it is complete, and its result was too large to be kept"),
    "not-kept": (ResultNotKept, "its result is not kept, its function has no keep_result at the server"),
}


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The server's answer about a job. `state` is one of the words that the protocol extension defines."""

    state: str
    numerator: int
    denominator: int
    content: bytes

    @property
    def is_known(self) -> bool:
        """Whether the server knows the job at all."""
        return self.state != "unknown"

    @property
    def has_ended(self) -> bool:
        """Whether waiting would change nothing."""
        return self.state not in ("waiting", "delayed", "running")

    def result_of(self, handle: str) -> bytes:
        """The result.

        Raises:
            JobFailed, JobException, ResultExpired, ResultUnknown, ResultNotKept, Timeout: there is no result;
                `Client.result` explains each case.
        """
        if self.state == "complete":
            return self.content
        if self.state == "failed":
            reason = to_text(self.content)
            raise JobFailed(f"job {handle} failed" + (f": {reason}" if reason else ""))
        if self.state == "exception":
            raise JobException(self.content)
        if self.state in _WITHOUT:
            error, text = _WITHOUT[self.state]
            raise error(f"job {handle}: {text}")
        raise Timeout(f"job {handle} has no result yet, it is {self.state}")


def wait_argument(wait_s: float) -> tuple[bytes, float]:
    """A wait as GET_RESULT carries it, and its seconds; what is too long for the packet becomes infinite.

    It is a little shorter than `wait_s`: the answer that there is no result yet is to arrive within the call's time.
    """
    if wait_s * 1000 > _MAX_WAIT_MS:
        return b"", inf
    wait_ms = ceil(max(0.0, wait_s - min(_ANSWER_S, wait_s / 10)) * 1000)
    return b"%d" % wait_ms, wait_ms / 1000


def to_kept_answer(arguments: bytes) -> KeptAnswer:
    """The answer in the arguments of RESULT that follow the handle.

    Raises:
        ProtocolError: there are too few.
    """
    parts = arguments.split(b"\0", RESULT_ARGUMENTS - 2)
    if len(parts) != RESULT_ARGUMENTS - 1:
        raise ProtocolError("the server's RESULT has too few arguments")
    return KeptAnswer(to_text(parts[0]), to_number(parts[1]), to_number(parts[2]), parts[-1])


def keeps_no_results(server: Address) -> NotSupported:
    """The error for a server that does not know the extension."""
    return NotSupported(f"{server} keeps no results of background jobs: gearman-server does")


def known_nowhere(handle: str) -> ResultUnknown:
    """The error for a handle that no server knows."""
    return ResultUnknown(
        f"job {handle}: no server has a result: there was no such job, or it is over and nothing was kept"
    )


def fetch_result(pool: ServerPool, handle: str, callbacks: JobCallbacks, limits: Limits, *, waits: bool) -> bytes:
    """The result of a job; `Client.result` explains the errors.

    waits: await the end of the job, until the deadline of the limits.
    """
    argument = to_argument(handle, "handle")
    until = limits.deadline if waits else None

    def fetch(servers: Sequence[PooledServer], limits: Limits) -> KeptAnswer:
        server = servers[0] if len(servers) == 1 else _find_holder(pool, servers, argument, limits)
        if server is None:
            raise known_nowhere(handle)
        return _ask(pool, server, (argument, until), callbacks, limits)

    return at_home(pool, handle, limits, fetch).result_of(handle)


def _find_holder(
    pool: ServerPool, servers: Sequence[PooledServer], handle: bytes, limits: Limits
) -> PooledServer | None:
    """The server that knows the job; None when all servers answer that they do not know it."""

    def ask_for_it(server: PooledServer) -> Dialogue[KeptAnswer]:
        if not server.tells_results:
            try:
                yield _OPTION, PacketType.OPTION_RES
            except (ServerError, NotSupported) as error:
                raise keeps_no_results(server.address) from error
            server.tells_results = True
        body = yield encode_request(GET_RESULT, handle, b"0"), RESULT
        return to_kept_answer(body.partition(b"\0")[2])

    answers = ask_all(pool, pool.living(servers), ask_for_it, limits, hurries=False)
    return first_with(answers, lambda answer: answer.is_known)


def _ask(
    pool: ServerPool,
    server: PooledServer,
    request: tuple[bytes, float | None],
    callbacks: JobCallbacks,
    limits: Limits,
) -> KeptAnswer:
    """Ask one server; again, when the connection broke while the answer was awaited.

    request: the handle, and until when to wait for the end of the job (monotonic; None: do not wait).
    """
    handle, until = request

    def attempt(server: PooledServer, connection: Connection) -> KeptAnswer:
        if not server.tells_results:
            try:
                ask(server, connection, _OPTION, PacketType.OPTION_RES, limits)
            except ServerError as error:
                raise keeps_no_results(server.address) from error
            server.tells_results = True
        wait, limit_s = wait_argument(0.0 if until is None else until - monotonic())
        deadline = min(limits.deadline, monotonic() + limit_s + limits.reply_timeout_s)
        question = _Question(handle, wait, callbacks)
        with Conversation(server):
            server.exchange.ask(question)
            connection.queue(question.packet)
            connection.flush(limits.deadline)
            while question.result is None:
                server.exchange.take(next_packets(connection, deadline))
            return question.result

    return repeat(Attempts(pool, limits, only=server), attempt)


class _Question(ResultRequest):
    """Calls the callbacks, and sets `result` at its end."""

    __slots__ = ("_callbacks", "_told", "result")

    def __init__(self, handle: bytes, wait: bytes, callbacks: JobCallbacks) -> None:
        super().__init__(handle, wait)
        self.result: KeptAnswer | None = None
        self._callbacks = callbacks
        self._told: tuple[int, int] | None = None

    def refused(self, error: ServerError) -> None:
        raise error

    def status(self, numerator: int, denominator: int) -> None:
        heard = self._callbacks.get("on_status")
        if heard is not None and self._told != (numerator, denominator):
            heard(numerator, denominator)
        self._told = (numerator, denominator)

    def data(self, data: bytes) -> None:
        heard = self._callbacks.get("on_data")
        if heard is not None:
            heard(data)

    def warning(self, data: bytes) -> None:
        heard = self._callbacks.get("on_warning")
        if heard is not None:
            heard(data)

    def answered(self, body: bytes) -> None:
        answer = to_kept_answer(body.partition(b"\0")[2])
        if answer.denominator:
            self.status(answer.numerator, answer.denominator)
        heard = self._callbacks.get("on_exception")
        if answer.state == "exception" and heard is not None:
            heard(answer.content)
        self.result = answer
