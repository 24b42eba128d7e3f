"""Every exception of the client library. `GearmanError` is the base of all.

The names are Gearman's own words (job failed, connection lost), as its users know them from other languages.
"""

from __future__ import annotations

from collections.abc import Sequence


class GearmanError(Exception):
    """Base of everything this library raises."""


class ProtocolError(GearmanError):
    """The peer sent something that is not the Gearman protocol."""


class ArgumentError(GearmanError, ValueError):
    """A value handed to this library can't be sent over the protocol."""


class AddressError(ArgumentError):
    """A text is not the address of a job server."""


class CouldNotConnect(GearmanError):
    """No connection to a job server could be opened; the message names the address and the remedy."""


class ConnectionLost(GearmanError):
    """The connection to the job server ended before the answer was there."""


class Timeout(GearmanError):
    """The answer did not come in the time allowed."""


class ServerError(GearmanError):
    """The job server refused a request with an ERROR packet."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class PartlyRefused(ServerError):
    """Of many jobs submitted at once the server refused at least one; `accepted` are the handles of those it took."""

    def __init__(self, code: str, text: str, accepted: Sequence[str]) -> None:
        super().__init__(code, text)
        self.accepted = accepted


class JobFailed(GearmanError):
    """The worker answered WORK_FAIL, or the job server gave the job up."""


class JobException(GearmanError):
    """The worker answered WORK_EXCEPTION; `data` is what it sent."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data.decode("utf-8", "replace"))
        self.data = data


class ResultUnknown(GearmanError):
    """The server has no result of that job: there was no such job, or it is long over."""


class ResultExpired(ResultUnknown):
    """The result was kept, and is gone: its time is over, or newer ones needed the room."""


class ResultNotKept(GearmanError):
    """The server knows the job, and does not keep its result: the function has no `keep_result`, or it is too large."""


class NotSupported(GearmanError):
    """The job server does not have what was asked for; the message says what, and who has it."""


class JobAnswered(GearmanError):
    """A worker answered the same job a second time."""


class AdminError(GearmanError):
    """The job server answered an administration command with ERR, or with something that can't be its answer."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code} {text}".rstrip())
        self.code = code
        self.text = text
