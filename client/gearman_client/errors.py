"""Every exception of the client library; `GearmanError` is the base of all.

The names are Gearman's own terms (job failed, connection lost), which users know from the libraries of other languages.
"""

from __future__ import annotations

from collections.abc import Sequence


class GearmanError(Exception):
    """Base of everything this library raises."""


class ProtocolError(GearmanError):
    """The peer sent something that is not the Gearman protocol."""


class ArgumentError(GearmanError, ValueError):
    """A value given to this library can't be sent over the protocol."""


class AddressError(ArgumentError):
    """A text is not the address of a job server."""


class CouldNotConnect(GearmanError):
    """No connection to a job server could be opened; the message names the address and the remedy."""


class ConnectionLost(GearmanError):
    """The connection to the job server ended before the answer arrived."""


class JobNotKnown(ConnectionLost):
    """A background job was sent, and its acknowledgement was lost: it may exist, or not, at `server` (host:port).

    accepted: of many jobs submitted at once, the handles of those that the server did acknowledge.
    """

    def __init__(self, text: str, server: str = "", accepted: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.server = server
        self.accepted = accepted


class Timeout(GearmanError):
    """The answer did not arrive in time."""


class ServerSilent(ConnectionLost, Timeout):
    """The job server has a job of ours and does not answer any more, not even whether it is alive."""


class JobNotAcknowledged(JobNotKnown, Timeout):
    """A `JobNotKnown` because the server did not acknowledge the job in time."""


class Unfinished(GearmanError):
    """The result of a task was asked for before the task was done, or its set was closed before."""


class ServerError(GearmanError):
    """The job server refused a request with an ERROR packet."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class ServerEnding(ServerError, ConnectionLost):
    """The job server is about to end: it has not taken the job, and another server, or its successor, may."""


class PartlyRefused(ServerError):
    """The server refused at least one of many jobs submitted at once; `accepted` has the handles of the others."""

    def __init__(self, code: str, text: str, accepted: Sequence[str]) -> None:
        super().__init__(code, text)
        self.accepted = accepted


class JobFailed(GearmanError):
    """The worker answered WORK_FAIL, or the job server gave up the job."""


class JobException(GearmanError):
    """The worker answered WORK_EXCEPTION; `data` is the body of that packet."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data.decode("utf-8", "replace"))
        self.data = data


class ResultUnknown(GearmanError):
    """The server has no result of that job: the job never existed, or it ended long ago."""


class ResultExpired(ResultUnknown):
    """The result was kept but is gone: it has expired, or newer results needed the space."""


class ResultNotKept(GearmanError):
    """The server knows the job but did not keep its result: the function has no `keep_result`, or it was too large."""


class ResultNotDecoded(GearmanError):
    """The job is complete, but the codec can't make a value of its result; `data` has the bytes."""

    def __init__(self, text: str, data: bytes) -> None:
        super().__init__(text)
        self.data = data


class NotSupported(GearmanError):
    """The job server lacks the requested feature; the message names the feature and a server that has it."""


class OutboxError(GearmanError):
    """The outbox can't be written: its table is missing. The text says how to make it."""


class JobAnswered(GearmanError):
    """A worker answered the same job twice."""


class JobInterrupted(BaseException):
    """Ends an attempt because its worker has to leave: the job goes back to its queue, and goes on at its last
    checkpoint. Raised by `iterate`; functions let it pass, and clean up in `finally`."""


class JobStopped(BaseException):
    """Raised inside a worker function when its job was stopped, by `client.stop` or `gearman-manager jobs stop`.

    The manager raises it wherever the function is, a worker of this library in `job.check_stopped()` and between two
    items of `job.iterate`. A BaseException, so that an `except Exception` in the function does not swallow it. The
    function may catch it to clean up, in a manager for five seconds, or the pool's `stop_timeout` if that is shorter.
    Whatever it returns or raises then, the job is over and never run again.
    """


class InUse(GearmanError):
    """Two threads, greenlets or processes use one object that serves one of them; the text says how to go on."""


class AdminError(GearmanError):
    """The job server answered an administration command with ERR, or with something that is no valid answer."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code} {text}".rstrip())
        self.code = code
        self.text = text
