"""The listening sockets of a bundled job server, kept while one process ends and the next one starts.

Connections that come meanwhile wait in the kernel, and the next process accepts them: nobody is refused. Only the ports
of a server without others are kept. Clients of several go to another one when they are refused, and the servers of a
cluster see by a refusal that one of them is dead.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gearman_manager.config.server_keys import Server

#: So many connections can wait (the kernel may allow fewer): all workers and clients come back at once.
BACKLOG: Final = 4096


class KeptPorts:
    """Those of one server."""

    def __init__(self, section: Server) -> None:
        """`section` is that of the configuration."""
        self._may_keep = section.cluster is None and len(section.listening) == 1
        self._sockets: list[tuple[str, socket.socket]] = []

    @property
    def descriptors(self) -> list[int]:
        """Those of the sockets, for the next process to inherit."""
        return [listening.fileno() for _, listening in self._sockets]

    @property
    def options(self) -> list[str]:
        """The options that tell it of them."""
        named = [f"{purpose}={listening.fileno()}" for purpose, listening in self._sockets]
        return [word for each in named for word in ("--listening-fd", each)]

    def keep(self, purposes: Sequence[str], descriptors: Sequence[int]) -> None:
        """Keep these sockets instead of the ones until now; or none, if some were lost on the way because this process
        has too many open files: the next process would listen on the others alone."""
        self.release()
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if not self._may_keep or len(purposes) != len(sockets):
            for listening in sockets:
                listening.close()
            return
        self._sockets = list(zip(purposes, sockets, strict=True))
        for listening in sockets:
            with suppress(OSError):
                listening.listen(BACKLOG)

    def release(self) -> None:
        """Keep none: once no process has them, connections are refused."""
        sockets, self._sockets = self._sockets, []
        for _, listening in sockets:
            listening.close()
