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


#: What the application for requests needs, and no worker, and what only a process that delivers an alert needs.
LATER = ["flask", "jinja2", "prometheus_client", "smtplib", "werkzeug", "gearman_manager.supervisor.routes"]


@pytest.mark.parametrize("module", ["gearman_manager.command.command_line", "gearman_manager.supervisor.build"])
def test_a_manager_starts_without_what_its_workers_do_not_need(module: str) -> None:
    program = f"import {module}, sys; print(*set({['rich', *LATER]}) & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
