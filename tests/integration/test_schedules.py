"""Jobs at set times, from the configuration of a running manager."""

from __future__ import annotations

import json
import time
from typing import Any

from .conftest import RunningManager, eventually


def listed(manager: RunningManager) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(manager.command("schedules", "--json").stdout)
    return rows


def test_a_schedule_runs_by_the_clock_and_on_request_and_is_listed(napping: RunningManager) -> None:
    napping.write_module("tick.py", "def tick(job):\n    job.log.info('ticked with %s', job.workload.decode())\n")
    napping.start(
        "defaults: {min: 1, max: 1}\n"
        "schedules:\n"
        "  often: {every: 1s, function: tick, workload: {n: 1}}\n"
        "  yearly: {cron: 0 0 1 1 *, time_zone: Europe/Berlin, function: tick, workload: by hand}\n"
    )
    eventually(lambda: napping.log().count('ticked with {"n":1}') >= 2, "it runs every second")
    often, yearly = listed(napping)
    assert (often["schedule"], often["timing"], often["missed"]) == ("often", "every 1 s", "run_once")
    assert yearly["next"] > time.time()
    assert yearly["last_run"] is None
    assert "cron 0 0 1 1 * Europe/Berlin" in napping.command("schedules").stdout

    handle = napping.command("schedules", "trigger", "yearly").stdout.strip()
    assert handle.startswith("H:")
    eventually(lambda: "ticked with by hand" in napping.log(), "it runs at once")
    assert listed(napping)[1]["last_run"] is not None

    napping.command("schedules", "pause", "often")
    assert (listed(napping)[0]["paused_at"] is None, listed(napping)[1]["paused_at"]) == (False, None)
    assert "paused" in napping.command("schedules").stdout
    ran = napping.log().count('ticked with {"n":1}') + 1  # one may be under way
    napping.command("schedules", "resume", "often")
    eventually(lambda: napping.log().count('ticked with {"n":1}') > ran, "it runs again")
    assert napping.command("schedules", "pause", "never", check=False).returncode == 1

    refused = napping.command("schedules", "trigger", "never", check=False)
    assert refused.returncode == 1
    assert "there is no schedule never" in refused.stderr


def test_a_reload_applies_changed_schedules(napping: RunningManager) -> None:
    napping.start("defaults: {min: 1, max: 1}\nschedules: {a: {every: 1h, function: nap}}\n")
    eventually(lambda: [row["schedule"] for row in listed(napping)] == ["a"], "the first one is known")
    napping.config_file.write_text(napping.config_file.read_text().replace("{a: {every: 1h", "{b: {every: 2h"))
    napping.command("reload")
    eventually(lambda: [row["schedule"] for row in listed(napping)] == ["b"], "the changed one is taken over")


def test_check_mentions_a_schedule_whose_function_no_worker_of_ours_serves(napping: RunningManager) -> None:
    napping.workers_dir.mkdir(exist_ok=True)
    text = "server: {listen: 127.0.0.1:0}\nschedules:\n  right: {every: 1h, function: nap}\n"
    text += "  slip: {every: 1h, function: nip}\n"
    napping.config_file.write_text(text)
    checked = napping.command("check")  # exit code 0: workers elsewhere may serve it
    place = f"{napping.config_file}:4: schedules.slip.function"
    assert checked.stderr == f"{place}: no pool here serves nip: unless workers elsewhere do, correct the name\n"
    napping.config_file.write_text(text + "pools: {others: {command: cat, min: 1, max: 1}}\n")
    assert napping.command("check").stderr == ""  # a program may register any name
