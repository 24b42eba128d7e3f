"""The control API on a TCP address. TCP knows no users, so every request must show the token.

The token also keeps web pages out. A page can make a browser send a request here, even under a host name of its choice,
but it does not know the token, and it may not set the token's header without a permission (CORS) that we never give.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Final

from gearman_manager.config import ConfigError
from gearman_manager.config.values import parse_token
from gearman_manager.control.connections import ControlConnections
from gearman_manager.control.refused_tokens import RefusedTokens
from gearman_manager.control.wsgi import wsgi
from gearman_manager.errors import StartError
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest
from gearman_process.regular_file import read_regular_file

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from gearman_manager.config import Config

_log = logging.getLogger("control")
_MAX_CONNECTIONS: Final = 32
_MAX_TOKEN_FILE_BYTES: Final = 4096


class ControlPort:
    """Serves an application on the configured address, if there is one."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._token = b""
        self._listen: object = None
        self._server: ControlConnections | None = None
        self._refused = RefusedTokens()

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

    def _guarded(self, request: HttpRequest, address: str) -> HttpAnswer:
        """Carry out a request with the token. Before that nothing of its body is read."""
        given = request.header("authorization")
        scheme, _, token = (given or "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self._token):
            return wsgi(self._application, request, address)
        self._refused.note(address, is_missing=given is None)
        text = "the header `Authorization: Bearer TOKEN` is missing or wrong: see control.token"
        raise HttpRefusal(401, text, ("WWW-Authenticate", "Bearer"), ("Connection", "close"))


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
