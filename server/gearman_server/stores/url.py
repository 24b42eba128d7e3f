"""Where jobs are kept, as a URL, and how it is shown: a password in it never reaches a message or a log."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gearman_server.errors import UsageError

#: What a URL may start with.
SCHEMES: Final = ("sqlite", "postgresql+psycopg", "mysql+pymysql")

_EXPECTED: Final = "sqlite:///FILE, postgresql+psycopg://… or mysql+pymysql://…"


def parse_url(text: str, option: str = "--store") -> URL:
    """The database's URL; `option` is where it was written.

    Raises:
        UsageError: it is none that we know.
    """
    expected = f"write {'memory, ' if option == '--store' else ''}{_EXPECTED}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text itself may be all password.
        raise UsageError(f"{option}: that is no URL of a store: {expected}") from None
    if url.drivername not in SCHEMES:
        raise UsageError(f"{option}: {url.drivername}:// is no store: {expected}")
    if url.drivername == "sqlite" and (not url.database or url.database == ":memory:"):
        raise UsageError(f"{option}: sqlite:/// needs a file, as in sqlite:///jobs.db; without one there is `memory`")
    if url.get_backend_name() == "mysql" and not url.database:
        raise UsageError(f"{option}: {url.drivername}:// needs a database, as in {url.drivername}://USER@HOST/DATABASE")
    return url


def shown(url: URL) -> str:
    """The URL as it may be shown: neither a password nor what stands behind the `?`, where one could be too."""
    return url.set(query={}).render_as_string(hide_password=True)
