"""What a program imports is not looked through for garbage."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc
from gearman_process.lasting import all_lasts
looks = []
gc.callbacks.append(lambda *_: looks.append(1))
try:
    with all_lasts():
        made = [[] for _ in range(100_000)]
        if FAILS:
            raise ImportError
except ImportError:
    pass
assert not looks, "the collector ran"
assert gc.get_freeze_count() >= 100_000
again = [[] for _ in range(100_000)]
assert looks, "the collector does not run afterwards"
"""


@pytest.mark.parametrize("fails", [False, True], ids=["imported", "failed"])
def test_the_collector_neither_runs_during_imports_nor_looks_at_them_later(fails: bool) -> None:
    subprocess.run([sys.executable, "-c", f"FAILS = {fails}\n{PROGRAM}"], check=True)


@pytest.mark.parametrize("module", ["gearman_manager.command.command_line", "gearman_manager.supervisor.build"])
def test_a_manager_starts_without_the_library_for_tables(module: str) -> None:
    program = f"import {module}, sys; sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
