"""Keeps foreign web pages out: a browser sends requests to any port, on behalf of any page that its user visits.

A browser names the page's site in `Origin`, or at least in `Referer` or `Sec-Fetch-Site`; other programs send none of
them. A page whose own host name leads to this machine (DNS rebinding) is of the same origin, but its name is in `Host`.
An address in `Host` is no such name: whoever typed it, it led here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from gearman_process.http.messages import HttpRefusal, HttpRequest
from gearman_server.jobs.access import THIS_MACHINE, Identity
from gearman_server.log import SeldomLog

OPTION: Final = "--http-allow-host"
_EVERY_NAME: Final = "*"
_WITHOUT_A_PAGE: Final = ("same-origin", "none")
_SAY_EVERY_S: Final = 60.0
_MOST_CHARACTERS: Final = 100


class WebPages:
    """Which names this server has, and which sites' pages may use it."""

    def __init__(self, allowed: Iterable[str], *, everywhere: bool = True) -> None:
        """`allowed` are further names, `*` means all. If not `everywhere`, only requests from this machine are checked:
        those of others were let in when the port was opened to them."""
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)
        self._own = frozenset(("localhost", platform.node().lower(), *self._allowed))
        self._everywhere = everywhere
        self._log = SeldomLog(_SAY_EVERY_S)

    def check(self, request: HttpRequest, peer: Identity) -> None:
        """Let a request pass.

        Raises:
            HttpRefusal: it comes from a foreign page, or under a foreign name.
        """
        if _EVERY_NAME in self._allowed or not (self._everywhere or THIS_MACHINE.allows(peer)):
            return
        authority = request.authority
        if authority is not None and not self._is_own(_host(authority)):
            raise self._refusal(peer, f"the host {authority[:_MOST_CHARACTERS]} is no name of this server")
        site = request.header("origin")
        if site is None:
            site = request.header("referer")
        if site is not None:
            if not self._may_call(site, authority):
                raise self._refusal(peer, f"pages of {site[:_MOST_CHARACTERS]} may not use this server")
        elif (request.header("sec-fetch-site") or "none").lower() not in _WITHOUT_A_PAGE:
            raise self._refusal(peer, "pages of other sites may not use this server")

    def _is_own(self, host: str) -> bool:
        if host in self._own or host.endswith(".localhost"):
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def _may_call(self, site: str, authority: str | None) -> bool:
        caller = site.partition("://")[2].partition("/")[0].lower()
        return caller != "" and (caller == (authority or "").lower() or _host(caller) in self._allowed)

    def _refusal(self, peer: Identity, reason: str) -> HttpRefusal:
        shown = reason if reason.isprintable() else ascii(reason)
        self._log.warning("HTTP connection %s: refused, %s", peer, shown)
        return HttpRefusal(403, f"{reason}; {OPTION} NAME allows it")


def _host(authority: str) -> str:
    """The host in `HOST`, `HOST:PORT` or `[IPV6]:PORT`."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    host, _, port = authority.partition(":")
    return host.lower().rstrip(".") if not port or port.isdigit() else authority
