"""The series of a running manager: functions without a port for metrics, and over a restart."""

from __future__ import annotations

from typing import Any

from gearman_manager.command.control_client import request

from .conftest import RunningManager, eventually


def series(manager: RunningManager, of: str = "") -> dict[str, Any]:
    report: dict[str, Any] = request(manager.folder / "run" / "control.sock", "GET", f"{of}/series?range=15m")
    return report


def total(manager: RunningManager, name: str, of: str = "") -> float:
    return sum(value or 0 for value in series(manager, of)["figures"][name])


def test_functions_have_figures_without_a_port_for_metrics_also_after_a_restart(napping: RunningManager) -> None:
    (napping.folder / "full").write_text("0123456789abcdef")
    napping.start(
        "pools: {nap: {functions: [nap], min: 1, max: 1}}\ncontrol: {listen: 127.0.0.1:0, token_file: full}\n"
    )
    with napping.client() as client:
        for _ in range(3):
            client.submit("nap", b"0")
    eventually(lambda: total(napping, "done", "/pools/nap") > 0, "the pool's look", within_s=30)
    assert total(napping, "completed", "/functions/nap") > 0
    assert total(napping, "completed") > 0
    assert total(napping, "ran_p99_s", "/functions/nap") > 0
    socket = napping.folder / "run" / "control.sock"
    [listed] = request(socket, "GET", "/functions")
    assert (listed["function"], listed["pool"], listed["queued"]) == ("nap", "nap", 0)
    assert 0 < listed["ran_p50_s"] <= listed["ran_p99_s"]
    assert napping.stop() == 0
    napping.launch()
    eventually(napping.settled, "all workers registered")
    assert total(napping, "completed", "/functions/nap") > 0
    assert [mark["kind"] for mark in series(napping)["marks"]] == ["start", "stop", "start"]
