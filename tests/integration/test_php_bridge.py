"""GearmanManager's PHP functions in the workers folder: the bridge serves them with a real manager and a real PHP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gearman_client import Client, JobException, JobFailed, connect_admin

from .conftest import BIN, RunningManager, alive, eventually
from .observing import pids, replaced, titled
from .php_functions import NAP, SAMPLES, WHO

STUCK = """<?php
function stuck($job) {
    if ($job->workload() === 'yes') {
        pcntl_sigprocmask(SIG_BLOCK, [SIGALRM, SIGTERM]);
        while (true) {
            usleep(100000);
        }
    }
    return 'free';
}
"""

DEAF = """<?php
function deaf($job) {
    pcntl_signal(SIGTERM, SIG_IGN);
    pcntl_sigprocmask(SIG_BLOCK, [SIGTERM]);
    return getmypid();
}
"""

GROW = """<?php
function grow($job) {
    static $kept = [];
    $kept[] = str_repeat('x', (int) $job->workload() << 20);
    return getmypid();
}
"""

MISBEHAVIOUR = """<?php
function misbehave($job, &$log) {
    $log[] = 'before it happens';
    switch ($job->workload()) {
        case 'throw': throw new DomainException('no such customer');
        case 'error': return intdiv(1, 0);
        case 'exit': exit(0);
        case 'memory': ini_set('memory_limit', '32M'); return strlen(str_repeat('x', 1 << 26));
        case 'return code': return $job->setReturn(GEARMAN_WORK_FAIL) ? 'sorry' : '';
        case 'unserialisable': return [NAN];
    }
    return 'fine';
}
"""

WARNED = "<?php\nfunction warned($job) {\n    return $job->workload() . $gone;\n}\n"
BRIEF = NAP.replace("function nap", "function brief")
SHARED = {"misbehave": MISBEHAVIOUR, "warned": WARNED, "nap": NAP, "brief": BRIEF, "who": WHO}

pytestmark = pytest.mark.usefixtures("php")


@pytest.fixture
def samples(manager: RunningManager) -> RunningManager:
    """The three sample functions with a Python module beside them."""
    shutil.copytree(SAMPLES, manager.workers_dir)
    manager.write_module("greet.py", "def greet(job): return b'hello from Python'\n")
    return manager


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one worker for each of the functions that a test may use without an end of it."""
    manager = RunningManager(tmp_path_factory.mktemp("shared"))
    for name, source in SHARED.items():
        manager.write_module(f"{name}.php", source)
    try:
        yield manager.start("defaults: {min: 1, max: 1}\nfunctions: {nap: {timeout: 20s}, brief: {timeout: 300ms}}\n")
    finally:
        manager.destroy()


def exception_of(client: Client, function: str, workload: str | bytes) -> str:
    """Submit a job that fails; returns the exception that the client gets."""
    with pytest.raises(JobException) as failure:
        client.submit(function, workload)
    return str(failure.value)


def test_the_samples_are_served_beside_python_functions(samples: RunningManager) -> None:
    samples.start("prefix: shop.\nfunctions: {Invoice: {settings: {currency: CHF}}}\n")
    invoice = json.dumps([{"pieces": 2, "price": "1.50"}, {"pieces": 1, "price": "0.99"}])
    with samples.client(timeout_s=20) as client:
        assert client.submit("shop.greet", b"") == b"hello from Python"
        assert client.submit("shop.slug", b"Hello, World!") == b"hello-world"
        rows: list[bytes] = []
        assert client.submit("shop.csv_columns", b"b\na,b\n1,2\n3,4", on_data=rows.append) == b"2"
        assert rows == [b"2\n", b"4\n"]
        steps: list[tuple[int, int]] = []
        total = client.submit("shop.Invoice", invoice, on_status=lambda done, of: steps.append((done, of)))
        assert json.loads(total) == {"total": "3.99", "currency": "CHF"}
        assert steps == [(1, 2), (2, 2)]
        assert "nothing is left of the title '!!'" in exception_of(client, "shop.slug", b"!!")
        with pytest.raises(JobFailed):
            client.submit("shop.csv_columns", b"x\na,b\n1,2")
        with client.batch() as batch:
            batch.background("shop.slug", "A Title", then=["shop.slug", "shop.greet"])
            batch.background("shop.slug", "!!", then=["shop.slug"], on_failure="shop.greet")
        eventually(lambda: batch.status().state == "done", "chains of PHP and Python functions have come to their ends")
        assert (batch.status().jobs, batch.status().failed) == (5, 1)
    eventually(lambda: "the header has no such column: x" in samples.log(), "its log lines are in our log")
    eventually(lambda: "[lines] => 2" in samples.log(), "and what it prints, which comes through a pipe of its own")
    (line,) = [line for line in samples.log().splitlines() if "made hello-world" in line]
    assert "shop.slug H:" in line
    # A program does not report how many jobs it has run, so the status does not say 0.
    pools = samples.status()["pools"]
    counts = {name: {(worker["done"], worker["failed"]) for worker in pool["workers"]} for name, pool in pools.items()}
    assert (None, None) in set.union(*counts.values())
    assert (3, 0) in set.union(*counts.values())
    assert (0, 0) not in set.union(*counts.values()), counts
    assert " -  " in samples.command("status").stdout


def test_include_and_exclude_choose_among_php_functions_too(samples: RunningManager) -> None:
    samples.start("include_functions: ['*s*', Inv*]\nexclude_functions: [csv_*]\n")
    assert sorted(samples.status()["functions"]) == ["Invoice", "slug"]


def test_a_php_worker_has_a_client_id_like_ours(samples: RunningManager) -> None:
    samples.start("include_functions: [slug]\n")
    assert samples.pid_of("gearman-manager: worker slug/1 slug") in pids(samples, "slug")
    with connect_admin(samples.address) as admin:
        (client_id,) = [worker.client_id for worker in admin.workers() if worker.functions]
    assert client_id.startswith("gm:")
    assert client_id.endswith("/slug/1")


@pytest.mark.parametrize(
    ("workload", "reason"),
    [
        ("throw", "DomainException: no such customer"),
        ("error", "DivisionByZeroError: Division by zero"),
        ("exit", "the PHP code ended the worker process (exit or die)"),
        ("memory", "fatal error: Allowed memory size"),
        ("return code", "sorry"),
        ("unserialisable", "the result can't be sent: no text, and nothing that JSON can hold: Inf and NaN"),
    ],
)
def test_a_failure_reaches_client_and_log_and_the_pool_goes_on(
    shared: RunningManager, workload: str, reason: str
) -> None:
    places = len(placed(shared, "misbehave"))
    with shared.client(timeout_s=20) as client:
        assert reason in exception_of(client, "misbehave", workload)
        assert client.submit("misbehave", b"") == b"fine"
    if workload in ("throw", "error", "memory"):
        eventually(lambda: len(placed(shared, "misbehave")) > places, "the log names the place")


def placed(manager: RunningManager, module: str) -> list[str]:
    """The lines of the log that name a place in this module."""
    return [line for line in manager.log().splitlines() if f"{manager.workers_dir / module}.php:" in line]


def test_php_warnings_are_log_lines_with_file_and_line(shared: RunningManager) -> None:
    with shared.client(timeout_s=20) as client:
        assert client.submit("warned", b"x") == b"x"
    warning = f"{shared.workers_dir}/warned.php:3: Undefined variable $gone"
    eventually(lambda: warning in shared.log(), "the warning is in the log")


def test_a_timeout_ends_the_function_and_the_worker_goes_on(shared: RunningManager) -> None:
    with shared.client(timeout_s=20) as client:
        before = client.submit("brief", b"0.01")
        assert exception_of(client, "brief", b"30") == "JobTimeout: brief took longer than its timeout of 0.3 s"
        assert client.submit("brief", b"0.01") == before


def test_a_job_that_blocks_every_signal_is_ended_with_its_worker(manager: RunningManager) -> None:
    manager.write_module("stuck.php", STUCK)
    manager.start("defaults: {min: 1, max: 1}\nfunctions: {stuck: {timeout: 300ms}}\n")
    before = pids(manager, "stuck")
    with manager.client(timeout_s=20) as client:
        assert exception_of(client, "stuck", b"yes") == "timeout"
        replaced(manager, before, "stuck")
        assert client.submit("stuck", b"") == b"free"
    assert "did not react to its timeout: the worker is killed" in manager.log()


def test_a_stop_lets_the_running_job_finish_and_leaves_no_process(manager: RunningManager) -> None:
    manager.write_module("nap.php", NAP)
    manager.start("defaults: {min: 2, max: 2, timeout: 1m}\n")
    family = manager.family()
    with manager.client(timeout_s=20) as client:
        job = client.submit_background("nap", b"2")
        eventually(lambda: manager.status()["functions"]["nap"]["running"] == 1, "the job runs")
        assert manager.stop() == 0
    assert "may be lost" not in manager.log()
    assert job
    assert not any(alive(pid) for pid in family)


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]
)
def test_a_signal_to_all_processes_cuts_no_job_off(shared: RunningManager, number: signal.Signals) -> None:
    eventually(shared.settled, "the worker of the case before has been replaced")
    (worker,) = pids(shared, "nap")
    family = [worker, *titled(shared, "gearman-manager: watchdog")]
    with shared.client(timeout_s=20) as client, ThreadPoolExecutor() as waiting:
        result = waiting.submit(client.submit, "nap", "1")
        eventually(lambda: shared.status()["functions"]["nap"]["running"], "the job runs")
        for pid in family:
            with suppress(ProcessLookupError):  # the watchdog of a worker that is gone
                os.kill(pid, number)
        assert result.result(20) == str(worker).encode()
    ends = [line for line in shared.log().splitlines() if "killed by" in line]
    assert not [line for line in ends if "nap/" in line or "watchdog" in line]


def test_a_worker_leaves_although_a_job_has_taken_the_signal_over(manager: RunningManager) -> None:
    manager.write_module("deaf.php", DEAF)
    manager.start("pools: {deaf: {functions: [deaf], min: 1, max: 1, stop_timeout: 30s}}\n")
    with manager.client(timeout_s=20) as client:
        worker = int(client.submit("deaf", b""))
    manager.command("pause", "deaf")
    eventually(lambda: not alive(worker), "it leaves", within_s=10)


def test_max_jobs_is_exact_and_costs_no_job(manager: RunningManager) -> None:
    manager.write_module("who.php", WHO)
    manager.start("pools: {who: {min: 1, max: 1, max_jobs: 3}}\n")
    with manager.client(timeout_s=20) as client:
        answers = [client.submit("who", b"") for _ in range(7)]
    assert answers[0] == answers[1] == answers[2] != answers[3] == answers[4] == answers[5] != answers[6]


def test_a_worker_above_max_memory_is_replaced(manager: RunningManager) -> None:
    manager.write_module("grow.php", GROW)
    manager.start("pools: {grow: {min: 1, max: 1, max_memory: 64MB}}\n")
    with manager.client(timeout_s=20) as client:
        first = client.submit("grow", b"")
        assert client.submit("grow", b"100") == first
        assert client.submit("grow", b"") != first


def test_a_pool_of_php_and_python_is_refused_with_place_and_remedy(samples: RunningManager) -> None:
    samples.config_file.write_text(
        "run_dir: run\nserver: {listen: '127.0.0.1:0'}\npools:\n  mixed:\n    functions: ['*']\n"
    )
    result = samples.command("check", check=False)
    assert result.returncode == 78
    assert f"{samples.config_file}:5: pools.mixed.functions: a pool serves functions of one language: " in result.stderr
    assert "csv_columns, slug in PHP, greet in Python; name either in a pool of their own" in result.stderr


def test_without_php_the_pool_names_the_missing_program(
    manager: RunningManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager.write_module("who.php", WHO)
    manager.write_module("fine.py", "def fine(job): return b'ok'\n")
    manager.config_file.write_text("run_dir: run\nserver: {listen: '127.0.0.1:0'}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing-here"))
    manager.launch()
    pool = eventually(
        lambda: (report := manager.try_status()) and (pool := report["pools"].get("who", {})).get("failing") and pool,
        "the pool is failing",
    )
    assert "PHP functions need the program php, which is not on the PATH: install PHP" in pool["last_error"]
    (manager.address,) = manager.status()["servers"]
    with manager.client(timeout_s=20) as client:
        assert client.submit("fine", b"") == b"ok"
    assert manager.command("check", check=False).returncode == 78


def test_workers_keep_their_names_after_a_restart_of_the_job_server(manager: RunningManager) -> None:
    manager.write_module("who.php", WHO)
    manager.start("defaults: {min: 1, max: 1}\n")
    before = pids(manager, "who")
    os.kill(manager.pid_of("gearman-server"), signal.SIGKILL)
    eventually(lambda: "trying again" in manager.log(), "the worker notices")
    eventually(manager.settled, "the server is back")

    def named() -> bool:
        with connect_admin(manager.address) as admin:
            return any(w.functions and w.client_id.endswith("/who/1") for w in admin.workers())

    eventually(named, "the worker is back under its name")
    with manager.client(timeout_s=20) as client:
        assert {int(client.submit("who", b""))} == before


def test_a_foreign_server_is_served_and_gets_failures_that_its_clients_understand(
    manager: RunningManager, gearmand: str
) -> None:
    manager.write_module("misbehave.php", MISBEHAVIOUR)
    manager.config_file.write_text(f"run_dir: run\nservers: ['{gearmand}']\n")
    manager.launch()
    eventually(manager.settled, "the worker is registered")
    warnings: list[bytes] = []
    with Client([gearmand], timeout_s=20) as client:
        assert client.submit("misbehave", b"") == b"fine"
        with pytest.raises(JobFailed):
            client.submit("misbehave", b"throw", on_warning=warnings.append)
    assert warnings == [b"DomainException: no such customer"]


def test_options_in_letters_hold_over_a_reload_and_the_pid_file_exists_while_the_manager_runs(
    manager: RunningManager,
) -> None:
    shutil.copytree(SAMPLES, manager.folder / "php")
    manager.workers_dir.mkdir()
    manager.config_file.write_text("run_dir: run\nserver: {listen: '127.0.0.1:0'}\n")
    pid_file = manager.folder / "gm.pid"
    command: list[str | Path] = [BIN / "gearman-manager", "-c", manager.config_file, "-w", manager.folder / "php"]
    command += ["-P", pid_file, "-l", manager.log_file]
    manager.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    eventually(manager.settled, "all workers are registered")
    assert pid_file.read_text() == f"{manager.process.pid}\n"
    manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: "generation 2: 3 functions" in manager.log(), "it is reloaded, with the same folder")
    assert manager.stop() == 0
    assert not pid_file.exists()
