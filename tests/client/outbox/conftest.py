"""Ways to a database for the outbox: the drivers alone, SQLAlchemy and Django."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import django.conf
import django.db
import psycopg
import pymysql
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from ...databases import MAKERS, StoreDatabase

WAYS = ("driver", "pooled", "connection", "session", "scoped", "django")
#: Django asks for mysqlclient; PyMySQL says that it is one.
pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()
if not django.conf.settings.configured:
    django.conf.settings.configure()
    django.setup()


def connect(database: StoreDatabase, way: str) -> Any:
    """A connection or session of a program: `commit`, `rollback` and `close` are its methods."""
    url = make_url(database.url)
    if way == "driver":
        if database.kind == "sqlite":
            return sqlite3.connect(database.file)
        if database.kind == "mysql":
            return pymysql.connect(host=url.host, port=url.port or 3306, user=url.username, database=url.database)
        return psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    if way == "django":
        engine = {"sqlite": "sqlite3"}.get(database.kind, database.kind)
        names = {
            "HOST": url.host or "",
            "PORT": url.port or "",
            "USER": url.username or "",
            "PASSWORD": url.password or "",
        }
        settings = {"ENGINE": f"django.db.backends.{engine}", "NAME": url.database, "OPTIONS": dict(url.query), **names}
        connection = django.db.utils.ConnectionHandler({"default": settings})["default"]
        connection.set_autocommit(False)  # as in `atomic`
        return connection
    of_engine = create_engine(database.url, poolclass=NullPool)
    if way == "pooled":
        return of_engine.raw_connection()
    if way == "scoped":
        return scoped_session(sessionmaker(of_engine))
    return of_engine.connect() if way == "connection" else Session(of_engine)


@pytest.fixture(params=MAKERS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreDatabase]:
    """A database of each kind in turn."""
    yield from MAKERS[request.param](tmp_path)


@pytest.fixture(params=WAYS)
def connection(request: pytest.FixtureRequest, database: StoreDatabase) -> Iterator[Any]:
    """A connection to it in each way in turn."""
    opened = connect(database, request.param)
    yield opened
    opened.close()
