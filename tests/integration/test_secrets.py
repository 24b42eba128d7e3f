"""Secrets of the manager: neither its workers nor programs, nor anybody who reads its output, gets to know them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import RunningManager, eventually

URL_SECRET, TOKEN, BYSTANDER = "hunter2-of-the-store", "0123456789abcdef-of-the-control-port", "everybody-may-know"
SHOW = "import json, os\n\n\ndef show(job):\n    return json.dumps(dict(os.environ))\n"
CONCURRENT = SHOW.replace("def show", "def concurrent")
PROGRAM = """
import json, os, signal
from gearman_client import Worker
worker = Worker(os.environ["GEARMAN_SERVERS"].split(","))
signal.signal(signal.SIGTERM, lambda *_: worker.stop())
worker.register("program", lambda job: json.dumps(dict(os.environ)))
worker.work()
"""
CONFIG = f"""
run_dir: run
server: {{listen: 127.0.0.1:0, store: "${{APP_STORE}}"}}
control: {{listen: 127.0.0.1:0, token: "${{APP_TOKEN}}"}}
alerts:
  to: {{mail: ops@example.com, webhook: ["https://chat.example/${{APP_HOOK}}"]}}
  rules: {{dead: 1}}
  smtp: {{user: me, password: "${{APP_MAIL}}"}}
functions: {{show: {{settings: {{mode: "${{APP_MODE}}"}}}}}}
pools:
  show: {{functions: [show]}}
  concurrent: {{functions: [concurrent], concurrency: 2}}
  program:
    command: [{sys.executable}, program.py]
    functions: [program]
    cwd: .
    env: {{DATABASE_URL: "${{APP_STORE}}"}}
"""


@pytest.fixture
def keeper(manager: RunningManager, tmp_path: Path) -> RunningManager:
    """A manager with a secret in two variables that its configuration names, and in one that the server reads."""
    manager.write_module("show.py", SHOW)
    manager.write_module("concurrent.py", CONCURRENT)
    (tmp_path / "program.py").write_text(PROGRAM)
    manager.config_file.write_text(CONFIG)
    manager.environment = {
        "APP_STORE": f"sqlite:////{tmp_path}/{URL_SECRET}.db",
        "APP_TOKEN": TOKEN,
        "APP_HOOK": f"hook-{TOKEN}",
        "APP_MAIL": f"mail-{TOKEN}",
        "APP_MODE": BYSTANDER,
        "GEARMAN_STORE_URL": f"postgresql+psycopg://me:{URL_SECRET}@db.example/jobs",
        "GEARMAN_STORE_PASSWORD": URL_SECRET,
    }
    return manager


def test_no_worker_and_no_program_has_what_the_manager_alone_needs(keeper: RunningManager) -> None:
    keeper.launch()
    eventually(keeper.settled, "it serves")
    (keeper.address,) = keeper.status()["servers"]
    with keeper.client(timeout_s=20) as client:
        seen = {name: json.loads(client.submit(name, b"")) for name in ("show", "concurrent", "program")}
    assert seen["program"].pop("DATABASE_URL") == keeper.environment["APP_STORE"]  # the pool's `env` names it
    for environment in seen.values():
        assert environment["APP_MODE"] == BYSTANDER
        assert not any(URL_SECRET in value or TOKEN in value for value in environment.values())
    assert keeper.process is not None
    for process in psutil.Process(keeper.process.pid).children(recursive=True):
        first = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        told = [entry for entry in first if URL_SECRET.encode() in entry or TOKEN.encode() in entry]
        assert [entry for entry in told if not entry.startswith(b"DATABASE_URL=")] == [], process.cmdline()


def test_a_reload_still_knows_the_variables(keeper: RunningManager) -> None:
    keeper.launch()
    eventually(keeper.settled, "it serves")
    keeper.config_file.write_text(CONFIG.replace("settings: {mode", "settings: {other"))
    keeper.command("reload")
    eventually(lambda: "generation 2" in keeper.log(), "it is reloaded")
    assert "is not set" not in keeper.log()
    assert "`server` changed" not in keeper.log()


def test_nothing_that_the_manager_prints_shows_a_secret(
    keeper: RunningManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in keeper.environment.items():
        monkeypatch.setenv(name, value)
    literal = f'store: "postgresql+psycopg://me:{URL_SECRET}@127.0.0.1:1/jobs?password={URL_SECRET}"'
    keeper.launch()
    eventually(keeper.settled, "it serves")
    printed = [keeper.command(*words).stdout for words in (["status", "--json"], ["status"], ["logs"], ["functions"])]
    assert keeper.stop() == 0
    dumped = []
    for config in (CONFIG, CONFIG.replace('store: "${APP_STORE}"', literal).replace("${APP_TOKEN}", TOKEN)):
        config = config if config is CONFIG else config.replace("${APP_HOOK}", TOKEN).replace("${APP_MAIL}", TOKEN)
        keeper.config_file.write_text(config)
        dumped.append(keeper.command("-Z").stdout)
        printed.append(keeper.command("check").stdout)
    failed = keeper.command(check=False)  # there is no such database
    assert failed.returncode == 1
    assert "${APP_STORE}" in dumped[0]
    assert "${APP_TOKEN}" in dumped[0]
    assert "${APP_MAIL}" in dumped[0]
    assert "me:***@127.0.0.1" in dumped[1]
    assert "password: '***'" in dumped[1]
    for text in (*printed, *dumped, failed.stdout, failed.stderr, keeper.log()):
        assert URL_SECRET not in text.replace(f"{URL_SECRET}.db", "")
        assert TOKEN not in text
