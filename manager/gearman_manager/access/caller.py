"""Who makes a request: a value that comes with it through all layers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

#: Where the caller is in the WSGI environment.
CALLER: Final = "gearman.caller"


class Role(IntEnum):
    """What a caller may do. Each may also do what those before it may."""

    VIEWER = 1  #: look at everything
    OPERATOR = 2  #: change pools, functions and jobs
    ADMIN = 3  #: reload, drain and stop the manager, replace job servers

    @property
    def word(self) -> str:
        """As configurations and files of users have it."""
        return self.name.lower()


ROLES: Final = {role.word: role for role in Role}


class Kind(Enum):
    """How a caller has shown who it is."""

    SOCKET = "socket"  #: a process of the manager's user, or of root, on the control socket
    TOKEN = "token"
    USER = "user"  #: with a password
    PROXY = "proxy"  #: a trusted proxy says who it is
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request."""

    kind: Kind
    #: Of a user, of a token, or of the account of a process on this machine; empty for nobody.
    name: str
    #: None: may only ask for what everybody may see.
    role: Role | None
    #: The peer's host, or what stands for it.
    address: str
    #: Whether the peer's browser speaks TLS, with a proxy.
    is_https: bool = False
    #: What a request that changes something must bring along, because a browser sends the credentials by itself; empty:
    #: nothing, since no page can make a browser send them.
    csrf: str = ""
    #: Of the session; empty without one.
    session: str = ""

    def may(self, role: Role) -> bool:
        """Whether the caller has that role, or a greater one."""
        return self.role is not None and self.role >= role

    @property
    def who(self) -> str:
        """For people, as `user alice` or `uid 1000 (alice)`."""
        return self.name if self.kind is Kind.SOCKET or not self.name else f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    #: The host; of the control socket the words for it.
    address: str
    #: Of the process on the control socket.
    uid: int | None = None
