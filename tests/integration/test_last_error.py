"""A pool that can't start is marked failing with a reason: exit status or signal, and its last lines. Others serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import neighbour
from .conftest import RunningManager, eventually

CONFIG = """
pools:
  leaves: {command: [sh, -c, 'echo one; echo two; echo three >&2; echo four >&2; exit 3'], functions: [a]}
  crashes: {command: [sh, -c, 'echo about to crash >&2; kill -SEGV $$$$'], functions: [b]}
  silent: {command: [sh, -c, 'kill -KILL $$$$'], functions: [c]}
  raising: {functions: [raising]}
  exiting: {functions: [exiting]}
  dying: {functions: [dying]}
"""
MODULE = "import os, sys\nclass {name}:\n    def setup(self, settings): {action}\n    def run(self, job): ...\n"
ACTIONS = {
    "raising": "raise RuntimeError('no database')",
    "exiting": "sys.exit('no licence')",
    "dying": "print('so long', flush=True); os.abort()",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one pool for each way to fail at the start, and one pool that works."""
    manager = RunningManager(tmp_path_factory.mktemp("broken"))
    for name, action in ACTIONS.items():
        manager.write_module(f"{name}.py", MODULE.format(name=name, action=action))
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.config_file.write_text(f"run_dir: run\nserver: {{listen: '127.0.0.1:0'}}\n{CONFIG}")
    manager.launch()
    report = eventually(
        lambda: (found := manager.try_status()) and all(server["up"] for server in found["servers"].values()) and found,
        "the job server answers",
    )
    (manager.address,) = report["servers"]
    yield manager
    manager.destroy()


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ("leaves", "exit status 3: two | three | four"),
        ("crashes", "killed by SIGSEGV: about to crash"),
        ("silent", "killed by SIGKILL"),
        ("raising", "exit status 1: RuntimeError: no database"),
        ("exiting", "exit status 1: SystemExit: no licence"),
        ("dying", "killed by SIGABRT: so long"),
    ],
)
def test_a_pool_that_can_not_start_reports_the_reason_and_keeps_being_retried(
    broken: RunningManager, pool: str, reason: str
) -> None:
    def failing_with_reason() -> bool:
        entry = broken.status()["pools"][pool]
        failing: bool = entry["failing"]
        return failing and entry["state"] == "failing" and entry["last_error"].endswith(reason)

    with neighbour.undisturbed(broken):
        eventually(failing_with_reason, f"{pool} is failing: …{reason}")
        eventually(lambda: broken.log().count(f"{pool}/") > 2, "it is tried again")
