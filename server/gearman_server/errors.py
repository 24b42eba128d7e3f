"""Every exception of the job server. `ServerError` is the base of all."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from gearman_client.errors import GearmanError


class ServerError(GearmanError):
    """Base of the server's exceptions."""


class UsageError(ServerError):
    """The command line can't be carried out; the message is one line that names the option and the remedy."""


class StartFailure(Enum):
    """The reason why a start failed, as a code for the supervisor."""

    ADDRESS_TAKEN = "address-taken"  #: another process listens there
    CANT_LISTEN = "cant-listen"
    NEEDS_RIGHTS = "needs-rights"  #: this user may not take the port
    STORE = "store"
    OTHER = "other"


class StartError(ServerError):
    """The server can't start; the message is one line with the reason and, after a semicolon, the remedy."""

    def __init__(self, message: str, failure: StartFailure = StartFailure.OTHER, option: str = "") -> None:
        super().__init__(message)
        self.failure = failure
        #: The option that would choose something else, if there is one.
        self.option = option

    @property
    def reason(self) -> str:
        """The message without the remedy."""
        return str(self).partition("; ")[0]


class StoreError(ServerError):
    """The store can't be read or written now; the message is one line that says why."""

    def __init__(
        self, reason: str, *, is_lost: bool = False, is_about_data: bool = False, is_unknown: bool = False
    ) -> None:
        super().__init__(reason)
        #: The connection is gone, or another transaction was in the way: the next attempt may work.
        self.is_lost = is_lost
        #: Another transaction was in the way, and nothing else is wrong.
        self.is_collision = False
        #: The data may be the reason; a part of it may work.
        self.is_about_data = is_about_data
        #: It is not known whether the changes were committed.
        self.is_unknown = is_unknown


class OwnershipLostError(StoreError):
    """Another server has owned the store in the meantime: this one's knowledge of the jobs is outdated."""


class ComparisonNeededError(StoreError):
    """The connection is new, and may lead to a database that lacks what was committed last."""


class MalformedPacketError(ServerError):
    """A packet's body does not match its type: the connection is closed after an ERROR."""


class RefusedError(ServerError):
    """A request is answered with an ERROR packet; the connection goes on."""

    def __init__(self, code: bytes, text: bytes) -> None:
        super().__init__(text.decode())
        self.code = code
        self.text = text


class PolicyFileError(ServerError):
    """A policies file can't be used. `problems` holds one line for each mistake in it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
