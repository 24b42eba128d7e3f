"""The units in `init/`, checked by systemd's own tools and run by a real systemd."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from .conftest import eventually
from .private_machine import CHECKOUT, SYSTEMD, PrivateMachine, private_machine

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make a machine of its own"),
    pytest.mark.skipif(not Path(SYSTEMD).exists() or not which("logrotate"), reason="systemd and logrotate are needed"),
]

CONFIG = "run_dir: /run/gearman-manager\nservers: [127.0.0.1:4730]\nworkers_dir: workers\n"
STRICT = ("gearman-manager-strict.conf", "systemd/system/gearman-manager.service.d/strict.conf")
WHOAMI = """
import os, pathlib


def whoami(job):
    status = pathlib.Path("/proc/self/status").read_text()
    (may_become_root,) = [line.split()[1] == "0" for line in status.splitlines() if line.startswith("NoNewPrivs")]
    return {"uid": os.getuid(), "may_become_root": may_become_root}
"""
CALL = """
import sys
from gearman_client import Client

with Client(["127.0.0.1:4730"], timeout_s=30) as client:
    if sys.argv[1] == "background":
        client.submit_background("whoami", b"")
    else:
        print(client.submit("whoami", b"").decode())
"""


@pytest.fixture
def machine() -> Iterator[PrivateMachine]:
    """A machine on which the product is installed as the documentation says; no service of ours runs yet."""
    with tempfile.TemporaryDirectory() as name:
        stash = Path(name)
        stash.chmod(0o755)
        with private_machine(stash) as booted:
            (booted.etc / "gearman-manager/config.yaml").write_text(CONFIG)
            (booted.etc / "gearman-manager/workers/whoami.py").write_text(WHOAMI)
            booted.systemctl("enable", "--now", "gearman-server.socket")
            yield booted


def call(machine: PrivateMachine, how: str = "foreground") -> str:
    """Submit a job from within the machine; returns its result."""
    python = ["env", "LD_LIBRARY_PATH=/opt/python/lib", "PYTHONPATH=/opt/checkout/client", "/opt/python/bin/python3"]
    return machine.run(*python, "-c", CALL, how).stdout


def test_systemd_holds_the_port_and_a_job_that_comes_first_waits_on_disk(machine: PrivateMachine) -> None:
    assert machine.show("gearman-server.service", "ActiveState") == "inactive"
    call(machine, "background")
    assert machine.show("gearman-server.service", "ActiveState") == "active"
    assert machine.show("gearman-server.service", "User") == "gearman"
    machine.systemctl("restart", "gearman-server.service")
    waiting = machine.run(
        "python3",
        "-c",
        "import socket as s; c = s.create_connection(('127.0.0.1', 4730)); "
        "c.sendall(b'status\\n'); print(c.recv(99).decode())",
    ).stdout
    assert waiting.startswith("whoami\t1\t0\t0")


def test_the_manager_is_up_once_its_workers_are_and_its_reloads_and_restarts_leave_the_server_alone(
    machine: PrivateMachine,
) -> None:
    # A manager whose only job server does not answer for two seconds, as one that starts may, is up without workers.
    machine.systemctl("start", "gearman-server.service")
    machine.systemctl("start", "gearman-manager")
    assert machine.show("gearman-manager", "StatusText").startswith("1 worker in 1 pool")
    uid = machine.run("id", "-u", "gearman").stdout.strip()
    assert call(machine) == f'{{"uid": {uid}, "may_become_root": true}}\n'
    server = machine.show("gearman-server", "MainPID")

    machine.systemctl("reload", "gearman-manager")
    eventually(lambda: "generation 2" in machine.log("manager"), "it has reloaded")
    eventually(lambda: machine.show("gearman-manager", "ActiveState") == "active", "and said so")

    before = machine.show("gearman-manager", "MainPID")
    machine.systemctl("restart", "gearman-manager")
    assert machine.log("manager").count("manager: stopped") == 1
    machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", "gearman-manager")
    eventually(lambda: machine.show("gearman-manager", "NRestarts") == "1", "it is started again")
    eventually(lambda: machine.show("gearman-manager", "ActiveState") == "active", "and is up")
    assert machine.show("gearman-manager", "MainPID") != before
    assert machine.show("gearman-server", "MainPID") == server


def test_after_logrotate_lines_go_to_the_new_file(machine: PrivateMachine) -> None:
    log = "/var/log/gearman-manager/manager.log"
    config = machine.etc / "gearman-manager/config.yaml"

    def read(file: str) -> str:
        return machine.run("cat", file, check=False).stdout

    machine.systemctl("start", "gearman-manager")
    config.write_text(f"{CONFIG}log: {{file: {log}}}\n")
    machine.systemctl("reload", "gearman-manager")
    eventually(lambda: "1 function in 1 pool" in read(log), "it logs into the file")
    machine.install("gearman-manager.logrotate", "logrotate.d/gearman-manager")
    rotated = machine.run("logrotate", "--force", "/etc/logrotate.d/gearman-manager", check=False)
    assert (rotated.returncode, rotated.stderr) == (0, "")
    eventually(lambda: "reopened the log" in read(log), "the new file has lines")
    machine.systemctl("stop", "gearman-manager")
    assert read(log).endswith("manager: stopped\n")
    assert "reopened" not in read(f"{log}.1")
    assert machine.run("stat", "--format=%U %a", log).stdout == "gearman 640\n"


def test_a_manager_that_hangs_is_replaced_even_under_the_strict_options(machine: PrivateMachine) -> None:
    machine.install(*STRICT)
    watchdog = machine.etc / "systemd/system/gearman-manager.service.d/watchdog.conf"
    watchdog.write_text("[Service]\nWatchdogSec=1\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "gearman-manager")
    assert '"may_become_root": false' in call(machine)
    machine.run("kill", "-STOP", machine.show("gearman-manager", "MainPID"))
    eventually(lambda: machine.show("gearman-manager", "NRestarts") == "1", "systemd ends it and starts another")
    eventually(lambda: machine.show("gearman-manager", "ActiveState") == "active", "which is up")
    began = time.monotonic()
    machine.systemctl("stop", "gearman-manager")
    assert time.monotonic() - began < 10
    assert machine.show("gearman-manager", "Result") == "success"


def test_systemd_does_not_restart_a_manager_with_a_wrong_configuration(machine: PrivateMachine) -> None:
    (machine.etc / "gearman-manager/config.yaml").write_text(CONFIG + "nonsense: 1\n")
    machine.systemctl("start", "gearman-manager", check=False)
    assert machine.show("gearman-manager", "ActiveState") == "failed"
    assert machine.show("gearman-manager", "ExecMainStatus") == "78"
    assert machine.show("gearman-manager", "NRestarts") == "0"
    assert "config.yaml:4: nonsense: unknown key" in machine.log("manager")


def test_the_units_pass_systemds_own_checks(machine: PrivateMachine) -> None:
    """In the machine the programs are at the paths that the units name."""
    machine.install(*STRICT)
    units = [f"/etc/systemd/system/{path.name}" for path in (CHECKOUT / "init").iterdir() if ".s" in path.suffix]
    units = [unit for unit in units if unit.endswith((".service", ".socket"))]
    assert len(units) == 3
    verified = machine.run("systemd-analyze", "verify", *units, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    # 0 is the best, 10 the worst.
    hardened = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    for unit in ("gearman-server.service", "gearman-manager.service"):
        checked = machine.run(*hardened, unit, check=False)
        assert checked.returncode == 0, checked.stdout
