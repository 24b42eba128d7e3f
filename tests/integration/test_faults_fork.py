"""The process limit is reached, so no process can start for a while: running ones go on, and missing ones come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..control_groups import limited_group
from . import neighbour
from .conftest import RunningManager, eventually

CONFIG = """
pools:
  nap: {functions: [nap], min: 1, max: 1}
  program: {command: [sleep, '600'], functions: [other], min: 1, max: 1}
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may hold many processes, for now."""
    with limited_group("pids", {"pids.max": "1000"}) as folder:
        yield folder


@pytest.fixture
def crowded(napping: RunningManager, group: Path) -> Iterator[RunningManager]:
    """A manager in this group."""
    napping.write_module("neighbour.py", neighbour.MODULE)
    napping.start_inside(group)
    yield napping.start(CONFIG)
    napping.destroy()  # before its group goes


def test_without_processes_pools_fail_with_the_reason_others_serve_and_all_recover(
    crowded: RunningManager, group: Path
) -> None:
    manager = crowded
    zygote = manager.pid_of("gearman-manager: zygote")

    def failing(pool: str) -> Any:
        """For a moment it may be so for the kill itself."""
        found = manager.status()["pools"][pool]
        return found["failing"] and "Resource temporarily unavailable" in found["last_error"]

    with neighbour.undisturbed(manager):
        (group / "pids.max").write_text("1")  # kills no process, but none can fork any more
        for pool in ("nap", "program"):
            os.kill(manager.workers(pool)[0]["pid"], signal.SIGKILL)
        for pool in ("nap", "program"):
            eventually(partial(failing, pool), "it is failing")
        os.kill(zygote, signal.SIGKILL)
        eventually(lambda: "a zygote can't be started: Resource temporarily" in manager.log(), "nor can a zygote")
        (group / "pids.max").write_text("1000")
        eventually(manager.settled, "all workers are back")
        with manager.client(timeout_s=20) as client:
            assert client.submit("nap", "0")
    assert manager.stop() == 0
    assert "Traceback" not in manager.log()


def test_without_processes_a_job_server_that_dies_comes_back_when_there_is_room(
    crowded: RunningManager, group: Path
) -> None:
    manager = crowded
    (group / "pids.max").write_text("1")
    os.kill(manager.pid_of("gearman-server: "), signal.SIGKILL)
    eventually(lambda: "the job server can't be started: Resource temporarily" in manager.log(), "it can't be started")
    (group / "pids.max").write_text("1000")
    eventually(manager.settled, "it is back")
    with manager.client(timeout_s=20) as client:
        assert client.submit("nap", "0")
    assert manager.stop() == 0
    assert "Traceback" not in manager.log()
