"""What a configuration says of those who may use the control API's TCP address: tokens, users, the proxy."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gearman_client.connection.tls_stream import load_context
from gearman_client.tls import Tls
from gearman_manager.access.caller import Role
from gearman_manager.access.users_file import User, UsersError, read_users
from gearman_manager.config import Config, ConfigError
from gearman_manager.config.values import parse_token
from gearman_process.regular_file import read_regular_file

_MAX_TOKEN_FILE_BYTES: Final = 4096
FULL: Final = "full"
READ_ONLY: Final = "read-only"
#: The names of the tokens, and the roles of those who show them.
TOKEN_ROLES: Final[Mapping[str, Role]] = {FULL: Role.ADMIN, READ_ONLY: Role.VIEWER}


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that callers can show."""

    #: By the name of the token.
    tokens: Mapping[str, bytes] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)
    proxy_token: bytes = b""
    #: Those that we show to the peers, in their order.
    peer_tokens: tuple[str, ...] = field(default=(), repr=False)

    def token(self, given: bytes) -> str | None:
        """The name of the token that this is; None: it is none. The time that it takes tells nothing."""
        found = None
        for name, token in self.tokens.items():
            if hmac.compare_digest(given, token):
                found = name
        return found

    def is_proxy(self, given: bytes) -> bool:
        """Whether the proxy has shown this."""
        return bool(self.proxy_token) and hmac.compare_digest(given, self.proxy_token)

    def fingerprint(self, kind: str, name: str) -> str | None:
        """Of what a caller of this name has shown; a session ends when it changes. None: there is no such caller."""
        if kind == "token":
            secret = self.tokens.get(name)
        else:
            user = self.users.get(name)
            secret = user.line.encode() if user is not None and user.has_password else None
        return None if secret is None else hashlib.blake2b(secret, digest_size=12).hexdigest()

    def role(self, kind: str, name: str) -> Role:
        """The role of a caller that there is."""
        return TOKEN_ROLES[name] if kind == "token" else self.users[name].role


def read_credentials(config: Config) -> Credentials:
    """The credentials of a configuration.

    Raises:
        ConfigError: a file can't be used.
    """
    control = config.control
    tokens = {FULL: control.token.encode() if control.token else b""}
    if control.token_file is not None:
        tokens[FULL] = _token(config, "token_file", control.token_file)
    if control.read_token_file is not None:
        tokens[READ_ONLY] = _token(config, "read_token_file", control.read_token_file)
    if tokens[FULL] and tokens.get(READ_ONLY) == tokens[FULL]:
        message = "the token for reading is the full token: give it one of its own"
        raise ConfigError([config.places.problem("control.read_token_file", message)])
    users: Mapping[str, User] = {}
    if control.users_file is not None:
        try:
            users = read_users(control.users_file)
        except UsersError as error:
            raise ConfigError([config.places.problem("control.users_file", str(error))]) from error
    proxy = control.trusted_proxy
    proxy_token = b"" if proxy is None else _token(config, "trusted_proxy.token_file", proxy.token_file)
    return Credentials(
        {name: token for name, token in tokens.items() if token}, users, proxy_token, _peer_tokens(config)
    )


def _peer_tokens(config: Config) -> tuple[str, ...]:
    control, found = config.control, []
    for index, peer in enumerate(control.peers):
        key = "peer_token_file" if peer.token_file is None else f"peers[{index}].token_file"
        found.append(_token(config, key, peer.token_file or control.peer_token_file or "").decode())
        if peer.ca_file is not None:
            try:
                load_context(Tls(peer.ca_file))
            except ValueError as error:
                raise ConfigError([config.places.problem(f"control.peers[{index}].ca_file", str(error))]) from error
    return tuple(found)


def _token(config: Config, key: str, path: str) -> bytes:
    try:
        return parse_token(read_regular_file(path, _MAX_TOKEN_FILE_BYTES).decode("ascii").strip()).encode()
    except (OSError, ValueError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
        raise ConfigError([config.places.problem(f"control.{key}", f"no token in the file: {reason}")]) from error
