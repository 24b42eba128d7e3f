"""An event that a state does not allow: its sender is told, and inside the manager it is only logged."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from .conftest import RunningManager, eventually

#: Faults that can't be caused from outside: the manager's own code is made to send an event that its table refuses.
FAULTS = {
    "the main loop": """
        from gearman_manager.pools import workforce
        real = workforce.Workforce.reconcile
        def reconcile(self, now):
            if self.live and not hasattr(workforce, "done"):
                workforce.done = True
                self.pools["nap"]._happen(CALMED)
            return real(self, now)
        workforce.Workforce.reconcile = reconcile
        """,
    "a callback": """
        from gearman_manager.pools import workforce
        real = workforce.Workforce.doorbell
        def doorbell(self):
            real(self)
            self.pools["nap"]._happen(CALMED)
        workforce.Workforce.doorbell = doorbell
        """,
    "a greenlet": """
        import gevent
        from gearman_manager.pools import workforce
        real = workforce.Workforce.doorbell
        def doorbell(self):
            real(self)
            gevent.spawn(self.pools["nap"]._happen, CALMED)
        workforce.Workforce.doorbell = doorbell
        """,
}


@pytest.mark.parametrize("where", FAULTS)
def test_an_event_that_no_table_allows_is_logged_and_the_manager_goes_on(napping: RunningManager, where: str) -> None:
    manager = napping
    script = manager.folder / "faulty.py"
    body = "\n".join(line.removeprefix(" " * 8) for line in FAULTS[where].splitlines())
    script.write_text(
        "from gearman_manager.command.command_line import main\n"
        "from gearman_manager.pools.pool_state import PoolEvent\n"
        f"CALMED = PoolEvent.CALMED\n{body}\nmain()\n"
    )
    manager.program = [sys.executable, script]
    manager.start("pools: {nap: {functions: [nap], min: 2, max: 2}}\nlog: {file: own.log}\n")
    log = manager.folder / "own.log"
    eventually(lambda: "a pool that is running can't be calm" in log.read_text(), "it is logged")
    assert "Traceback" in log.read_text()
    with manager.client(timeout_s=20) as client:
        victim = int(client.submit("nap", "0"))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: manager.settled() and victim not in [w["pid"] for w in manager.workers("nap")], "replaced")
        assert client.submit("nap", "0")
    assert manager.stop() == 0
    assert manager.log() == ""


def test_a_pool_that_is_stopping_can_not_be_paused_or_restarted(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    with manager.client() as client:
        client.submit_background("nap", "60")
    eventually(lambda: manager.workers("nap")[0]["jobs"], "the job runs")
    assert manager.process is not None
    manager.process.send_signal(signal.SIGTERM)
    eventually(lambda: manager.status()["pools"]["nap"]["state"] == "stopping", "it stops")
    for command, what in (("pause", "paused"), ("resume", "resumed"), ("restart", "restarted")):
        refused = manager.command(command, "nap", check=False)
        assert refused.returncode == 1
        assert f"a pool that is stopping can't be {what}" in refused.stderr
    assert manager.stop() == 0


def test_status_shows_the_state_of_each_pool(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")

    def pool() -> tuple[str, bool, bool]:
        entry = manager.status()["pools"]["nap"]
        return entry["state"], entry["paused"], entry["failing"]

    assert pool() == ("running", False, False)
    assert json.loads(manager.command("status", "--json").stdout)["pools"].keys() == {"nap"}
    manager.command("pause", "nap")
    manager.command("pause", "nap")
    assert pool() == ("paused", True, False)
    assert "paused" in manager.command("status").stdout
    manager.command("resume", "nap")
    assert pool() == ("running", False, False)
