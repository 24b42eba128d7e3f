"""The job for huey, with Redis or a SQLite file: the environment has the URL of one or the path of the other."""

from __future__ import annotations

import os

import noop_counter
from huey import RedisHuey, SqliteHuey

_BROKER = os.environ["NOOP_BROKER"]

if _BROKER.startswith("redis:"):
    app = RedisHuey("noop", url=_BROKER, results=False)
else:
    app = SqliteHuey("noop", filename=_BROKER, fsync=False, results=False)


@app.task()
def noop() -> None:
    """Do nothing."""
    noop_counter.count()
