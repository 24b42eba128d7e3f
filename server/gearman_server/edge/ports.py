"""All listening sockets of one server, by their purpose: opened together, described, warned about, and closed."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.edge.sockets import close_sockets, describe_address, is_reachable_from_elsewhere, open_sockets
from gearman_server.log import logger

if TYPE_CHECKING:
    from gearman_server.edge.listener import Listener
    from gearman_server.edge.settings import ListenSettings, PortSettings
    from gearman_server.edge.tls import TlsContext

#: In the order in which they are announced; `jobs` is Gearman's own protocol.
PURPOSES: Final = ("jobs", "tls", "http", "metrics")
_NAMES: Final = {"jobs": "", "tls": " (TLS)", "http": " (HTTP)", "metrics": " (metrics)"}


class Ports:
    """Takes the ports when it is made; `close` gives them back. Connections wait until a listener accepts them."""

    def __init__(
        self, settings: PortSettings, tls: TlsContext | None, inherited: Mapping[str, Sequence[socket.socket]]
    ) -> None:
        """Take every port. Sockets that the process has inherited replace those of their purpose.

        Raises:
            StartError: a port can't be taken; then none is kept.
        """
        self.tls = tls
        self.sockets: dict[str, list[socket.socket]] = {}
        #: By purpose, such as `127.0.0.1:4730`, `[::1]:4730` or `unix:/run/gearman.sock`.
        self.addresses: dict[str, tuple[str, ...]] = {}
        self._inherited = inherited
        try:
            for purpose in PURPOSES:
                self._take(purpose, getattr(settings, purpose))
        except BaseException:
            self.close()
            raise

    def _take(self, purpose: str, settings: ListenSettings | None) -> None:
        sockets = self._inherited.get(purpose) or (open_sockets(settings) if settings is not None else ())
        if sockets:
            self.sockets[purpose] = list(sockets)
            self.addresses[purpose] = tuple(map(describe_address, sockets))

    def close(self) -> None:
        """Close them all, and remove the files of our own Unix sockets. Closing twice does nothing."""
        for purpose, sockets in self.sockets.items():
            is_ours = purpose not in self._inherited
            close_sockets(sockets, self.addresses[purpose] if is_ours else ())
        self.sockets.clear()

    def describe(self) -> str:
        """All of them in one line."""
        return ", ".join(
            f"{address}{_NAMES[purpose]}" for purpose, addresses in self.addresses.items() for address in addresses
        )

    # --- Gearman's own protocol

    @property
    def _is_tls_apart(self) -> bool:
        """Whether TLS has a port of its own. Without one, the job port itself speaks it, except on Unix sockets."""
        return "tls" in self.sockets

    def accept_by(self, listener: Listener) -> None:
        """Have the listener accept on the ports for Gearman's protocol, plain or encrypted."""
        for listening in self.sockets.get("jobs", ()):
            is_plain = self._is_tls_apart or listening.family == socket.AF_UNIX
            listener.listen([listening], None if is_plain else self.tls)
        listener.listen(self.sockets.get("tls", ()), self.tls)

    def warn_if_open_to_all(self) -> None:
        """Log a warning if every machine that reaches this one may send jobs, unencrypted."""
        is_main_plain = self._is_tls_apart or self.tls is None
        reachable = [
            describe_address(listening)
            for purpose in (["jobs", "http"] if is_main_plain else ["http"])
            for listening in self.sockets.get(purpose, ())
            if is_reachable_from_elsewhere(listening)
        ]
        if reachable:
            logger.warning(
                "whoever reaches %s can send and take jobs, unencrypted: say who may connect with --allow CIDR, "
                "or have clients show certificates with --ssl and --ssl-verify",
                ", ".join(reachable),
            )
