"""Every exception of the job server. `ServerError` is the base of all."""

from collections.abc import Iterable

from gearman_client.errors import GearmanError


class ServerError(GearmanError):
    """Base of everything the server raises."""


class UsageError(ServerError):
    """The command line can't be carried out; the message is one line that names the option and the remedy."""


class StartError(ServerError):
    """The server can't start; the message is one line that says why and what would help."""


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
