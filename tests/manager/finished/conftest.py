"""Fixtures for finished jobs: rows, and a keeper over a real file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gearman_manager.config.models import FinishedJobs
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.finished.keeper import FILE_NAME, Keeper
from gearman_manager.privacy import Privacy

SERVER = "127.0.0.1:4730"


def attempt(number: int = 1, **changes: Any) -> FinishedAttempt:
    """An end, by default a success just now."""
    now = time.time()
    made = FinishedAttempt(
        server=SERVER,
        run="r1",
        number=number,
        at=now,
        handle=f"H:test:{number}",
        function="f",
        unique="",
        priority="normal",
        is_background=True,
        outcome="complete",
        follows="",
        attempt=1,
        submitted=now - 3,
        started=now - 1,
        worker="box/f/1",
        host="192.0.2.7",
        error="",
        traceback="",
        workload_bytes=1,
        workload="w",
        result="r",
        is_whole=True,
        progress="",
        tags=(),
    )
    return replace(made, **changes)


class Bounds:
    """The bounds in force, which tests change."""

    def __init__(self) -> None:
        self.now: FinishedJobs | None = FinishedJobs()

    def __call__(self) -> FinishedJobs | None:
        return self.now


@pytest.fixture
def bounds() -> Bounds:
    return Bounds()


@pytest.fixture
def make_keeper(tmp_path: Path, bounds: Bounds) -> Iterator[Callable[[], Keeper]]:
    """Makes keepers over the same file, as restarts of the manager do."""
    made: list[Keeper] = []

    def make() -> Keeper:
        made.append(Keeper(tmp_path / FILE_NAME, bounds, Privacy()))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def keeper(make_keeper: Callable[[], Keeper]) -> Keeper:
    return make_keeper()
