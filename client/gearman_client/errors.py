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


class Timeout(GearmanError):
    """The answer did not arrive in time."""


class ServerError(GearmanError):
    """The job server refused a request with an ERROR packet."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


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


class NotSupported(GearmanError):
    """The job server lacks the requested feature; the message names the feature and a server that has it."""


class JobAnswered(GearmanError):
    """A worker answered the same job twice."""


class InUse(GearmanError):
    """Two threads, greenlets or processes use one object that serves one of them; the text says how to go on."""


class AdminError(GearmanError):
    """The job server answered an administration command with ERR, or with something that is no valid answer."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code} {text}".rstrip())
        self.code = code
        self.text = text
