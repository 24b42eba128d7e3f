"""The control API on a TCP address. TCP knows no users, so every request must show the token.

The token also keeps web pages out. A page can make a browser send a request here, even under a host name of its choice,
but it does not know the token, and it may not set the token's header without a permission (CORS) that we never give.
"""

from __future__ import annotations

import hmac
import logging
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from gearman_manager.config import ConfigError
from gearman_manager.config.values import parse_token
from gearman_manager.errors import StartError
from gearman_process.regular_file import read_regular_file

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from gearman_manager.config import Config

_log = logging.getLogger("control")
_MAX_CONNECTIONS: Final = 32
_SILENCE_S: Final = 30.0
_MAX_TOKEN_FILE_BYTES: Final = 4096


class ControlPort:
    """Serves an application on the configured address, if there is one."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._token = b""
        self._listen: object = None
        self._server: _Server | None = None

    def use(self, config: Config) -> None:
        """Serve as the section `control` says. A changed address ends the old one with its connections.

        After an error the old address is still served.

        Raises:
            StartError: the address can't be used.
            ConfigError: the token can't be read.
        """
        section = config.control
        token = read_token(config)
        if section.listen != self._listen:
            server = None if section.listen is None else self._open(config)
            self.close()
            self._server, self._listen = server, section.listen
        self._token = token

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop(timeout=1)
            self._server = None

    def _open(self, config: Config) -> _Server:
        address = config.control.listen
        assert address is not None
        try:
            server = _Server((address.host, address.port), self._guarded)
            server.start()
        except OSError as error:
            place = f"{config.place('control.listen')}: control.listen"
            raise StartError(f"can't listen on {address}: {error.strerror}; choose another address: {place}") from error
        _log.info("control API on %s:%d too", address.host, server.server_port)
        return server

    def _guarded(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            return self._application(environ, start_response)
        # The connection is closed, so that no client without the token can make us read a body.
        headers = [("WWW-Authenticate", "Bearer"), ("Content-Type", "application/json"), ("Connection", "close")]
        start_response("401 Unauthorized", headers)
        return [b'{"error": "the header `Authorization: Bearer TOKEN` is missing or wrong: see control.token"}\n']


class _Server(WSGIServer):  # type: ignore[misc]
    """A WSGI server that limits the number of connections, and closes silent ones."""

    def __init__(self, address: tuple[str, int], application: Callable[..., Iterable[bytes]]) -> None:
        errors: Any = _log
        super().__init__(address, application, log=None, error_log=errors, spawn=Pool(_MAX_CONNECTIONS))

    def handle(self, sock: socket.socket, address: object) -> None:
        """Serve one connection."""
        sock.settimeout(_SILENCE_S)
        super().handle(sock, address)


def read_token(config: Config) -> bytes:
    """The token that a request must show; empty without an address.

    Raises:
        ConfigError: the file holds none.
    """
    section = config.control
    if section.token_file is None:
        return (section.token or "").encode()
    try:
        return parse_token(
            read_regular_file(section.token_file, _MAX_TOKEN_FILE_BYTES).decode("ascii").strip()
        ).encode()
    except (OSError, ValueError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
        raise ConfigError([config.places.problem("control.token_file", f"no token in the file: {reason}")]) from error
