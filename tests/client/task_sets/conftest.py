"""What the tests of task sets share: job servers of both kinds, and workers in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearman_client import Address

from ...gearmand import Gearmand
from ...server.server_process import ServerProcess


@pytest.fixture(params=["gearmand", "gearman-server"])
def job_server(request: pytest.FixtureRequest, start_gearmand: Callable[[], Gearmand]) -> Iterator[Address]:
    """A running job server: Debian's gearmand, then ours."""
    if request.param == "gearmand":
        yield start_gearmand().address
        return
    server = ServerProcess()
    try:
        yield Address("127.0.0.1", server.port)
    finally:
        server.stop()


class Diary:
    """Keeps what the callbacks of tasks are told, as (name, what the task's context says, arguments)."""

    NAMES = ("created", "data", "warning", "status", "complete", "exception", "fail", "retry")

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    @property
    def callbacks(self) -> Any:
        """One callback for each name."""
        return {f"on_{name}": self._writer(name) for name in self.NAMES}

    def of(self, context: Any) -> list[tuple[Any, ...]]:
        """The entries about one task, without its context."""
        return [(name, *rest) for name, about, *rest in self.entries if about == context]

    def _writer(self, name: str) -> Callable[..., object]:
        return lambda task, *arguments: self.entries.append((name, task.context, *arguments))


@pytest.fixture
def diary() -> Diary:
    return Diary()
