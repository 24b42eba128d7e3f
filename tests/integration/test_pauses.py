"""Functions that are paused by hand, or held by their brake: `gearman-manager pause function`, and the scaler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gearman_client import connect_admin

from .conftest import RunningManager, eventually

MAIL = """
import os


def mail(job):
    if not os.path.exists(job.workload):
        raise ConnectionError("the mail server is down")
    return "sent"
"""
#: Of 40 jobs that can start, a pool would have four workers.
CONFIG = """
defaults: {min: 1, max: 5, scale: {backlog_per_worker: 10}}
functions:
  mail: {retries: 99, backoff: 10ms, max_backoff: 10ms, brake: {failures: 2/1m, hold: 5m}}
"""


def test_no_pool_grows_for_a_function_that_its_brake_holds_or_that_is_paused_and_all_say_why(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("mail.py", MAIL)
    manager.start(CONFIG)

    def entry() -> dict[str, Any]:
        report: dict[str, Any] = manager.status()["functions"]["mail"]
        return report

    def why() -> str:
        return str(manager.status()["pools"]["mail"]["why"])

    def row() -> str:
        """That of the function in the table for people."""
        lines = manager.command("status").stdout.splitlines()
        return next(line for line in lines if line.startswith(" mail ") and line.rstrip().endswith("mail.py"))

    up = tmp_path / "up"
    with manager.client() as client, connect_admin(manager.address) as admin:
        for _ in range(3):
            client.submit_background("mail", str(up))
        eventually(lambda: entry()["held_since"] is not None, "the brake is on")
        for _ in range(37):
            client.submit_background("mail", str(up))
        eventually(lambda: entry()["queued"] == 40 and "mail is held by its brake until" in why(), "it is the reason")
        assert "  by its brake until " in row()

        assert manager.command("pause", "function", "mail", "new").stdout == "mail is paused\nnew is paused\n"
        eventually(lambda: "mail is paused since" in why(), "the pause is the reason")
        assert entry()["paused_since"] is not None
        assert "mail is paused since" in manager.command("explain", "mail").stdout
        assert "  paused since " in row()
        assert manager.status()["pools"]["mail"]["target"] == 1
        assert [(hold.function, hold.kind) for hold in admin.holds()] == [
            ("mail", "paused"),
            ("mail", "held"),
            ("new", "paused"),
        ]
        up.touch()
        assert manager.command("resume", "function", "mail", "new").stdout == "mail goes on\nnew goes on\n"
        eventually(lambda: entry()["queued"] == entry()["running"] == 0, "all jobs are done")
        assert admin.holds() == []
    assert (entry()["paused_since"], entry()["held_since"]) == (None, None)
    log = manager.log()
    for words in ("mail: held, no job is started for 300", "has paused mail", "has resumed mail"):
        assert words in log
    refused = manager.command("resume", "function", "nope", check=False)
    assert (refused.returncode, "no job server knows a function nope" in refused.stderr) == (1, True)
    assert manager.command("pause", "mail", "sms", check=False).returncode == 2
    for word in ("pause", "resume"):
        refused = manager.command(word, "function", check=False)
        assert (refused.returncode, f"as in: gearman-manager {word} function send_email" in refused.stderr) == (2, True)
