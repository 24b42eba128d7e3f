"""Alerts of a real manager: a mail server, a web server and a program are told."""

from __future__ import annotations

import email
import email.policy
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import JobException

from ..mail_server import MailServer
from ..web_hook import WebHook, web_hook
from .conftest import RunningManager, eventually

POOLS = """\
run_dir: run
server: {{listen: 127.0.0.1:0}}
pools:
  good: {{functions: [boom], min: 1, max: 1}}
  broken: {{command: ["sh", "-c", "echo no such database; exit 3"], functions: [report], min: 1, max: 1}}
{alerts}
"""
ALERTS = """\
alerts:
  to: {{mail: ops@example.com, webhook: "{hook}", command: notify.sh}}
  rules: {{waiting: 1s, dead: 1, crash_loop: true}}
  smtp: {{server: "127.0.0.1:{smtp}"}}
"""


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with web_hook() as server:
        yield server


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


def program(folder: Path, text: str) -> None:
    file = folder / "notify.sh"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_one_message_tells_all_targets_of_all_that_is_wrong(
    manager: RunningManager, hook: WebHook, mail_server: MailServer
) -> None:
    manager.write_module("boom.py", "def boom(job):\n    raise ValueError('no more paper')\n")
    program(manager.folder, "cat >told.new; mv told.new told")
    manager.config_file.write_text(POOLS.format(alerts=""))
    manager.launch()
    eventually(lambda: (manager.try_status() or {}).get("pools", {}).get("broken", {}).get("failing"), "it fails")
    (manager.address,) = manager.status()["servers"]
    with manager.client(timeout_s=20) as client:
        client.submit_background("report", b"")
        client.submit_background("boom", b"")
        with pytest.raises(JobException):
            client.submit("boom", b"")  # after the first one, by the only worker
    alerts = ALERTS.format(hook=hook.url, smtp=mail_server.port)
    manager.config_file.write_text(POOLS.format(alerts=alerts))
    manager.command("reload")

    eventually(lambda: hook.received, "the web server is told")
    [message] = hook.received
    told: dict[str, Any] = {alert["rule"]: alert for alert in message["alerts"]}
    assert set(told) == {"waiting", "dead", "crash_loop"}
    assert (told["crash_loop"]["name"], told["waiting"]["name"], told["dead"]["name"]) == ("broken", "report", "boom")
    assert "no such database" in told["crash_loop"]["last_error"]
    assert "no more paper" in told["dead"]["last_error"]
    assert "s3cret" not in manager.log()

    seen = {rule: manager.command(*shlex.split(alert["look"])[1:]).stdout for rule, alert in told.items()}
    assert "report" in seen["waiting"]
    assert "no more paper" in seen["dead"]
    assert "no such database" in seen["crash_loop"]

    eventually(lambda: mail_server.mailbox.envelopes, "a mail comes")
    [envelope] = mail_server.mailbox.envelopes
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert mail["Subject"] == message["subject"]
    file = manager.folder / "told"
    eventually(file.exists, "the program runs")
    assert json.loads(file.read_text()) == message


def test_the_test_message_says_of_each_target_what_became_of_it(
    manager: RunningManager, hook: WebHook, mail_server: MailServer
) -> None:
    manager.workers_dir.mkdir()
    program(manager.folder, "echo the pager is off; exit 7")
    alerts = ALERTS.format(hook=hook.url, smtp=mail_server.port)
    manager.config_file.write_text(POOLS.format(alerts=alerts))
    done = manager.command("alerts", "test", check=False)
    assert done.stdout.splitlines() == [
        "mail to ops@example.com: sent",
        f"webhook at 127.0.0.1:{hook.port}: sent",
        "command notify.sh: failed: it ended with 7: the pager is off",
    ]
    assert done.returncode == 1
    assert "Nothing is wrong" in hook.received[0]["text"]
    program(manager.folder, "cat >/dev/null")
    assert manager.command("alerts", "test").returncode == 0

    manager.config_file.write_text(POOLS.format(alerts=""))
    nobody = manager.command("alerts", "test", check=False)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "alerts.to" in nobody.stderr


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        ("rules: {store: true}", "nobody is told"),
        ("to: {mail: ops@example.com}", "there is nothing to tell"),
        ("{rules: {store: true}, to: {mail: ops}}", "a mail address such as"),
        ("{rules: {store: true}, to: {webhook: 'https://u:s3cret@x.example/'}}", "without a user"),
        ("{rules: {failures: 20}, to: {mail: ops@example.com}}", "a rate"),
        ("{rules: {store: true}, to: {mail: ops@example.com}, smtp: {user: u}}", "user and password belong together"),
    ],
)
def test_mistakes_in_the_section_are_named(manager: RunningManager, alerts: str, message: str) -> None:
    manager.workers_dir.mkdir()
    section = alerts if alerts.startswith("{") else f"{{{alerts}}}"
    manager.config_file.write_text(POOLS.format(alerts=f"alerts: {section}"))
    checked = manager.command("check", check=False)
    said = checked.stdout + checked.stderr
    assert checked.returncode != 0
    assert message in said
    assert "alerts" in said
    assert "s3cret" not in said
