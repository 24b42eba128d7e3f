"""Why a database refuses, in one line. Pure."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError


def reason_of(failure: BaseException) -> str:
    """The driver's words, without the statement and the values that SQLAlchemy puts behind them."""
    cause = failure.orig if isinstance(failure, DBAPIError) and failure.orig is not None else failure
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
    words = cause.args[-1] if cause.args and isinstance(cause.args[-1], str) else str(cause)
    return " ".join(words.split()) or type(cause).__name__


def is_locked(failure: DBAPIError) -> bool:
    """Whether SQLite waited for another process in vain, or was broken off: the same may work at the next attempt."""
    name = getattr(failure.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_INTERRUPT"))
