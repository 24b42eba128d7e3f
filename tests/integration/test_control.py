"""The commands that look into a running manager or change it, as a user types them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from .. import warm
from ..terminal import CTRL_C
from ..terminal import running as on_terminal
from .conftest import BIN, GATE, RunningManager, eventually

POOLS = "pools: {nap: {functions: [nap], min: 2, max: 2}}\n"


def size(manager: RunningManager) -> int:
    return len(manager.workers("nap"))


def test_scale_changes_a_pools_size_until_the_next_reload(napping: RunningManager) -> None:
    manager = napping.start(POOLS)
    before = {worker["pid"] for worker in manager.workers("nap")}
    assert "nap: 4..4 workers" in manager.command("scale", "nap", "4").stdout
    eventually(lambda: manager.settled() and size(manager) == 4, "four workers")
    assert before < {worker["pid"] for worker in manager.workers("nap")}
    assert ", 4 had: scaled to 4 by hand since " in manager.status()["pools"]["nap"]["why"]
    assert "0 wanted → 4 (min by hand)" in manager.command("explain", "nap").stdout
    told = json.loads(manager.command("explain", "nap", "--json").stdout)
    assert (told["now"]["size"], told["decisions"][0]["size"]) == (4, 2)
    manager.command("scale", "nap", "1..3")
    pool = manager.status()["pools"]["nap"]
    assert (pool["min"], pool["max"]) == (1, 3)
    manager.command("reload")
    eventually(lambda: manager.settled() and manager.status()["pools"]["nap"]["min"] == 2, "as configured again")


def test_restart_replaces_the_workers_without_a_gap(napping: RunningManager) -> None:
    manager = napping.start(POOLS)
    before = {worker["pid"] for worker in manager.workers("nap")}
    manager.command("restart", "nap")
    eventually(
        lambda: manager.settled() and not before & {worker["pid"] for worker in manager.workers("nap")}, "all are new"
    )
    assert manager.status()["pools"]["nap"]["last_error"] == ""


def test_a_paused_pool_finishes_its_jobs_and_serves_the_waiting_ones_after_resume(napping: RunningManager) -> None:
    manager = napping.start(POOLS)
    with manager.client() as client:
        client.submit_background("nap", "1")
        eventually(lambda: any(worker["jobs"] for worker in manager.workers("nap")), "the job runs")
        manager.command("pause", "nap")
        eventually(lambda: size(manager) == 0, "the workers are gone")
        assert manager.status()["pools"]["nap"]["paused"]
        eventually(lambda: "after 1 jobs" in manager.log(), "the worker that had the job says so")
        waiting = client.submit_background("nap", "0")
        assert client.status(waiting).known
        manager.command("resume", "nap")
        eventually(lambda: not client.status(waiting).known, "the waiting job is done")
    assert not manager.status()["pools"]["nap"]["paused"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scale", "nope", "3"), "there is no pool nope; the pools are: nap"),
        (("scale", "nap", "3..1"), "3..1 is no size"),
        (("pause", "nope"), "there is no pool nope"),
        (("explain", "nope"), "there is no pool nope; the pools are: nap"),
        (("restart", "nope"), "there is no pool nope"),
        (("logs", "nope"), "nope has logged nothing; the pools are: nap"),
        (("logs", "nope/1", "-f"), "nope/1 has logged nothing; the pools are: nap"),
    ],
)
def test_a_wrong_name_or_size_is_refused_with_the_valid_ones(
    napping: RunningManager, arguments: tuple[str, ...], message: str
) -> None:
    manager = napping.start(POOLS)
    result = manager.command(*arguments, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert manager.command("scale", "nap", "many", check=False).returncode == 2


def test_logs_shows_the_output_of_one_pool_and_follows_it(manager: RunningManager) -> None:
    for name in ("one", "two"):
        manager.write_module(f"{name}.py", f"def {name}(job): print('said by {name}', job.workload.decode())\n")
    manager.start("")
    with manager.client() as client:
        for name in ("one", "two"):
            client.submit(name, b"first")
        eventually(lambda: "said by two first" in manager.command("logs").stdout, "both lines are there")
        only_one = manager.command("logs", "one").stdout
        assert "said by one first" in only_one
        assert "said by two" not in only_one
        follower = subprocess.Popen(
            [BIN / "gearman-manager", "-c", manager.config_file, "logs", "-f", "one/1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert follower.stdout is not None
            client.submit("one", b"second")
            for line in follower.stdout:
                assert "said by two" not in line
                if "said by one second" in line:
                    break
        finally:
            follower.kill()
            follower.communicate()


def test_status_for_people_names_pools_workers_and_problems(napping: RunningManager) -> None:
    manager = napping.start(POOLS)
    napping.write_module("broken.py", "1/0\n")
    eventually(lambda: manager.status()["errors"], "the error is noticed")
    shown = manager.command("status").stdout
    for part in ("nap/1", "idle", "up", "broken.py:1", "ZeroDivisionError"):
        assert part in shown


def test_run_calls_a_function_in_the_terminal_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "greet.py").write_text(
        "class greet:\n"
        "    def setup(self, settings): self.text = settings['text']\n"
        "    def run(self, job):\n"
        "        job.status(1, 2)\n"
        "        if not job.workload: raise ValueError('nobody there')\n"
        "        return self.text + job.workload.decode()\n"
    )
    (tmp_path / "config.yaml").write_text("server: {}\nfunctions: {greet: {settings: {text: 'Hello '}}}\n")

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [BIN / "gearman-manager", "run", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    assert (run("greet", "you").stdout, run("greet", stdin="all").stdout) == ("Hello you", "Hello all")
    assert "status 1/2" in run("greet", "you").stderr
    failed = run("greet", "")
    assert failed.returncode == 1
    assert "ValueError: nobody there" in failed.stderr
    unknown = run("nope", "")
    assert unknown.returncode == 1
    assert "there is no function nope; there are: greet" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_run_gives_a_function_of_lists_a_job_for_each_workload(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "several.py").write_text(
        "from gearman_manager import function\n"
        "@function(batch=3)\n"
        "def several(jobs):\n"
        "    return [ValueError('no') if job.workload == b'bad' else job.workload.upper() for job in jobs]\n"
        "@function\n"
        "def one(job): return job.workload\n"
    )
    (tmp_path / "config.yaml").write_text("server: {}\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run("gearman_manager", ["run", *arguments], 60, tmp_path)

    assert run("several", "a", "b").stdout == "A\nB\n"
    failed = run("several", "a", "bad", "c")
    assert (failed.returncode, failed.stdout) == (1, "A\nC\n")
    assert "ValueError: no" in failed.stderr
    assert "several takes at most 3 jobs at a time, and here are 4" in run("several", *"abcd").stderr
    assert "one takes one job at a time, and here are 2 workloads" in run("one", "a", "b").stderr


def test_schema_is_a_json_schema_that_knows_the_keys(tmp_path: Path) -> None:
    result = warm.run("gearman_manager", ["schema"], 60, tmp_path)
    schema = json.loads(result.stdout)
    assert {"pools", "functions", "server", "workers_dir"} <= schema["properties"].keys()


def test_status_is_watched_in_a_terminal_until_ctrl_c(manager: RunningManager) -> None:
    manager.write_module("gate.py", GATE)
    manager.start("pools: {gate: {functions: [gate], min: 1, max: 1}}\n")
    command: list[str | Path] = [BIN / "gearman-manager", "-c", manager.config_file, "status", "--watch"]
    with on_terminal(command, columns=100, lines=40) as terminal:
        terminal.until(lambda: re.search(r"gate/1 +\d+ +idle", terminal.text))
        file = manager.folder / "open"
        with manager.client() as client:
            handle = client.submit_background("gate", str(file))
            terminal.until(lambda: re.search(rf"gate/1 +\d+ +busy +.*{handle}", terminal.text))
            file.touch()
            terminal.until(lambda: re.search(r"gate/1 +\d+ +idle", terminal.text))
        terminal.press(CTRL_C)
        assert terminal.wait() == 0
        assert terminal.is_restored
