"""A manager whose job server speaks TLS: jobs, queue sizes, restarts, certificates on both sides, missing trust."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gearman_client import Address, Client, Tls, connect_admin

from ..certificates import Certificates
from .conftest import GATE, NAP, RunningManager, eventually

DEADLINE_S = 30.0


class TlsServer:
    """A `gearman-server` with TLS on a port that it keeps over restarts."""

    def __init__(self, certificates: Certificates, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        key = certificates.key(certificates.server)
        self._options = ("--ssl", "--ssl-certificate", str(certificates.server), "--ssl-key", str(key), *options)
        self.address = f"localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-m", "gearman_server", "--supervised-fd", str(theirs.fileno())]
            where = ["-p", str(self.port), "-L", "127.0.0.1"]
            self._process = subprocess.Popen([*command, *where, *self._options], pass_fds=[theirs.fileno()])
            theirs.close()
            ours.settimeout(DEADLINE_S)
            assert ours.makefile("r").readline(), "the server did not start"
            self._held = ours.dup()  # the server holds the other end

    def stop(self) -> None:
        if self._process is not None:
            self._held.close()
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None


@pytest.fixture
def start_tls_server(certificates: Certificates) -> Iterator[Callable[..., TlsServer]]:
    """Starts job servers with TLS."""
    started: list[TlsServer] = []

    def start(*options: str) -> TlsServer:
        started.append(TlsServer(certificates, *options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def own_certificate(certificates: Certificates) -> Tls:
    """The test's CA is trusted, and has signed our own certificate."""
    return Tls(str(certificates.ca), str(certificates.client), str(certificates.key(certificates.client)))


def write_config(manager: RunningManager, server: str, tls: str, rest: str = "") -> None:
    """Write a configuration with this job server alone."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(f"run_dir: run\nservers: [{{address: '{server}', {tls}}}]\n{rest}")


def launch(manager: RunningManager) -> None:
    """Start it and wait until all workers are registered."""
    manager.launch()
    eventually(manager.settled, "all workers registered")


@pytest.mark.parametrize("concurrency", ["", "pools: {gate: {concurrency: 4, max: 1}}\n"])
def test_jobs_run_and_the_pool_follows_the_queue_over_tls(
    manager: RunningManager,
    certificates: Certificates,
    start_tls_server: Callable[..., TlsServer],
    tmp_path: Path,
    concurrency: str,
) -> None:
    server, gate = start_tls_server(), tmp_path / "gate"
    manager.write_module("gate.py", GATE)
    manager.write_module("turn.py", "def turn(job):\n    return job.workload[::-1]\n")
    pools = concurrency or "pools: {gate: {min: 1, max: 3}}\n"
    write_config(manager, server.address, f"ca_file: {certificates.ca}", pools)
    launch(manager)
    with Client(server.address, tls=Tls(str(certificates.ca))) as client:
        workload = os.urandom(1 << 20) * 3
        assert client.submit("turn", workload, timeout_s=DEADLINE_S) == workload[::-1]
        client.submit_background_many("gate", [os.fsencode(gate)] * 8)
        if not concurrency:
            eventually(lambda: len(manager.workers("gate")) == 3, "the pool grows with its queue")
        assert manager.command("jobs", "list").stdout.count(" gate ") == 8
        gate.touch()
        assert client.submit("gate", os.fsencode(gate), timeout_s=DEADLINE_S)
    assert "tells of its queues" in manager.log()
    assert manager.stop() == 0


def test_workers_and_manager_come_back_after_the_servers_restart(
    manager: RunningManager,
    own_certificate: Tls,
    certificates: Certificates,
    start_tls_server: Callable[..., TlsServer],
) -> None:
    server = start_tls_server("--ssl-ca-file", str(certificates.ca), "--ssl-verify")
    manager.write_module("nap.py", NAP)
    tls = own_certificate
    files = f"ca_file: {tls.ca_file}, certificate_file: {tls.certificate_file}, key_file: {tls.key_file}"
    write_config(manager, server.address, files)
    launch(manager)
    with Client(Address("localhost", server.port, tls)) as client:
        pid = client.submit("nap", b"0", timeout_s=DEADLINE_S)
        server.stop()
        eventually(lambda: not manager.status()["servers"][server.address]["up"], "the loss is noticed")
        server.start()
        eventually(lambda: manager.status()["servers"][server.address]["up"], "it is heard again")
        assert client.submit("nap", b"0", timeout_s=DEADLINE_S) == pid


def test_a_job_beyond_its_timeout_is_ended_at_a_server_with_tls(
    manager: RunningManager, certificates: Certificates, start_tls_server: Callable[..., TlsServer]
) -> None:
    server = start_tls_server()
    stuck = "import signal\n\ndef stuck(job):\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
    manager.write_module("stuck.py", stuck + "    while True:\n        pass\n")
    write_config(manager, server.address, f"ca_file: {certificates.ca}", "functions: {stuck: {timeout: 200ms}}\n")
    launch(manager)
    with Client(server.address, tls=Tls(str(certificates.ca))) as client:
        handle = client.submit_background("stuck", b"")
        eventually(lambda: not client.status(handle).known, "the job is over")
    assert "can't" not in manager.log()


def test_without_trust_one_line_gives_the_reason_and_the_retries_are_slow(
    manager: RunningManager, certificates: Certificates, start_tls_server: Callable[..., TlsServer]
) -> None:
    server = start_tls_server()
    manager.write_module("gate.py", GATE)
    write_config(manager, server.address, f"ca_file: {certificates.stranger}")
    manager.launch()
    eventually(lambda: "certificate is not trusted" in manager.log(), "the log says why")
    eventually(lambda: (manager.try_status() or {}).get("servers"), "the manager answers")
    assert not manager.status()["servers"][server.address]["up"]
    assert manager.process is not None
    family = [psutil.Process(pid) for pid in manager.family()]
    before_s = sum(sum(process.cpu_times()[:2]) for process in family)
    time.sleep(2.0)  # the check is that nothing happens in this time
    assert sum(sum(process.cpu_times()[:2]) for process in family) - before_s < 1.0
    lines = [line for line in manager.log().splitlines() if "not trusted" in line and "queues" in line]
    assert len(lines) == 1, manager.log()


def test_check_loads_the_files_and_names_pools_that_do_not_support_tls(
    manager: RunningManager, certificates: Certificates, start_tls_server: Callable[..., TlsServer], tmp_path: Path
) -> None:
    server = start_tls_server()
    manager.write_module("nap.py", NAP)
    program = "pools: {legacy: {command: [cat], functions: [legacy]}}\n"
    write_config(manager, server.address, f"ca_file: {certificates.ca}", program)
    checked = manager.command("check")
    assert checked.stderr.count("must know by itself") == 1
    assert f"{manager.config_file}:3: pools.legacy.command: " in checked.stderr
    (tmp_path / "empty.pem").touch()
    write_config(manager, server.address, "ca_file: empty.pem")
    refused = manager.command("check", check=False)
    assert refused.returncode == 78
    assert f"config.yaml:2: servers[0]: {tmp_path}/empty.pem can't be used: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_jobs_that_a_worker_has_fetched_and_not_begun_go_back_over_tls(
    manager: RunningManager, start_tls_server: Callable[..., TlsServer], certificates: Certificates
) -> None:
    server, trust = start_tls_server(), Tls(str(certificates.ca))
    manager.write_module("gate.py", GATE)
    write_config(
        manager, server.address, f"ca_file: {certificates.ca}", "pools: {gate: {prefetch: 10, min: 1, max: 1}}\n"
    )
    manager.launch()
    eventually(manager.settled, "the worker is registered")
    gate = manager.folder / "gate"

    def counts() -> tuple[int, int]:
        with connect_admin(server.address, tls=trust) as admin:
            (row,) = admin.status()
        return row.total, row.running

    with Client(server.address, tls=trust) as client:
        client.submit_background_many("gate", [str(gate)] * 3)
    eventually(lambda: counts() == (3, 3), "the worker has all of them")
    manager.command("pause", "gate")
    eventually(lambda: counts() == (3, 1), "two are in the queue again")
    gate.touch()
    manager.command("resume", "gate")
    eventually(lambda: counts() == (0, 0), "all are done")
