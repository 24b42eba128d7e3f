"""Every exception of the job server. `ServerError` is the base of all."""

from __future__ import annotations

from collections.abc import Iterable

from gearman_client.errors import GearmanError


class ServerError(GearmanError):
    """Base of everything the server raises."""


class UsageError(ServerError):
    """The command line can't be carried out; the message is one line that names the option and the remedy."""


class StartError(ServerError):
    """The server can't start; the message is one line that says why and what would help."""


class StoreError(ServerError):
    """The store can't be read or written now; the message is one line that says why."""

    def __init__(self, reason: str, *, is_lost: bool = False, is_about_data: bool = False) -> None:
        super().__init__(reason)
        #: The connection is gone: another one may work.
        self.is_lost = is_lost
        #: What was to be written is the reason, or may be: less of it can work.
        self.is_about_data = is_about_data


class OwnershipLostError(StoreError):
    """Another server has owned the store in the meantime: what this one knows about its jobs no longer holds."""


class MalformedPacketError(ServerError):
    """A packet's body does not hold what its type demands: the connection is closed after an ERROR."""


class RefusedError(ServerError):
    """A request is answered with an ERROR packet; the connection goes on."""

    def __init__(self, code: bytes, text: bytes) -> None:
        super().__init__(text.decode())
        self.code = code
        self.text = text


class PolicyFileError(ServerError):
    """A policies file can't be used. `problems` holds one line for each thing that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
