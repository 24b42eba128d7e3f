"""Lets requests on the TCP address in, or refuses them, by their heads alone: nothing of a body has been read.

A request without credentials may ask for what everybody may see: the login form and its files, and the probes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from gearman_manager.access.caller import ROLES, Caller, Kind, Peer, Role
from gearman_manager.access.credentials import TOKEN_ROLES, Credentials, read_credentials
from gearman_manager.access.hosts import is_our_host, is_our_origin
from gearman_manager.access.proxy import Behind, behind
from gearman_manager.access.refused_tokens import RefusedTokens
from gearman_manager.access.sessions import COOKIE, Sessions
from gearman_manager.config import Config, Control
from gearman_process.http.messages import HttpRefusal, HttpRequest

LOGIN: Final = "/login"
#: The paths, and the beginnings of paths, that everybody may ask for.
PUBLIC: Final = frozenset({LOGIN, "/livez", "/readyz"})
PUBLIC_BEGINNINGS: Final = ("/static/",)
_HINT: Final = "the header `Authorization: Bearer TOKEN` is missing or wrong: see control.token"


class Gate:
    """Decides by the section `control` of the configuration."""

    def __init__(self, sessions: Sessions, taken: Callable[[Config, Credentials], None] = lambda *_: None) -> None:
        """`taken` is told of each configuration, with its credentials, from which on it counts."""
        self._sessions = sessions
        self._taken = taken
        self._control = Control()
        self._credentials = Credentials()
        self._hosts: frozenset[str] = frozenset()
        self._refused = RefusedTokens()

    def use(self, config: Config) -> None:
        """Decide by this configuration from now on.

        Raises:
            ConfigError: a file of credentials can't be used; it goes on as before.
        """
        credentials = read_credentials(config)
        self._credentials = self._sessions.credentials = credentials
        self._control = config.control
        self._sessions.lifetime_s = config.control.session
        self._hosts = frozenset(host.lower() for host in config.control.hosts)
        self._taken(config, credentials)

    @property
    def prefix(self) -> str:
        """The path under which a proxy shows us; empty: none."""
        return self._control.prefix

    def admit(self, request: HttpRequest, peer: Peer) -> Caller:
        """Who makes a request.

        Raises:
            HttpRefusal: it is not carried out.
        """
        source = behind(request, peer.address, self._credentials)
        authority = request.authority
        if not is_our_host(authority, self._hosts):
            raise HttpRefusal(403, "the request is for a host that is not this one: see control.hosts")
        if not is_our_origin(request.header("origin"), authority, self._hosts):
            raise HttpRefusal(403, "the request comes from a page of another site: see control.hosts")
        caller = self._caller(request, source)
        if caller.role is None and not self._is_public(request):
            raise self._no_credentials(request, source)
        return caller

    def _caller(self, request: HttpRequest, source: Behind) -> Caller:
        scheme, _, given = (request.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(given.strip(), source)
        by_proxy = self._by_proxy(request, source)
        if by_proxy is not None:
            return by_proxy
        if scheme:
            raise self._wrong_token(source)
        cookie = _cookie(request)
        if cookie and (caller := self._sessions.caller(cookie, source.address, is_https=source.is_https)):
            return caller
        return Caller(Kind.NOBODY, "", None, source.address, source.is_https)

    def _by_token(self, given: str, source: Behind) -> Caller:
        name = self._credentials.token(given.encode("latin-1"))
        if name is None:
            raise self._wrong_token(source)
        return Caller(Kind.TOKEN, name, TOKEN_ROLES[name], source.address, source.is_https)

    def _wrong_token(self, source: Behind) -> HttpRefusal:
        self._refused.note(source.address, is_missing=False)
        return HttpRefusal(401, _HINT, ("WWW-Authenticate", "Bearer"), ("Connection", "close"))

    def _by_proxy(self, request: HttpRequest, source: Behind) -> Caller | None:
        proxy = self._control.trusted_proxy
        if proxy is None or proxy.user_header is None or not source.is_trusted:
            return None
        name = (request.header(proxy.user_header.lower()) or "").strip()
        if not name or len(name) > 200 or not name.isprintable():
            return None
        user = self._credentials.users.get(name)
        role: Role = ROLES[proxy.role] if user is None else user.role
        csrf = self._sessions.csrf(f"proxy {name}")
        return Caller(Kind.PROXY, name, role, source.address, source.is_https, csrf)

    def _is_public(self, request: HttpRequest) -> bool:
        path = without_prefix(request.path.decode("latin-1"), self.prefix)
        return path in PUBLIC or path.startswith(PUBLIC_BEGINNINGS)

    def _no_credentials(self, request: HttpRequest, source: Behind) -> HttpRefusal:
        """A browser is sent to the login form; a program gets the status that it knows."""
        path = without_prefix(request.path.decode("latin-1"), self.prefix)
        if request.method == "GET" and "text/html" in (request.header("accept") or "") and not path.startswith("/api/"):
            query = f"?{request.query}" if request.query else ""
            # The path has come unquoted: quoted once it is a path again, twice it is a value.
            goal = f"{self.prefix}{LOGIN}?next={quote(quote(path, encoding='latin-1') + query, safe='')}"
            return HttpRefusal(303, "log in first", ("Location", goal))
        self._refused.note(source.address, is_missing=True)
        return HttpRefusal(401, _HINT, ("WWW-Authenticate", "Bearer"), ("Connection", "close"))


def without_prefix(path: str, prefix: str) -> str:
    """A path as our routes have it: a proxy may have taken the prefix off, or not."""
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :] or "/"
    return path


def _cookie(request: HttpRequest) -> str:
    """The cookie of our session; empty without one. Of several the first: it has the longest path."""
    for pair in ";".join(value for name, value in request.headers if name == "cookie").split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE:
            return value.strip().strip('"')
    return ""
