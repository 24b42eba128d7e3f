"""SQLAlchemy's way to a database, made and first used: what is wrong with its URL or missing for it is a StartError."""

from __future__ import annotations

import warnings
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SAWarning
from sqlalchemy.pool import NullPool

from gearman_server.errors import StartError
from gearman_server.stores.url import shown

_EXTRAS: Final = {"psycopg": "postgresql", "pymysql": "mysql"}
#: What SQLAlchemy and the drivers raise for what stands behind the `?` of a URL.
_MISTAKES: Final = (ArgumentError, SAWarning, TypeError, ValueError, AttributeError)


def make_engine(url: URL, what: str, **options: Any) -> Engine:
    """An engine without a pool. `what` says in a message whose URL it is: `the store`.

    Raises:
        StartError: the driver is not installed, or can't be given what the URL says.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # of a word behind the `?` that is passed over
            return create_engine(url, poolclass=NullPool, **options)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "")
        raise StartError(
            f"{what} {shown(url)} needs the Python package {error.name}: pip install 'gearman-manager[{extra}]'"
        ) from error
    except _MISTAKES as error:
        if not url.query:
            raise  # the mistake is ours
        raise _refused(url, what) from error


def connect(engine: Engine, what: str) -> Connection:
    """The first connection.

    Raises:
        StartError: the driver does not take what the URL says.
    """
    try:
        return engine.connect()
    except _MISTAKES as error:
        if not engine.url.query:
            raise  # the mistake is ours
        raise _refused(engine.url, what) from error


def _refused(url: URL, what: str) -> StartError:
    # The words are named, but not their values: one could be a password.
    return StartError(
        f"{what} {shown(url)} can't be used: the driver does not take what stands behind the ? of the URL "
        f"({', '.join(url.query)}): correct it, or leave it out"
    )
