"""`gearman-manager drain`: nothing new from its answer on, running jobs finished, the rest back in its queue."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gearman_client import Client, connect_admin
from gearman_manager.command.control_client import request

from ..server.server_process import ServerProcess
from .conftest import BIN, RunningManager, eventually
from .test_service_manager import ServiceManager

#: Each job writes down when it begins, by the clock that all processes share.
NOTE = """
import os, time

def note(name):
    with open(FILE, "ab", buffering=0) as file:
        file.write(b"%s %d\\n" % (name, time.monotonic_ns()))
"""
SHORT = "{note}\ndef {name}(job):\n    note(b'{name}')\n    time.sleep(0.004)\n"
LONG = "import time\ndef long(job):\n    time.sleep(60)\n"
PHP = """<?php
function php($job) {
    file_put_contents(FILE, 'php ' . hrtime(true) . "\\n", FILE_APPEND);
    usleep(4000);
    return '';
}
"""
#: A program that nobody has taught to stop.
DEAF = """
import signal
{note}
from gearman_client import Worker
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = Worker(os.environ["GEARMAN_SERVERS"].split(","))
worker.register("deaf", lambda job: (note(b"deaf"), time.sleep(0.004))[0])
worker.work()
"""
#: What a machine that is busy with other tests may add to the end.
SLACK_S = 2.0
#: One that ends at once by the signal, whatever it does.
PLAIN = """
{note}
from gearman_client import Worker
worker = Worker(os.environ["GEARMAN_SERVERS"].split(","))
worker.register("plain", lambda job: (time.sleep(1), note(b"plain"))[1])
worker.work()
"""
FAST = ("one", "many", "deaf", *(("php",) if shutil.which("php") else ()))


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A job server that does not belong to the manager."""
    running = ServerProcess()
    yield running
    running.stop()


def test_under_load_no_job_begins_after_the_answer_and_what_is_unfinished_is_back_in_its_queue(
    manager: RunningManager, server: ServerProcess
) -> None:
    begun = manager.folder / "begun"
    note = NOTE.replace("FILE", repr(str(begun)))
    for name in ("one", "many"):
        manager.write_module(f"{name}.py", SHORT.format(note=note, name=name))
    manager.write_module("long.py", LONG)
    if "php" in FAST:
        manager.write_module("php.php", PHP.replace("FILE,", f"{str(begun)!r},"))
    program, plain = manager.folder / "deaf.py", manager.folder / "plain.py"
    program.write_text(DEAF.format(note=note))
    plain.write_text(PLAIN.format(note=note))
    manager.config_file.write_text(
        f"run_dir: run\nservers: 127.0.0.1:{server.port}\npools:\n"
        "  one: {min: 3, max: 3}\n  many: {min: 2, max: 2, concurrency: 8}\n  long: {min: 2, max: 2}\n"
        f"  deaf: {{command: '{sys.executable} {program}', functions: [deaf], min: 1, max: 1}}\n"
        f"  plain: {{command: '{sys.executable} {plain}', functions: [plain], min: 1, max: 1}}\n"
    )
    manager.launch()
    eventually(manager.settled, "all workers registered")
    with Client([f"127.0.0.1:{server.port}"]) as client, connect_admin(f"127.0.0.1:{server.port}") as admin:
        for name in ("long", *FAST):  # `jobs list` begins with the oldest
            client.submit_background_many(name, [b""] * (2 if name == "long" else 3000))
        eventually(lambda: {row.function: row for row in admin.status()}["long"].running == 2, "the long jobs run")
        eventually(lambda: {name.encode() for name in FAST} <= set(begun.read_bytes().split()), "all others do too")
        client.submit_background_many("plain", [b""] * 3)
        eventually(lambda: {row.function: row for row in admin.status()}["plain"].running == 1, "the plain one too")
        answer = request(manager.folder / "run" / "control.sock", "POST", "/drain", {"within": "3s"})
        answered_ns = time.monotonic_ns()
        assert (answer["may_begin"], answer["running"]) == ([], 2)
        assert manager.process is not None
        assert manager.process.wait(30) == 0
        lines = begun.read_text().splitlines()
        late = [line for line in lines if int(line.split()[1]) > answered_ns and not line.startswith("plain")]
        # A program's last job was assigned before; the programs' own look at the clock comes a little later.
        assert [line for line in late if line.split()[0] in ("one", "many")] == []
        assert len(late) <= 2
        counts = {row.function: row for row in admin.status()}
        assert (counts["long"].total, counts["long"].running) == (2, 0)
        assert b"\nlosses\t0\n" in admin.command(f"jobs show {_waiting(admin.command('jobs list function=long'))}")
        # The plain program writes at the end of a job. It finished the one that it had, and began no other; on a slow
        # machine its first one had ended before the answer.
        ended = [int(line.split()[1]) for line in lines if line.startswith("plain")]
        finished = len(ended)
        assert finished >= 1
        assert sum(at > answered_ns for at in ended) <= 1
        assert finished + counts["plain"].total == 3
        assert sum(counts[name].total for name in FAST) == 3000 * len(FAST) - (len(lines) - finished)
    assert "2 unfinished jobs are back in their queues" in manager.log()
    assert _logged_at(manager, "stopped") - _logged_at(manager, "draining") < timedelta(seconds=3 + SLACK_S)


def _logged_at(manager: RunningManager, event: str) -> datetime:
    line = next(line for line in manager.log().splitlines() if f" manager: {event}" in line)
    return datetime.fromisoformat(line[:23])


def _waiting(listed: bytes) -> str:
    handle, _function, state = listed.split(b"\t")[:3]
    assert state == b"waiting"
    return handle.decode()


def test_the_command_shows_what_is_left_and_its_end_can_be_moved(manager: RunningManager) -> None:
    gate = manager.folder / "gate"
    manager.write_module(
        "gate.py",
        "import os, time\ndef gate(job):\n    while not os.path.exists(job.workload):\n        time.sleep(0.005)\n",
    )
    manager.start("pools: {gate: {min: 1, max: 1}}")
    with manager.client() as client:
        client.submit_background("gate", str(gate).encode())
        client.submit_background("nobody", b"")
        eventually(lambda: manager.workers("gate")[0]["jobs"], "the job runs")
    command: list[str | Path] = [BIN / "gearman-manager", "-c", manager.config_file, "drain", "--within", "60s"]
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline().startswith("no job is begun any more; 1 job still runs, until ")
    report = manager.status()
    assert (report["drain"]["running"], report["drain"]["may_begin"]) == (1, [])
    assert 50 < report["drain"]["until"] - time.time() < 60
    health = request(manager.folder / "run" / "control.sock", "GET", "/health")["health"]
    assert health.startswith("draining: 1 job left, for ")

    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert "1 job waiting in the bundled job server" in said
    assert "will be LOST" in said
    assert "the drain goes on" in said

    moved = request(manager.folder / "run" / "control.sock", "POST", "/drain", {"within": "1h"})
    assert 3500 < moved["until"] - time.time() < 3600
    refused = manager.command("pause", "gate", check=False)
    assert (refused.returncode, "stopping" in refused.stderr) == (1, True)
    waiting = subprocess.Popen(command[:-2], stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "no job is begun any more; 1 job still runs\n"
    gate.touch()
    assert waiting.communicate(timeout=20)[0].splitlines()[-1] == "drained"
    assert waiting.returncode == 0
    assert manager.process is not None
    assert manager.process.wait(20) == 0


def test_sigpwr_drains_where_the_configuration_says_so_and_a_stop_shortens_it(
    napping: RunningManager, tmp_path: Path
) -> None:
    told = ServiceManager(str(tmp_path / "notify"))
    napping.environment = {"NOTIFY_SOCKET": told.environment["NOTIFY_SOCKET"]}
    napping.start("drain: {on_sigpwr: true, within: 30s}\npools: {nap: {min: 1, max: 1, stop_timeout: 500ms}}")
    assert "READY" in told.hear()
    with napping.client() as client:
        client.submit_background("nap", b"60")
        eventually(lambda: napping.workers("nap")[0]["jobs"], "the job runs")
    assert napping.process is not None
    napping.process.send_signal(signal.SIGPWR)
    stopping = told.hear_but("STATUS")
    assert (stopping["STOPPING"], int(stopping["EXTEND_TIMEOUT_USEC"]) >= 30_000_000) == ("1", True)
    assert 20 < eventually(lambda: napping.status()["drain"], "it drains")["until"] - time.time() < 30
    started = time.monotonic()
    assert napping.stop() == 0
    assert 0.4 < time.monotonic() - started < 10
    told.socket.close()


def test_without_that_key_sigpwr_ends_the_manager_as_any_program(napping: RunningManager) -> None:
    napping.start("pools: {nap: {min: 1, max: 1}}")
    assert napping.stop(signal.SIGPWR) == -signal.SIGPWR


@pytest.mark.parametrize("is_in_time", [True, False])
def test_the_bundled_server_finishes_the_jobs_of_others_within_the_time(
    napping: RunningManager, is_in_time: bool
) -> None:
    napping.start("pools: {nap: {min: 1, max: 1}}")
    gate = napping.folder / "gate"
    host, _, port = napping.address.partition(":")
    gearman = (BIN / "gearman", "-h", host, "-p", port, "-f", "elsewhere")
    until_open = f"until [ -e {gate} ]; do sleep 0.02; done; printf done"
    worker = subprocess.Popen([*gearman, "-w", "--", "sh", "-c", until_open], stderr=subprocess.DEVNULL)
    client = subprocess.Popen([*gearman, "x"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    control = napping.folder / "run" / "control.sock"
    try:
        with connect_admin(napping.address) as admin:
            eventually(lambda: any(row.running for row in admin.status()), "the job runs elsewhere")
        started = time.monotonic()
        answer = request(control, "POST", "/drain", {"within": "60s" if is_in_time else "1500ms"})
        assert answer["may_begin"] == []
        eventually(lambda: "the job server finishes the jobs of others" in napping.log(), "its own workers are gone")
        if is_in_time:
            left = napping.status()["drain"]
            assert (left["running"], left["server"]["finishing"]) == (0, True)
            gate.touch()
        assert napping.process is not None
        assert napping.process.wait(30) == 0
        assert time.monotonic() - started < 10
        assert (client.communicate(timeout=20)[0] == b"done") == is_in_time
    finally:
        gate.touch()
        for process in (client, worker):
            process.kill()
            process.communicate()
    assert "can't be reached" not in napping.log()
