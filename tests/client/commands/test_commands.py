"""The `gearman` and `gearadmin` commands as processes, against Debian's gearmand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client, WorkerJob

from ...gearmand import Gearmand
from ..conftest import JobServer, RunningWorker, wait_for

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"gearman_client.commands.{name}", *arguments]


def run(name: str, *arguments: str, workload: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(name, *arguments),
        input=workload,
        capture_output=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT | environment,
    )


@pytest.fixture
def served(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Any:
    """A gearmand with a worker."""

    def talk(job: WorkerJob) -> bytes:
        job.data(b"D;")
        job.warning(b"W;")
        job.status(1, 3)
        job.status(1, 0)
        return b"R(" + job.workload + b")"

    callbacks = {
        "upper": lambda job: job.workload.upper(),
        "unique": lambda job: job.unique,
        "talk": talk,
        "bad": lambda job: job.fail(),
        "raise": lambda job: job.exception(b"boom"),
    }
    start_worker(gearmand.address, callbacks)
    return gearmand


def test_an_argument_is_a_workload_and_so_is_the_whole_input(served: Gearmand) -> None:
    port = str(served.port)
    assert run("gearman", "-p", port, "-f", "upper", "a", "b").stdout == b"AB"
    done = run("gearman", "-p", port, "-f", "upper", workload=b"two\nlines\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"TWO\nLINES\n", b"", 0)
    assert run("gearman", "-p", port, "-f", "upper", "-s", workload=b"not read").stdout == b""


def test_a_denominator_of_zero_is_no_progress(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "-f", "talk", "x")
    assert (done.stdout, done.stderr, done.returncode) == (b"D;R(x)33% Complete\n0% Complete\n", b"W;", 0)
    done = run("gearman", "-p", str(served.port), "-P", "-f", "talk", "x")
    assert done.stdout == b"talk: D;talk: 33% Complete\ntalk: 0% Complete\ntalk: R(x)"
    assert done.stderr == b"talk: W;"


@pytest.mark.parametrize(
    ("option", "output"), [("-n", b"one\n|two|"), ("-N", b"one|two|")], ids=["with newline", "without newline"]
)
def test_each_line_of_the_input_can_be_a_job(
    served: Gearmand, option: str, output: bytes, start_worker: Callable[..., RunningWorker]
) -> None:
    start_worker(served.address, {"mark": lambda job: job.workload + b"|"})
    assert run("gearman", "-p", str(served.port), "-f", "mark", option, workload=b"one\ntwo").stdout == output


def test_several_functions_each_get_every_workload(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "-f", "upper", "-f", "unique", "-u", "<id>", "a")
    assert done.stdout in (b"A<id>", b"<id>A")
    assert done.returncode == 0


def test_a_failed_job_gives_exit_code_1_and_the_others_still_run(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "-f", "bad", "-f", "upper", "a")
    assert (done.stdout, done.stderr, done.returncode) == (b"A", b"Job failed\n", 1)


def test_an_exception_prints_its_data_and_fails(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "-f", "raise", "a")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"boom\nJob failed\n", 1)


def test_background_jobs_print_their_handles_only_on_request(served: Gearmand) -> None:
    port = str(served.port)
    assert run("gearman", "-p", port, "-b", "-f", "nobody", "x").stdout == b""
    assert run("gearman", "-p", port, "-b", "-v", "-f", "nobody", "x").stdout.startswith(b"Task created: H:")
    assert "nobody\t2\t0\t0" in served.ask("status")


def test_priorities_reach_the_server(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    for option in ("-I", "-L", "-s"):
        assert run("gearman", "-p", port, "-b", "-f", "f", option, "x").returncode == 0
    assert "f\t1\t1\t1\t0" in gearmand.ask("prioritystatus")


def test_a_job_has_an_id_of_its_own_unless_one_is_given(served: Gearmand) -> None:
    one, two = (run("gearman", "-p", str(served.port), "-f", "unique", "x").stdout for _ in range(2))
    assert len(one) == len(two) == 36
    assert one != two


def test_data_that_looks_like_an_option_follows_two_dashes(served: Gearmand) -> None:
    assert run("gearman", "-p", str(served.port), "-f", "upper", "--", "-x", "--").stdout == b"-X--"


@pytest.mark.parametrize("variable", ["GEARMAN_SERVERS", "GEARMAN_SERVER"])
def test_options_win_over_the_environment_variables_that_name_servers(served: Gearmand, variable: str) -> None:
    there: Any = {variable: f"127.0.0.1:{served.port}"}
    nowhere: Any = {variable: "x:1"}
    assert run("gearman", "-f", "upper", "a", **there).stdout == b"A"
    assert run("gearman", "-h", "127.0.0.1", "-p", str(served.port), "-f", "upper", "a", **nowhere).stdout == b"A"


def test_a_failed_connection_and_a_timeout_give_exit_code_1_and_one_line_with_the_reason(gearmand: Gearmand) -> None:
    late = run("gearman", "-p", str(gearmand.port), "-t", "200", "-f", "nobody", "x")
    assert (late.stdout, late.returncode, late.stderr.count(b"\n")) == (b"", 1, 1)
    assert b"in the time allowed" in late.stderr
    gearmand.kill()
    refused = run("gearman", "-h", "127.0.0.1", "-p", str(gearmand.port), "-f", "f", "x")
    assert (refused.stdout, refused.returncode, refused.stderr.count(b"\n")) == (b"", 1, 1)
    assert str(gearmand.port).encode() in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["x"], b"no function given"),
        (["-f", "f", "-p", "0", "x"], b"the port must be a number"),
        (["-f", "f", "-p", "1", "-t", "-5", "x"], b"expected a number of milliseconds"),
        (["-f", "f", "-p", "1", "-t", "soon", "x"], b"-t soon: expected a number of milliseconds"),
        (["-f", "f", "-c", "some", "-w"], b"-c some: expected a number above 0"),
        (
            ["-f", "f", "-b", "--delay", "soon", "x"],
            b"delay 'soon': expected seconds (a number), a timedelta, or a text as 500ms",
        ),
        (["-f", "f", "--option", "retries", "x"], b"--option retries: expected KEY=VALUE"),
        (["-f", "f", "--option", "retrys=1", "x"], b"there is no option retrys; there are retries, backoff"),
        (["-f", "f", "--option", "retries=many", "x"], b"--option retries many: expected a whole number from 0 up"),
        (["-f", "f", "--option", "replace=yes", "-u", "x"], b"--option replace yes: expected true or false"),
        (["-f", "f", "--option", "delay=5m", "x"], b"there is no option delay; use --delay"),
        (["-f", "f", "--option", "tag=mail", "x"], b"there is no option tag; use --tag"),
        (["-f", "f", "--option", "replace=true", "x"], b"it is about jobs with equal unique ids, which -u gives"),
        (["-f", "f", "--option", "then=g", "x"], b"only background jobs have it, which -b submits"),
        (["-f", "f", "-b", "--option", "then=g,", "x"], b"then '': a function name must not be empty"),
        (["-f", "f", "--header", "=x", "x"], b"--header =x: expected NAME=TEXT"),
        (["-f", "f", "--tag", "", "x"], b"tag '': expected a text of 1 to 64 bytes"),
        (["-f", "f", "-b", "--option", "submission=s", "x", "y"], b"many jobs would be one"),
        (["--result", ""], b"--result: a job's handle is expected"),
        (["--result", "H:box:1", "-b"], b"leave out -f, -w, -b and data"),
        (["-f", "f", "-c", "0", "-w"], b"expected a number above 0"),
        (["-f", "f", "-Q"], b"there is no option -Q: --help"),
        (["x", "-f"], b"option -f needs its value, FUNCTION: --help"),
        (["-f", "f", "--map"], b"option --map needs its value, FILE: --help"),
        (["-f", "", "-p", "1", "x"], b"must not be empty"),
        (["-f", "f", "-w", "--", "no-such-program"], b"no-such-program: no such command"),
    ],
)
def test_a_wrong_command_line_gives_exit_code_1_and_the_reason(arguments: list[str], reason: bytes) -> None:
    done = run("gearman", *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert b"Traceback" not in done.stderr


def test_options_of_a_job(
    start_ours: Callable[..., JobServer], start_worker: Callable[..., RunningWorker], gearmand: Gearmand, tmp_path: Path
) -> None:
    def tell(job: WorkerJob) -> str:
        return repr((job.tags, dict(job.headers), job.key, job.timeout_s))

    server = start_ours()
    start_worker(server.address, {"tell": tell})
    options = ["--tag", "a", "--tag", "b", "--header", "trace=1=2", "--option", "key=k", "--option", "timeout=5m"]
    where = ["-p", str(server.address.port), "-f", "tell"]
    told = b"(('a', 'b'), {'trace': '1=2'}, 'k', 300.0)"
    assert run("gearman", *where, *options, "--delay", "20ms", "x").stdout == told
    lines = tmp_path / "lines"
    lines.write_text("1\n2\n")
    assert run("gearman", *where, *options, "--map", str(lines)).stdout == (told + b"\n") * 2
    once = ["-b", "-v", "-s", "--option", "submission=17", "--option", "expires=1h"]
    left = {run("gearman", *where, *once).stdout for _ in range(2)}
    assert len(left) == 1
    assert left != {b""}
    with Client(server.address) as client, client.batch() as batch:
        chain = ["--option", "then=tell,tell", "--option", "on_failure=mend", "--option", f"batch={batch.id}"]
        assert run("gearman", *where, "-b", *chain, "x").returncode == 0
        wait_for(lambda: batch.status().complete == 3, "the chain has come to its end")
    refused = run("gearman", "-p", str(gearmand.port), "-f", "f", "--tag", "a", "x")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"takes no tags for a job, which was not sent: gearman-server does" in refused.stderr


def test_gearadmin_stops_jobs(start_ours: Callable[..., JobServer]) -> None:
    where = ["-p", str(start_ours().address.port)]
    handle = run("gearman", *where, "-f", "f", "-b", "-v", "-s").stdout.split()[-1].decode()
    assert run("gearadmin", *where, "--stop-job", handle).stdout == b"OK\n"
    again = run("gearadmin", *where, "--stop-job", handle)
    assert (again.stdout, again.stderr, again.returncode) == (b"", b"Error: UNKNOWN_JOB\r\n", 1)
    [report] = [json.loads(run("gearadmin", *where, "--json", "--stop-job", handle).stdout)]
    assert report["stop_job"] == [{"name": handle, "done": False, "failure": "UNKNOWN_JOB"}]


def test_help_is_no_error() -> None:
    for name, option in (("gearman", "-H"), ("gearman", "--help"), ("gearadmin", "--help")):
        done = run(name, option)
        assert (done.returncode, done.stderr) == (0, b"")
        assert f"usage: {name}".encode() in done.stdout


def interrupt_when_queued(
    served: Gearmand, wait_for: Callable[[Callable[[], Any], str], Any], *functions: str
) -> tuple[bytes, bytes, int]:
    options = [word for function in functions for word in ("-f", function)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("gearman", "-p", str(served.port), *options, "x"), **pipes) as process:  # type: ignore[call-overload]
        wait_for(lambda: all(f"{name}\t1\t0" in served.ask("status") for name in functions), "the jobs are queued")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
        return out, errors, process.returncode


@pytest.mark.parametrize("functions", [["nobody"], ["nobody", "noone"]], ids=["one function", "two functions"])
def test_ctrl_c_ends_a_waiting_command_without_a_traceback(
    gearmand: Gearmand, wait_for: Callable[[Callable[[], Any], str], Any], functions: list[str]
) -> None:
    assert interrupt_when_queued(gearmand, wait_for, *functions) == (b"", b"", 130)


def test_a_reader_that_closes_the_pipe_early_ends_the_command_quietly(served: Gearmand) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("gearman", "-p", str(served.port), "-f", "upper", "a"),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", 1)


def test_worker_mode_runs_a_program_for_each_job(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    with subprocess.Popen(
        command("gearman", "-p", port, "-w", "-c", "3", "-f", "f", "--", "tr", "a-z", "A-Z")
    ) as worker:
        big = b"abc\n" * 100_000  # more than a pipe holds, in both directions
        assert run("gearman", "-p", port, "-f", "f", "word").stdout == b"WORD"
        assert run("gearman", "-p", port, "-f", "f", workload=big).stdout == big.upper()
        assert run("gearman", "-p", port, "-f", "f", "-s").stdout == b""
        assert worker.wait(10) == 0


def test_worker_mode_sends_each_line_once_and_at_once(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    for option, output in (("-n", b"f: a\nf: b\nf: "), ("-N", b"f: af: bf: ")):
        with subprocess.Popen(command("gearman", "-p", port, "-w", "-c", "1", option, "-f", "f", "cat")):
            assert run("gearman", "-p", port, "-P", "-f", "f", workload=b"a\nb\n").stdout == output


def test_a_program_that_fails_fails_its_job_after_sending_its_output(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    failing = ["sh", "-c", "echo part; exit 3"]
    with subprocess.Popen(command("gearman", "-p", port, "-w", "-c", "1", "-f", "f", "--", *failing)) as worker:
        done = run("gearman", "-p", port, "-f", "f", "x")
        assert (done.stdout, done.stderr, done.returncode) == (b"part\n", b"Job failed\n", 1)
        assert worker.wait(10) == 0


def test_worker_mode_without_a_program_prints_the_workloads(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    with subprocess.Popen(command("gearman", "-p", port, "-w", "-c", "1", "-f", "f"), stdout=subprocess.PIPE) as worker:
        assert run("gearman", "-p", port, "-f", "f", "seen").stdout == b""
        assert worker.communicate(timeout=10)[0] == b"seen"


def test_worker_mode_ends_on_sigterm_after_an_idle_time_and_without_a_server(
    gearmand: Gearmand, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    port = str(gearmand.port)
    with subprocess.Popen(command("gearman", "-p", port, "-w", "-f", "f")) as worker:
        wait_for(lambda: gearmand.registered("f"), "registered")
        worker.terminate()
        assert worker.wait(10) == 0
    idle = run("gearman", "-p", port, "-w", "-t", "200", "-f", "f")
    assert (idle.returncode, idle.stderr) == (1, b"gearman: no job came for 0.2 s\n")
    gearmand.kill()
    alone = run("gearman", "-h", "127.0.0.1", "-p", port, "-w", "-f", "f")
    assert alone.returncode == 1
    assert b"could not connect to 127.0.0.1:" + port.encode() in alone.stderr


def test_gearadmin_prints_the_servers_answer(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    gearmand.ask("create function abc\r")
    done = run("gearadmin", "-p", port, "--status", "--getpid", "--priority-status")
    assert done.stdout == b"%d\nabc\t0\t0\t0\t0\n.\nabc\t0\t0\t0\n.\n" % gearmand.pid
    assert (done.stderr, done.returncode) == (b"", 0)
    assert run("gearadmin", "--port", port, "--host", "127.0.0.1", "--server-verbose").stdout == b"ERROR\n"
    assert run("gearadmin", "-p", port, "--server-version").stdout[:1].isdigit()
    assert run("gearadmin", "-p", port, "--show-jobs", "--show-unique-jobs").stdout == b".\n.\n"
    assert b" 127.0.0.1 - :\n.\n" in run("gearadmin", "-h", "127.0.0.1", "-p", port, "--workers").stdout


def test_gearadmin_carries_out_actions_and_a_refusal_gives_exit_code_1(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    done = run("gearadmin", "-p", port, "--create-function", "abc", "--drop-function", "abc")
    assert (done.stdout, done.stderr, done.returncode) == (b"OK\nOK\n", b"", 0)
    done = run("gearadmin", "-p", port, "--drop-function", "abc", "--cancel-job", "H:x:1", "--getpid")
    assert done.stdout == b"%d\n" % gearmand.pid
    assert done.stderr == b"Error: function not found\r\nError: UNKNOWN_JOB\r\n"
    assert done.returncode == 1


def test_gearadmin_without_action_or_server_gives_exit_code_1(gearmand: Gearmand) -> None:
    port = str(gearmand.port)
    for arguments, reason in (
        ([], b"nothing to do: name an action, such as --status\nusage: gearadmin"),
        (["-p", port], b"nothing to do"),
        (["--shutdown"], b"there is no option --shutdown: --help shows the options"),
        (["--cancel-job"], b"option --cancel-job needs its value, HANDLE: --help"),
        (["--server-v"], b"--server-v may be --server-verbose or --server-version: --help"),
        (["--getpid=3"], b"option --getpid takes no value: --help"),
        (["-p", port, "status"], b"'status' is no option: actions begin with --"),
        (["-p", port, "--create-function", "a b"], b"must not be empty or hold a blank"),
        (["-p", port, "--cancel-job", ""], b"must not be empty or hold a blank"),
    ):
        done = run("gearadmin", *arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        assert reason in done.stderr
    gearmand.kill()
    done = run("gearadmin", "-h", "127.0.0.1", "-p", port, "--status")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)


def test_both_commands_are_installed() -> None:
    for name in ("gearman", "gearadmin"):
        assert (Path(sys.executable).parent / name).exists()
