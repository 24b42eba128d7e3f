"""Serves the control API: HTTP on a Unix socket in the run folder. The command line is one of its clients."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gevent.socket

from gearman_manager.access.gate import Gate
from gearman_manager.access.local import local_caller
from gearman_manager.config import Config
from gearman_manager.control.connections import ControlConnections
from gearman_manager.control.tcp_port import ControlPort
from gearman_manager.control.wsgi import wsgi
from gearman_manager.errors import StartError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_BACKLOG: Final = 1024
_MAX_CONNECTIONS: Final = 256


class ControlServer:
    """Serves an application on its socket, and on a TCP address if the configuration names one, until it is closed."""

    def __init__(self, path: Path, app: WSGIApplication, gate: Gate) -> None:
        self._path = path
        self._port = ControlPort(app, gate)
        self._listener = gevent.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server = ControlConnections(
            self._listener, lambda request, peer: wsgi(app, request, local_caller(peer)), _MAX_CONNECTIONS
        )

    @property
    def url(self) -> str | None:
        """Where a browser on this machine finds the pages; None: the configuration names no address."""
        return self._port.url

    def open(self, config: Config) -> None:
        """Serve from now on.

        Raises:
            StartError: the socket can't be made, or the address can't be used.
            ConfigError: a file of tokens or users can't be used.
        """
        with suppress(FileNotFoundError):
            self._path.unlink()  # left by a manager that was killed: we hold the run folder's lock
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(self._path))
        except OSError as error:
            raise StartError(
                f"the control socket {self._path} can't be made: {error.strerror}; choose another run_dir"
            ) from error
        finally:
            os.umask(mask)
        self._listener.listen(_BACKLOG)
        self._server.start()
        self._port.use(config)

    def use(self, config: Config) -> None:
        """Serve on the TCP address of this configuration; before `open` this does nothing.

        Raises:
            StartError, ConfigError: it can't be used; the old address is still served.
        """
        if self._server.started:
            self._port.use(config)

    def close(self) -> None:
        """Stop serving; requests under way get a second."""
        self._port.close()
        self._server.stop(timeout=1)
