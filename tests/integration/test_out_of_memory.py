"""The kernel's out-of-memory killer, in a real control group: its victims are reported as such, the others work on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_client import JobFailed

from ..control_groups import limited_group
from . import neighbour
from .conftest import RunningManager, eventually

LIMIT_BYTES = 400_000_000
EATER = f"""
    def eater(job):
        print("reading it all")
        print("a large file", flush=True)
        b"x" * {3 * LIMIT_BYTES}
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group."""
    value = str(LIMIT_BYTES)
    with limited_group("memory", {"memory.limit_in_bytes": value, "memory.max": value}) as folder:
        yield folder


@pytest.fixture
def crowded(manager: RunningManager, group: Path) -> Iterator[RunningManager]:
    """A manager that has little memory."""
    manager.write_module("eater.py", EATER)
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.start_inside(group)
    yield manager
    manager.destroy()  # before its group goes


def test_a_worker_that_the_out_of_memory_killer_ends_is_reported_as_such_and_no_other_process_suffers(
    crowded: RunningManager,
) -> None:
    manager = crowded.start("functions: {eater: {crash_retries: 1}}\npools: {eater: {functions: [eater], max: 1}}\n")
    manager_pids = {manager.pid_of("gearman-manager: zygote"), manager.pid_of("gearman-server: ")}
    with neighbour.undisturbed(manager), manager.client(timeout_s=30) as client:
        with pytest.raises(JobFailed):
            client.submit("eater", b"")
        eventually(lambda: manager.log().count("by the out-of-memory killer") == 2, "both deaths are explained")
        eventually(manager.settled, "a replacement serves")
    error = manager.status()["pools"]["eater"]["last_error"]
    assert ": killed by SIGKILL, by the out-of-memory killer: " in error
    assert error.endswith("reading it all | a large file")
    assert manager_pids == {manager.pid_of("gearman-manager: zygote"), manager.pid_of("gearman-server: ")}
    # A kill by another process is not taken for the kernel's.
    worker = manager.workers("eater")[0]["pid"]
    os.kill(worker, signal.SIGKILL)
    killed = f"pid {worker}: killed by SIGKILL"
    eventually(lambda: killed in manager.status()["pools"]["eater"]["last_error"], "its death is explained")
    assert "out-of-memory" not in manager.status()["pools"]["eater"]["last_error"]


def test_a_module_whose_import_takes_all_memory_is_named_with_the_reason(crowded: RunningManager) -> None:
    manager = crowded
    file = manager.write_module("hoard.py", f"kept = b'x' * {3 * LIMIT_BYTES}\ndef hoard(job): ...\n")
    manager.start("")
    (error,) = manager.status()["errors"]
    assert error["file"] == str(file)
    assert "killed by SIGKILL, by the out-of-memory killer" in error["message"]
    with neighbour.undisturbed(manager):
        pass
