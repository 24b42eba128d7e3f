"""Command pools: any program that is a Gearman worker is started, watched, scaled and stopped like other workers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import RunningManager, alive, eventually

PYTHON_WORKER = """
import os, signal, sys
from gearman_client import Worker
print("started as", os.environ["GEARMAN_WORKER"], "for", os.environ["GEARMAN_FUNCTIONS"], flush=True)
worker = Worker(os.environ["GEARMAN_SERVERS"].split(","))
signal.signal(signal.SIGTERM, lambda *_: worker.stop())
def report(job):
    print("a report for", job.workload.decode(), file=sys.stderr, flush=True)
    return f"{os.getpid()} {os.environ.get('FLAVOUR', '-')} {os.getcwd()}"
worker.register("report", report)
worker.work()
worker.close()
"""

PHP_WORKER = """<?php
$worker = new GearmanWorker();
$worker->addServers(getenv("GEARMAN_SERVERS"));
$worker->addFunction("shout", fn($job) => strtoupper($job->workload()));
while ($worker->work());
"""

PERL_WORKER = """
use Gearman::Worker;
my $worker = Gearman::Worker->new(job_servers => [split /,/, $ENV{GEARMAN_SERVERS}]);
$worker->register_function(whisper => sub { lc $_[0]->arg });
$worker->work while 1;
"""


@pytest.fixture
def reports(manager: RunningManager) -> RunningManager:
    """Two Python programs as workers of `report`."""
    (manager.folder / "report.py").write_text(PYTHON_WORKER)
    return manager.start(
        f"""
        workers_dir: workers
        pools:
          reports:
            command: [{sys.executable}, report.py]
            functions: [report]
            cwd: .
            env: {{FLAVOUR: salty}}
            watch: report.py
            min: 2
            max: 2
        """
    )


def test_a_program_gets_the_servers_address_serves_and_logs_with_its_pool_and_pid(reports: RunningManager) -> None:
    with reports.client(timeout_s=20) as client:
        pid, flavour, folder = client.submit("report", "you").decode().split()
    assert (flavour, folder) == ("salty", str(reports.folder))
    assert int(pid) in [worker["pid"] for worker in reports.workers("reports")]
    eventually(lambda: f"pid {pid}: a report for you" in reports.log(), "its output is in the log")
    eventually(lambda: "started as reports/1 for report" in reports.log(), "and what the other one said")


def test_a_killed_program_is_replaced_and_a_changed_one_restarted(reports: RunningManager) -> None:
    before = {worker["pid"] for worker in reports.workers("reports")}
    import os
    import signal

    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: min(before) not in {w["pid"] for w in reports.workers("reports")}, "its death is noticed")
    eventually(reports.settled, "a replacement runs")
    assert "killed by SIGKILL" in reports.status()["pools"]["reports"]["last_error"]
    before = {worker["pid"] for worker in reports.workers("reports")}
    (reports.folder / "report.py").write_text(PYTHON_WORKER.replace("getpid()} ", "getpid()} new-"))
    eventually(
        lambda: reports.settled() and not before & {w["pid"] for w in reports.workers("reports")}, "both are restarted"
    )
    with reports.client(timeout_s=20) as client:
        assert b" new-salty " in client.submit("report", "you")


def test_stop_lets_a_program_finish_and_leaves_none_behind(reports: RunningManager) -> None:
    family = reports.family()
    assert reports.stop() == 0
    assert not any(alive(pid) for pid in family)


def test_programs_end_when_the_supervisor_is_killed(reports: RunningManager) -> None:
    family = reports.family()
    assert reports.process is not None
    reports.process.kill()
    reports.process.wait()
    eventually(lambda: not any(alive(pid) for pid in family), "no process is left")


def test_the_pool_of_a_missing_program_is_failing_with_the_reason(manager: RunningManager) -> None:
    manager.write_module("fine.py", "def fine(job): return b'ok'\n")
    manager.config_file.write_text(
        "run_dir: run\nserver: {listen: '127.0.0.1:0'}\npools: {gone: {command: /no/such/program --now, min: 1}}\n"
    )
    manager.launch()
    pool = eventually(
        lambda: (report := manager.try_status()) and report["pools"]["gone"]["last_error"] and report["pools"]["gone"],
        "the pool says what is wrong",
    )
    assert "/no/such/program can't be started: No such file or directory" in pool["last_error"]
    eventually(lambda: manager.status()["pools"]["gone"]["failing"], "it is marked as failing")
    (manager.address,) = manager.status()["servers"]
    with manager.client(timeout_s=20) as client:
        assert client.submit("fine", b"") == b"ok"


@pytest.mark.parametrize(
    ("language", "program", "check", "function", "answer"),
    [
        ("php", PHP_WORKER, ["-r", "exit(extension_loaded('gearman') ? 0 : 1);"], "shout", b"HELLO"),
        ("perl", PERL_WORKER, ["-MGearman::Worker", "-e1"], "whisper", b"hello"),
    ],
)
def test_php_and_perl_workers_serve(
    manager: RunningManager, language: str, program: str, check: list[str], function: str, answer: bytes
) -> None:
    interpreter = shutil.which(language)
    if interpreter is None or subprocess.run([interpreter, *check], check=False).returncode != 0:
        pytest.skip(f"missing peer: {language} with its Gearman library")
    file: Path = manager.folder / "worker"
    file.write_text(program)
    manager.start(f"pools: {{p: {{command: {interpreter} {file}, functions: [{function}], min: 1, max: 3}}}}\n")
    with manager.client(timeout_s=20) as client:
        assert client.submit(function, "Hello") == answer


def test_python_functions_serve_perl_clients_with_a_prefix(manager: RunningManager) -> None:
    """Perl joins its prefix to the name by a TAB, which then stands in the manager's tables, too."""
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MGearman::Client", "-e1"], check=False).returncode != 0:
        pytest.skip("missing peer: perl with its Gearman library")
    manager.write_module("mail.py", "def mail(job): return job.workload.upper()\n")
    manager.start('prefix: "shop\\t"\nfunctions: {"shop\\tmail": {retries: 2}}\n')
    port = manager.address.rpartition(":")[2]
    script = (
        f'use Gearman::Client; my $c = Gearman::Client->new(job_servers => ["127.0.0.1:{port}"], prefix => "shop"); '
        'print ${$c->do_task("mail", "hello")};'
    )
    done = subprocess.run([perl, "-e", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("HELLO", "")
    assert manager.status()["functions"]["shop\tmail"]["workers"] == 1
    shown = manager.command("status").stdout
    assert r"shop\tmail" in shown
    assert "shop\t" not in shown
