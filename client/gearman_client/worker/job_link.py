"""What a job needs of the link over which it came."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

from gearman_client.address import Address
from gearman_client.connection.connection import Connection


class JobLink(Protocol):
    """The link over which a job came, as the job sees it: `ServerLink` is one."""

    address: Address
    connection: Connection | None
    server_is_ours: bool

    #: Whether the server takes the ends of several jobs without a result in one packet.
    takes_lists: bool
    #: If so: the jobs whose ends leave together with the next packet.
    done: list[Any]

    @property
    def extensions(self) -> Set[bytes]:
        """The names of the extensions that are switched on there, beside that of the attempt number."""

    @property
    def must_leave(self) -> bool:
        """Whether the worker was told to end."""

    def hears_stop(self, connection: Connection | None, handle: bytes) -> bool:
        """Whether the server has said, over the connection that assigned the job, that it is to be stopped."""

    @property
    def can_go_on(self) -> bool:
        """Whether a job goes on although the connection that assigned it is gone, because others may have it now."""

    @property
    def former_extensions(self) -> Set[bytes]:
        """The extensions of the last connection, if its jobs can go on."""

    def answer(self, connection: Connection | None, handle: bytes, packet: bytes, attempt: int = 0) -> None:
        """Queue the job's final answer. The attempt is 0 if it is not known."""

    def tell(self, connection: Connection | None, packet: bytes, attempt: int = 0) -> None:
        """Send a report of the running job."""
