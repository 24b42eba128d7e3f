"""Other people's tools and libraries against our server: gearman-tools, PHP (libgearman) and Perl."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .server_process import ServerProcess

DEADLINE_S = 30


@pytest.fixture
def run(server: ServerProcess) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program against the server and returns its completed process."""

    def run_program(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        program = shutil.which(command[0])
        assert program, f"{command[0]} is not installed (CONTRIBUTING.md lists the peers)"
        return subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=DEADLINE_S, check=False, **options
        )

    return run_program


@pytest.fixture
def gearman_worker(server: ServerProcess) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of Debian's `gearman` tool that reverses lines."""
    program = shutil.which("gearman")
    assert program
    worker = subprocess.Popen([program, "-p", str(server.port), "-w", "-f", "reverse", "--", "rev"])
    yield worker
    worker.kill()
    worker.wait()


def test_gearman_gets_its_answer_from_a_gearman_worker(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]], gearman_worker: subprocess.Popen[bytes]
) -> None:
    done = run("gearman", "-p", str(server.port), "-f", "reverse", "Rasmus")
    assert (done.stdout.strip(), done.returncode) == ("sumsaR", 0)


def test_a_client_started_before_any_worker_is_answered_when_one_comes(
    server: ServerProcess,
    run: Callable[..., subprocess.CompletedProcess[str]],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    client = subprocess.Popen(
        ["gearman", "-p", str(server.port), "-f", "reverse", "Rasmus"], stdout=subprocess.PIPE, text=True
    )
    until(lambda: server.text(b"status") == b"reverse\t1\t0\t0\n.\n")
    run("gearman", "-p", str(server.port), "-w", "-c", "1", "-f", "reverse", "--", "rev")
    assert client.communicate(timeout=DEADLINE_S)[0].strip() == "sumsaR"


def test_gearman_background_jobs_and_priorities(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for flag in ("-b", "-I", "-L"):
        assert run("gearman", "-p", str(server.port), "-b", flag, "-f", "f", "x").returncode == 0
    assert server.text(b"prioritystatus") == b"f\t1\t1\t1\t0\n.\n"


def test_gearadmin_reads_every_table(
    server: ServerProcess,
    run: Callable[..., subprocess.CompletedProcess[str]],
    gearman_worker: subprocess.Popen[bytes],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    until(lambda: b"reverse\t0\t0\t1" in server.text(b"status"))

    def gearadmin(*options: Any) -> str:
        done = run("gearadmin", "-p", str(server.port), *options)
        assert done.returncode == 0
        return done.stdout

    assert gearadmin("--status") == "reverse\t0\t0\t1\n.\n"
    assert gearadmin("--getpid") == f"{server.pid}\n"
    assert gearadmin("--server-version").startswith("0.")
    assert gearadmin("--server-verbose") == "ERROR\n"
    assert " : reverse" in gearadmin("--workers")
    assert gearadmin("--create-function", "made").strip() == "OK"
    assert "made\t0\t0\t0\n" in gearadmin("--status")
    assert gearadmin("--drop-function", "made").strip() == "OK"
    assert gearadmin("--show-jobs") == ".\n"
    assert gearadmin("--show-unique-jobs") == ".\n"
    assert "reverse\t0\t0\t0\t1" in gearadmin("--priority-status")


def test_gearadmin_cancels_a_job(server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    peer = server.peer()
    handle = peer.ask(18, b"f", b"", b"")[1].decode()
    assert run("gearadmin", "-p", str(server.port), "--cancel-job", handle).stdout.strip() == "OK"
    assert "UNKNOWN_JOB" in run("gearadmin", "-p", str(server.port), "--cancel-job", handle).stderr


def test_php_gets_its_answer(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]], gearman_worker: subprocess.Popen[bytes]
) -> None:
    script = (
        f'$c = new GearmanClient(); $c->addServer("127.0.0.1", {server.port}); '
        'echo $c->doNormal("reverse", "Rasmus"), " ", $c->doHighBackground("later", "x");'
    )
    answer, handle = run("php", "-r", script).stdout.split()
    assert answer == "sumsaR"
    assert handle.startswith("H:")


def test_a_php_worker_serves(server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = (
        f'$w = new GearmanWorker(); $w->addServer("127.0.0.1", {server.port}); '
        '$w->addFunction("upper", function ($job) { $job->sendStatus(1, 2); return strtoupper($job->workload()); }); '
        "$w->work();"
    )
    client = server.peer()
    handle = client.ask(7, b"upper", b"", b"rasmus")[1]
    assert run("php", "-r", script).returncode == 0
    assert client.receive() == (12, handle + b"\0001\0002")
    assert client.receive() == (13, handle + b"\0RASMUS")


@pytest.mark.timeout(240)
def test_a_libgearman_worker_that_overruns_its_own_timeout_ends_its_job_in_the_end(server: ServerProcess) -> None:
    """It takes the ERROR for its late result as the answer to its next request, and sleeps with the job assigned."""
    script = (
        f'$w = new GearmanWorker(); $w->addServer("127.0.0.1", {server.port}); '
        '$w->addFunction("slow", function ($job) { usleep(1300000); return "slept"; }, null, 1000); '
        "while (true) { @$w->work(); }"
    )
    client = server.peer()
    client.socket.settimeout(200)  # it overruns a few times, and more often on a slow machine
    handle = client.ask(7, b"slow", b"", b"")[1]
    worker = subprocess.Popen(["php", "-r", script])
    try:
        assert client.receive() == (13, handle + b"\0slept")
    finally:
        worker.kill()
        worker.wait()


def test_perl_gets_its_answer(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]], gearman_worker: subprocess.Popen[bytes]
) -> None:
    script = (
        "use Gearman::Client; my $c = Gearman::Client->new; "
        f'$c->job_servers("127.0.0.1:{server.port}"); print ${{$c->do_task("reverse", "Rasmus")}};'
    )
    assert run("perl", "-e", script).stdout.strip() == "sumsaR"


def test_a_perl_worker_serves_and_its_failure_arrives(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    script = (
        "use Gearman::Worker; my $w = Gearman::Worker->new; "
        f'$w->job_servers("127.0.0.1:{server.port}"); '
        '$w->register_function(f => sub { $_[0]->arg eq "bad" ? die "no" : uc $_[0]->arg }); '
        "my $n = 0; $w->work(on_complete => sub { $n++ }, on_fail => sub { $n++ }, stop_if => sub { $n >= 2 });"
    )
    client = server.peer()
    good = client.ask(7, b"f", b"", b"good")[1]
    bad = client.ask(7, b"f", b"", b"bad")[1]
    run("perl", "-e", script)
    assert client.receive() == (13, good + b"\0GOOD")
    assert client.receive()[1].startswith(bad)


def test_perls_client_and_worker_meet_under_their_prefix(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The prefix is joined to the function's name by a TAB."""
    where = f'job_servers => ["127.0.0.1:{server.port}"], prefix => "shop"'
    worker = (
        f"use Gearman::Worker; my $w = Gearman::Worker->new({where}); my $n = 0; "
        "$w->register_function(upper => sub { uc $_[0]->arg }); "
        "$w->work(on_complete => sub { $n++ }, stop_if => sub { $n });"
    )
    client = (
        f"use Gearman::Client; my $c = Gearman::Client->new({where}); "
        'print ${$c->do_task("upper", "mail")}, " ", $c->dispatch_background("later", "x");'
    )
    serving = subprocess.Popen(["perl", "-e", worker])
    try:
        answer, handle = run("perl", "-e", client).stdout.split()
        assert serving.wait(DEADLINE_S) == 0
    finally:
        serving.kill()
        serving.wait()
    assert answer == "MAIL"
    assert "//H:" in handle
    assert sorted(server.text(b"status").splitlines()) == [b".", b"shop\tlater\t1\t0\t0", b"shop\tupper\t0\t0\t0"]
    shown = run("gearadmin", "-p", str(server.port), "--status").stdout
    assert "shop\tlater\t1\t0\t0\n" in shown


def test_php_and_perl_workers_get_no_job_of_a_paused_function(
    server: ServerProcess, until: Callable[[Callable[[], bool]], None]
) -> None:
    php = (
        f'$w = new GearmanWorker(); $w->addServer("127.0.0.1", {server.port}); '
        '$w->addFunction("upper", function ($job) { return strtoupper($job->workload()); }); '
        "while (true) { $w->work(); }"
    )
    perl = (
        "use Gearman::Worker; my $w = Gearman::Worker->new; "
        f'$w->job_servers("127.0.0.1:{server.port}"); '
        "$w->register_function(f => sub { uc $_[0]->arg }); $w->work while 1;"
    )
    client = server.peer()
    workers = [subprocess.Popen(["php", "-r", php]), subprocess.Popen(["perl", "-e", perl])]
    try:
        until(lambda: {b"upper\t0\t0\t1", b"f\t0\t0\t1"} <= set(server.text(b"status").splitlines()))
        for function in (b"upper", b"f"):
            assert server.text(b"pause function " + function) == b"OK\r\n"
            handle = client.ask(7, function, b"", b"rasmus")[1]  # its worker sleeps, or asks once more
            assert client.ask(7, b"echo", b"", b"")[0] == 8
            assert server.text(b"jobs show " + handle).splitlines()[4] == b"state\twaiting"
            assert server.text(b"resume function " + function) == b"OK\r\n"
            assert client.receive() == (13, handle + b"\0RASMUS")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize("value", ["", "0"])
def test_a_perl_worker_that_answers_nothing_goes_on(
    server: ServerProcess, run: Callable[..., subprocess.CompletedProcess[str]], value: str
) -> None:
    """It sends the handle alone, for `0` too."""
    script = (
        "use Gearman::Worker; my $n = 0; "
        f'my $w = Gearman::Worker->new(job_servers => ["127.0.0.1:{server.port}"]); '
        "$w->register_function(f => sub { my $job = shift; "
        f'$w->send_work_data($job, "{value}"); $w->send_work_status($job, 0, 4); "{value}" }}); '
        "$w->work(on_complete => sub { $n++ }, stop_if => sub { $n >= 2 });"
    )
    client = server.peer()
    handles = [client.ask(7, b"f", b"", b"")[1] for _ in range(2)]
    assert run("perl", "-e", script).returncode == 0
    for handle in handles:
        assert client.receive() == (28, handle + b"\0")
        assert client.receive() == (13, handle + b"\0")
