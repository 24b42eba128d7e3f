"""The soak test itself, with a fraction of its workers and jobs: it works, and counts the problems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_the_soak_of_the_workers_runs_clean_and_reports_its_work() -> None:
    result = subprocess.run(
        [sys.executable, SOAK, "workers", "--small"], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for line in ("jobs done", "jobs failed", "processes left behind", "warnings and errors in the log", "clean"):
        assert line in result.stdout


def test_a_problem_is_reported_and_fails_the_run() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SOAK.parent)!r})\n"
        "import soak, soak_summary\n"
        "def broken(small):\n"
        "    summary = soak_summary.Summary()\n"
        "    summary.expect('jobs failed', 3, 0)\n"
        "    return summary\n"
        "soak.SOAKS = {'broken': broken}\n"
        "sys.argv = ['soak']\n"
        "sys.exit(soak.main())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "ERROR jobs failed: 3 instead of 0" in result.stdout
