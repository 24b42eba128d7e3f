"""The client library over TLS: trust, big workloads, workers that wait and reconnect, renewed certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client import (
    Address,
    Client,
    CouldNotConnect,
    Tls,
    Worker,
    WorkerJob,
    WorkerObserver,
    WorkerSettings,
    connect_admin,
)
from gearman_client.worker.concurrent_worker import ConcurrentWorker

from ..certificates import Certificates
from .server_process import ServerProcess

DEADLINE_S = 20
MIB = 1 << 20
BIN = Path(sys.executable).parent


@pytest.fixture
def tls_server(start_server: Callable[..., ServerProcess], tls_options: list[str]) -> ServerProcess:
    """A server that speaks nothing but TLS."""
    return start_server("--ssl", *tls_options)


@pytest.fixture
def trust(certificates: Certificates) -> Tls:
    """The test's CA is trusted."""
    return Tls(ca_file=str(certificates.ca))


@pytest.fixture
def own_certificate(certificates: Certificates) -> Tls:
    """The test's CA is trusted, and has signed our own certificate."""
    return Tls(str(certificates.ca), str(certificates.client), str(certificates.key(certificates.client)))


class Heard(WorkerObserver):
    """Keeps a worker's reports about its connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.reasons: list[str] = []

    def connected(self, address: Address) -> None:
        self.connections += 1

    def disconnected(self, address: Address, reason: str) -> None:
        self.reasons.append(reason)

    def unreachable(self, address: Address, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def serve() -> Iterator[Callable[..., Worker]]:
    """Runs a worker's `work` in a thread until the test ends: serve(address, tls, function, callback)."""
    running = []

    def start(
        address: str, tls: Tls, function: str, callback: Callable[[WorkerJob], bytes], observer: Heard | None = None
    ) -> Worker:
        worker = Worker(address, tls=tls, observer=observer)
        worker.register(function, callback)
        thread = threading.Thread(target=worker.work, daemon=True)
        thread.start()
        running.append((worker, thread))
        return worker

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        worker.close()


def test_workloads_and_results_of_many_megabytes_cross_tls_whole(
    tls_server: ServerProcess, trust: Tls, serve: Callable[..., Worker]
) -> None:
    address = f"localhost:{tls_server.port}"
    serve(address, trust, "turn", lambda job: job.workload[::-1])
    workload = os.urandom(MIB) * 9 + b"end"
    with Client(address, tls=trust) as client:
        assert client.submit("turn", workload, timeout_s=DEADLINE_S) == workload[::-1]
        assert [client.submit("turn", b"%d" % n, timeout_s=DEADLINE_S) for n in (12, 34)] == [b"21", b"43"]


def test_many_jobs_are_submitted_in_portions_and_done(
    tls_server: ServerProcess, trust: Tls, serve: Callable[..., Worker]
) -> None:
    address = f"localhost:{tls_server.port}"
    done = []
    with Client(address, tls=trust) as client:
        assert len(client.submit_background_many("note", (b"%d" % n for n in range(2000)))) == 2000
        serve(address, trust, "note", lambda job: done.append(job.workload))
        serve(address, trust, "last", lambda job: b"")
        deadline = time.monotonic() + DEADLINE_S
        while len(done) < 2000 and time.monotonic() < deadline:
            client.echo()
    assert done == [b"%d" % n for n in range(2000)]


def test_progress_and_data_arrive_while_the_job_runs(
    tls_server: ServerProcess, trust: Tls, serve: Callable[..., Worker]
) -> None:
    def report(job: WorkerJob) -> bytes:
        job.data(b"x" * 3 * MIB)
        job.status(1, 2)
        return b"done"

    address = f"localhost:{tls_server.port}"
    serve(address, trust, "report", report)
    heard: list[object] = []
    with Client(address, tls=trust) as client:
        result = client.submit(
            "report",
            b"",
            timeout_s=DEADLINE_S,
            on_data=lambda data: heard.append(len(data)),
            on_status=lambda *of: heard.append(of),
        )
    assert result == b"done"
    assert heard == [3 * MIB, (1, 2)]


def test_an_idle_worker_waits_without_polling(tls_server: ServerProcess, trust: Tls) -> None:
    """The tickets that TLS 1.3 sends after the handshake are no packets: they cause neither a wait nor a busy loop."""
    heard = Heard()
    with Worker(
        f"localhost:{tls_server.port}", WorkerSettings(reply_timeout_s=0.5), tls=trust, observer=heard
    ) as worker:
        worker.register("f")
        assert worker.grab(timeout_s=0.3) is None
        before_s = time.thread_time()
        assert worker.grab(timeout_s=1.0) is None
        assert time.thread_time() - before_s < 0.2
    assert (heard.connections, heard.reasons) == (1, [])


def test_a_worker_with_several_places_gets_its_jobs_over_tls(tls_server: ServerProcess, trust: Tls) -> None:
    address = Address("localhost", tls_server.port, trust)
    with ConcurrentWorker(address) as worker, Client(address) as client:
        worker.register("f")
        client.submit_background_many("f", [b"w" * MIB] * 8)
        jobs: list[WorkerJob] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(jobs) < 8 and time.monotonic() < deadline:
            jobs += worker.take(8 - len(jobs))
        assert [len(job.workload) for job in jobs] == [MIB] * 8
        for job in jobs:
            job.complete(b"r" * MIB)
        worker.flush()
        while client.status(jobs[-1].handle).known and time.monotonic() < deadline:
            client.echo()
        assert not client.status(jobs[-1].handle).known


def test_a_client_whose_connection_was_idle_uses_it_again(tls_server: ServerProcess, trust: Tls) -> None:
    with Client(f"localhost:{tls_server.port}", exceptions=False, tls=trust) as client:
        client.submit_background("f", b"")
        client.submit_background("f", b"")
        with connect_admin(f"localhost:{tls_server.port}", tls=trust) as admin:
            admin.status()
            assert len(admin.workers()) == 2


def test_a_client_certificate_is_shown(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    certificates: Certificates,
    own_certificate: Tls,
    trust: Tls,
) -> None:
    server = start_server("--ssl", *tls_options, "--ssl-ca-file", str(certificates.ca), "--ssl-verify")
    with Client(f"localhost:{server.port}", tls=own_certificate) as client:
        assert client.echo(b"known") == b"known"
    with Client(f"localhost:{server.port}", tls=trust) as client, pytest.raises(CouldNotConnect, match="certificate"):
        client.echo()


@pytest.mark.parametrize(
    ("host", "tls", "reason"),
    [
        ("localhost", Tls(), "not trusted: self.signed certificate in certificate chain|unable to get local issuer"),
        ("127.0.0.1", None, "not trusted: IP address mismatch"),
        ("localhost", Tls(ca_file="/nonexistent/ca.pem"), "/nonexistent/ca.pem can't be read: No such file"),
        ("localhost", Tls(certificate_file="/dev/null"), "/dev/null can't be used"),
    ],
)
def test_an_untrusted_server_is_refused_with_the_reason(
    tls_server: ServerProcess, trust: Tls, host: str, tls: Tls | None, reason: str
) -> None:
    with Client(f"{host}:{tls_server.port}", tls=tls or trust) as client, pytest.raises(CouldNotConnect, match=reason):
        client.echo()


def test_a_plain_port_is_reported_as_one_without_tls(server: ServerProcess, trust: Tls) -> None:
    with (
        Client(f"localhost:{server.port}", connect_timeout_s=1, tls=trust) as client,
        pytest.raises(CouldNotConnect, match="TLS"),
    ):
        client.echo()


def test_a_worker_that_does_not_trust_its_server_retries_ever_more_slowly(tls_server: ServerProcess) -> None:
    heard = Heard()
    with Worker(f"localhost:{tls_server.port}", tls=Tls(), observer=heard) as worker:
        worker.register("f")
        before_s = time.thread_time()
        assert worker.grab(timeout_s=1.5) is None
        assert time.thread_time() - before_s < 0.5
    assert 2 <= len(heard.reasons) <= 8
    assert all("certificate is not trusted" in reason for reason in heard.reasons)


def test_a_worker_reconnects_to_a_restarted_server(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    trust: Tls,
    serve: Callable[..., Worker],
    free_port: int,
) -> None:
    first = start_server("--ssl", *tls_options, "-p", str(free_port))
    address, heard = f"localhost:{free_port}", Heard()
    serve(address, trust, "turn", lambda job: job.workload[::-1], observer=heard)
    with Client(address, tls=trust) as client:
        assert client.submit("turn", b"ab", timeout_s=DEADLINE_S) == b"ba"
        first.stop()
        start_server("--ssl", *tls_options, "-p", str(free_port))
        assert client.submit("turn", b"cd", timeout_s=DEADLINE_S) == b"dc"
    assert heard.connections == 2


def test_a_renewed_certificate_is_read_at_the_next_connection(
    tls_server: ServerProcess, certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    shutil.copy(certificates.stranger, ca)
    with Client(f"localhost:{tls_server.port}", tls=Tls(ca_file=str(ca))) as client:
        with pytest.raises(CouldNotConnect, match="not trusted"):
            client.echo()
        shutil.copy(certificates.ca, tmp_path / "fresh.pem")
        (tmp_path / "fresh.pem").rename(ca)
        assert client.echo(b"now") == b"now"


def test_many_small_packets_in_one_record_are_all_delivered(tls_server: ServerProcess, trust: Tls) -> None:
    with (
        connect_admin(f"localhost:{tls_server.port}", tls=trust) as admin,
        Client(f"localhost:{tls_server.port}", tls=trust) as client,
    ):
        for number in range(3000):
            client.submit_background(f"function-{number % 600}", b"")
        assert len(admin.status()) == 600
        assert len(admin.show_jobs()) == 3000


def run(name: str, *arguments: str) -> tuple[int, str, str]:
    """Runs a command; its exit code, output and errors."""
    done = subprocess.run([BIN / name, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, input="")
    return done.returncode, done.stdout, done.stderr


def test_the_commands_speak_tls(
    tls_server: ServerProcess, certificates: Certificates, trust: Tls, serve: Callable[..., Worker]
) -> None:
    where = ("-h", "localhost", "-p", str(tls_server.port))
    serve(f"localhost:{tls_server.port}", trust, "turn", lambda job: job.workload[::-1])
    ca = ("--ssl-ca-file", str(certificates.ca))
    assert run("gearman", *where, *ca, "-f", "turn", "abc") == (0, "cba", "")
    assert run("gearadmin", *where, *ca, "--getpid") == (0, f"{tls_server.pid}\n", "")
    code, _, errors = run("gearadmin", *where, "--ssl", "--getpid")
    assert (code, errors.count("\n")) == (1, 1)
    assert "not trusted" in errors
    assert "--ssl-key needs --ssl-certificate" in run("gearadmin", *where, "--ssl-key", "k.pem", "--getpid")[2]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make an /etc of its own")
def test_without_files_server_and_commands_use_those_of_gearmand(
    certificates: Certificates, free_port: int, tmp_path: Path
) -> None:
    files = {
        "gearmand.pem": certificates.server,
        "gearmand.key": certificates.key(certificates.server),
        "gearmand-ca.pem": certificates.ca,
        "gearman.pem": certificates.client,
        "gearman.key": certificates.key(certificates.client),
    }
    for name, file in files.items():
        shutil.copy(file, tmp_path / name)
    script = f"""
        mount --bind {tmp_path} /etc/ssl/certs
        {BIN}/gearman-server -p {free_port} --ssl --ssl-verify &
        trap "kill $!" EXIT
        until {BIN}/gearadmin -p {free_port} --ssl --server-version; do sleep 0.1; done
        {BIN}/gearman -p {free_port} --ssl -b -f f x >/dev/null
        rm /etc/ssl/certs/gearman.pem
        ! {BIN}/gearadmin -p {free_port} --ssl --status
        {BIN}/gearadmin -p {free_port} --ssl --ssl-certificate {certificates.client} \\
            --ssl-key {certificates.key(certificates.client)} --status
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("f\t1\t0\t0\n.\n")


def test_the_environment_names_files_of_the_commands(tls_server: ServerProcess, certificates: Certificates) -> None:
    where = ("-h", "localhost", "-p", str(tls_server.port))
    done = subprocess.run(
        [BIN / "gearadmin", *where, "--ssl", "--getpid"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "GEARMAND_CA_CERTIFICATE": str(certificates.ca)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{tls_server.pid}\n")


def test_a_forked_child_says_no_goodbye_on_its_parents_connection(tls_server: ServerProcess, trust: Tls) -> None:
    with (
        Client(f"localhost:{tls_server.port}", tls=trust) as client,
        connect_admin(f"localhost:{tls_server.port}", tls=trust) as admin,
    ):
        client.echo()
        connections = len(admin.workers())
        pid = os.fork()
        if pid == 0:
            client.close()
            admin.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(admin.workers()) == connections  # asked over a connection that the child has closed
        assert client.echo(b"after") == b"after"
        assert len(admin.workers()) == connections
