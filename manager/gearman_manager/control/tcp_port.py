"""The control API on a TCP address. TCP knows no users, so every request must show who makes it: `access/gate.py`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gearman_client import Address
from gearman_manager.access.credentials import read_credentials
from gearman_manager.access.gate import Gate
from gearman_manager.config import reachable
from gearman_manager.control.connections import ControlConnections
from gearman_manager.control.wsgi import wsgi
from gearman_manager.errors import StartError
from gearman_process.http.messages import HttpAnswer, HttpRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from gearman_manager.access.caller import Peer
    from gearman_manager.config import Config

_log = logging.getLogger("control")
_MAX_CONNECTIONS: Final = 64


class ControlPort:
    """Serves an application on the configured address, if there is one."""

    def __init__(self, application: WSGIApplication, gate: Gate) -> None:
        self._application = application
        self._gate = gate
        self._listen: object = None
        self._server: ControlConnections | None = None

    @property
    def url(self) -> str | None:
        """Where a browser on this machine finds us; None without an address."""
        if self._server is None:
            return None
        host, port = self._server.socket.getsockname()[:2]
        return f"http://{reachable(Address(host, port))}{self._gate.prefix}/"

    def use(self, config: Config) -> None:
        """Serve as the section `control` says. A changed address ends the old one with its connections.

        After an error the old address is still served.

        Raises:
            StartError: the address can't be used.
            ConfigError: a file of tokens or users can't be used.
        """
        section = config.control
        read_credentials(config)  # before anything changes
        if section.listen != self._listen:
            server = None if section.listen is None else self._open(config)
            self.close()
            self._server, self._listen = server, section.listen
        self._gate.use(config)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop(timeout=1)
            self._server = None

    def _open(self, config: Config) -> ControlConnections:
        address = config.control.listen
        assert address is not None
        try:
            server = ControlConnections((address.host, address.port), self._guarded, _MAX_CONNECTIONS)
            server.start()
        except OSError as error:
            place = f"{config.place('control.listen')}: control.listen"
            raise StartError(f"can't listen on {address}: {error.strerror}; choose another address: {place}") from error
        _log.info("control API on %s:%d too", address.host, server.server_port)
        return server

    def _guarded(self, request: HttpRequest, peer: Peer) -> HttpAnswer:
        """Carry out a request that the gate lets in. Before that nothing of its body is read."""
        caller = self._gate.admit(request, peer)
        return wsgi(self._application, request, caller, self._gate.prefix)
