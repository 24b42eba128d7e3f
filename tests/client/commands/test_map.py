"""`gearman --map`: a job for each line, in order, continued after any kind of end."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gearman_client import WorkerJob, connect_admin
from gearman_client.commands.done_file import DoneFile
from gearman_client.commands.options import UsageError

from ...gearmand import Gearmand
from ..conftest import RunningWorker
from .pseudo_terminal import OnTerminal
from .test_commands import ENVIRONMENT, command, run

DEADLINE_S = 60.0
WaitFor = Callable[[Callable[[], Any], str], Any]


class Served:
    """A gearmand with a worker that notes what it gets."""

    def __init__(self, gearmand: Gearmand) -> None:
        self.gearmand = gearmand
        self.port = str(gearmand.port)
        self.seen: Counter[bytes] = Counter()
        self.is_fixed = False
        #: Set when another line than the first has come.
        self.others_came = threading.Event()

    def upper(self, job: WorkerJob) -> bytes:
        self.seen[job.workload] += 1
        return job.workload.upper()

    def first_waits(self, job: WorkerJob) -> bytes:
        if job.workload == b"1":
            assert self.others_came.wait(DEADLINE_S)
        else:
            self.others_came.set()
        return job.workload

    def odd_fail(self, job: WorkerJob) -> bytes | None:
        self.seen[job.workload] += 1
        if self.is_fixed or int(job.workload) % 2 == 0:
            return job.workload
        job.exception(b"odd\nnumber \x1b[31m")
        return None

    def talk(self, job: WorkerJob) -> bytes:
        job.data(b"D;")
        job.warning(b"W;")
        job.status(1, 2)
        return b"R(" + job.workload + b")\n"


@pytest.fixture
def served(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Served:
    served = Served(gearmand)
    functions = {"upper": served.upper, "first": served.first_waits, "odd": served.odd_fail, "talk": served.talk}
    for _ in range(2):
        start_worker(gearmand.address, functions)
    return served


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A file of the lines 1 to 10."""
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(1, 11)))
    return path


def mapped(served: Served, function: str, *arguments: str | Path, workload: bytes = b"") -> Any:
    return run("gearman", "-p", served.port, "-f", function, *map(str, arguments), workload=workload)


def test_results_come_in_the_order_of_the_lines(served: Served, numbers: Path) -> None:
    done = mapped(served, "first", "--map", numbers)
    assert (done.stdout, done.stderr, done.returncode) == (numbers.read_bytes(), b"", 0)


def test_lines_are_any_bytes_and_each_result_ends_with_a_line_break(served: Served) -> None:
    done = mapped(served, "upper", "--map", "-", workload=b"a\n\nb\r\n\xff\0c")
    assert (done.stdout, done.returncode) == (b"A\n\nB\r\n\xff\0C\n", 0)
    assert mapped(served, "upper", "--map", "-").stdout == b""
    talked = mapped(served, "talk", "-P", "--map", "-", workload=b"a\nb")
    assert (talked.stdout, talked.stderr) == (b"talk: D;R(a)\ntalk: D;R(b)\n", b"W;W;")


def test_no_more_jobs_are_under_way_than_the_window(gearmand: Gearmand, numbers: Path, wait_for: WaitFor) -> None:
    arguments = ["-p", str(gearmand.port), "-f", "nobody", "--map", str(numbers), "--window", "3"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("gearman", *arguments), **pipes) as process:
        wait_for(lambda: "nobody\t3\t" in gearmand.ask("status"), "three jobs")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE_S) == (b"", b"")
        assert process.returncode == 130
    assert "nobody\t3\t" in gearmand.ask("status")


def test_failures_are_listed_at_the_end_and_only_they_run_again(served: Served, numbers: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["--map", numbers, "--done", tmp_path / "done"]
    done = mapped(served, "odd", *arguments)
    assert (done.stdout, done.returncode) == (b"2\n4\n6\n8\n10\n", 1)
    *failures, sum_of_all = done.stderr.decode().splitlines()
    assert failures == [rf"gearman: {numbers}:{number}: odd\nnumber \x1b[31m" for number in (1, 3, 5, 7, 9)]
    assert sum_of_all == "gearman: 5 of 10 jobs failed"
    assert [line.split()[0] for line in (tmp_path / "done").read_text().splitlines()] == ["2", "4", "6", "8", "10"]
    served.is_fixed = True
    again = mapped(served, "odd", *arguments)
    assert (again.stdout, again.stderr, again.returncode) == (b"1\n3\n5\n7\n9\n", b"", 0)
    assert served.seen == {b"%d" % number: 1 + number % 2 for number in range(1, 11)}
    nothing = mapped(served, "odd", *arguments)
    assert (nothing.stdout, nothing.stderr, nothing.returncode) == (b"", b"", 0)


def test_ctrl_c_lists_what_has_failed_so_far(served: Served, tmp_path: Path) -> None:
    arguments = ["-p", served.port, "-f", "odd", "--map", "-", "--window", "1", "--done", str(tmp_path / "done")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("gearman", *arguments), env=ENVIRONMENT, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"1\n2\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"2\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
        failure, sum_of_all, hint = process.stderr.read().splitlines()
    assert failure.startswith(b"gearman: -:1: odd")
    assert sum_of_all in (b"gearman: 1 of 2 jobs failed", b"gearman: 1 of 1 jobs failed")
    assert hint == b"gearman: interrupted: the same command goes on with the lines that are not done"


def has_size(path: Path, size: int) -> bool:
    return path.stat().st_size >= size


def test_a_run_that_is_killed_at_any_moment_is_continued(served: Served, tmp_path: Path, wait_for: WaitFor) -> None:
    kills = 10
    lines = [b"line %d" % number for number in range(10_000)]
    (tmp_path / "input").write_bytes(b"\n".join(lines))
    printed = tmp_path / "output"
    arguments = ["-p", served.port, "-f", "upper", "--map", str(tmp_path / "input"), "--done", str(tmp_path / "done")]
    with printed.open("ab") as output:
        for _ in range(kills):
            enough = printed.stat().st_size + random.randrange(1, 8000)
            with subprocess.Popen(command("gearman", *arguments), stdout=output, env=ENVIRONMENT) as process:
                wait_for(partial(has_size, printed, enough), "more results")
                process.kill()
                assert process.wait(DEADLINE_S) == -signal.SIGKILL
        last = subprocess.run(
            command("gearman", *arguments), stdout=output, timeout=DEADLINE_S, check=False, env=ENVIRONMENT
        )
    assert last.returncode == 0
    results = printed.read_bytes().splitlines()
    assert [line for index, line in enumerate(results) if index == 0 or results[index - 1] != line] == [
        line.upper() for line in lines
    ]
    assert len(results) <= len(lines) + kills


def test_a_reader_that_leaves_loses_nothing(served: Served, numbers: Path, tmp_path: Path) -> None:
    arguments = ["-p", served.port, "-f", "upper", "--map", str(numbers), "--done", str(tmp_path / "done")]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("gearman", *arguments), stdout=writer, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False
    )
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", 1)
    assert run("gearman", *arguments).stdout == numbers.read_bytes()


def test_each_line_is_an_object_in_order(served: Served, numbers: Path) -> None:
    done = mapped(served, "odd", "--json", "--map", numbers)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["line"] for each in documents] == list(range(1, 11))
    assert [each["state"] for each in documents] == ["exception", "complete"] * 5
    assert documents[0]["failure"] == "odd\nnumber \x1b[31m"
    assert (documents[1]["result"], documents[1]["failure"]) == ("2", None)
    assert documents[1]["handle"].startswith("H:")
    assert done.returncode == 1
    assert {each["unique"] for each in documents} == {None}
    talked = json.loads(mapped(served, "talk", "--json", "-u", "-", "--map", "-", workload=b"a").stdout)
    assert talked["unique"] == "a"
    assert (talked["data"], talked["warnings"], talked["progress"]) == (["D;"], ["W;"], [1, 2])


def test_background_jobs_are_left_once_each(gearmand: Gearmand, numbers: Path, tmp_path: Path) -> None:
    arguments = [
        "-p",
        str(gearmand.port),
        "-b",
        "-v",
        "-f",
        "nobody",
        "--map",
        str(numbers),
        "--done",
        str(tmp_path / "d"),
    ]
    done = run("gearman", *arguments)
    assert done.returncode == 0
    assert [line.split()[2] in gearmand.ask("show jobs") for line in done.stdout.decode().splitlines()] == [True] * 10
    assert run("gearman", *arguments).stdout == b""
    assert "nobody\t10\t0\t0" in gearmand.ask("status")


def test_no_server_ends_the_run_with_one_reason(served: Served, numbers: Path, tmp_path: Path) -> None:
    served.gearmand.kill()
    done = mapped(served, "upper", "--map", numbers, "--done", tmp_path / "done")
    assert (done.stdout, done.returncode, done.stderr.count(b"\n")) == (b"", 1, 1)
    assert done.stderr.startswith(b"gearman: stopped after 0 jobs: could not connect to ")
    assert (tmp_path / "done").read_bytes() == b""
    served.gearmand.start()


def test_a_server_that_dies_is_replaced_by_another(
    start_gearmand: Callable[[], Gearmand],
    start_worker: Callable[..., RunningWorker],
    wait_for: WaitFor,
    numbers: Path,
) -> None:
    servers = [start_gearmand(), start_gearmand()]

    def jobs_at(server: Gearmand) -> int:
        with connect_admin(server.address) as admin:
            return sum(row.total for row in admin.status())

    arguments = ["-h", ",".join(str(server.address) for server in servers), "-f", "f", "--map", str(numbers)]
    with subprocess.Popen(command("gearman", *arguments), stdout=subprocess.PIPE) as process:
        try:
            wait_for(lambda: sum(map(jobs_at, servers)) == 10, "all jobs at the servers")
            servers.sort(key=jobs_at)
            servers.pop().kill()
            start_worker(servers[0].address, {"f": lambda job: job.workload})
            assert process.communicate(timeout=DEADLINE_S)[0] == numbers.read_bytes()
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"1 00000000\n", "the input has changed; to begin anew, remove"),
        (b"one\n", "line 1 is no record of --map"),
        (b"3 8a9136aa\nthree\n", "line 2 is no record of --map"),
        (b"this is another file", "line 1 is no record of --map"),
        (b"99999999999 8a9136aa\n", "line 1 is no record of --map"),
        (b"\0\0\0\0", "line 1 is no record of --map"),
    ],
)
def test_a_file_that_is_not_of_this_input_is_refused(
    served: Served, numbers: Path, tmp_path: Path, contents: bytes, reason: str
) -> None:
    (tmp_path / "done").write_bytes(contents)
    done = mapped(served, "upper", "--map", numbers, "--done", tmp_path / "done")
    assert done.returncode == 1
    assert reason in done.stderr.decode()
    assert (tmp_path / "done").read_bytes() == contents


def test_what_a_kill_cut_off_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "done"
    with DoneFile(str(path)) as done:
        for number in (1, 2, 4):
            assert not done.has(number, b"line")
            done.add(number, b"line")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with DoneFile(str(path)) as done:
            kept = whole[:length].count(b"\n")
            assert [done.has(number, b"line") for number in (1, 2, 3, 4)] == [kept > 0, kept > 1, False, False]
            done.add(9, b"other")
        assert path.read_bytes().count(b"\n") == kept + 1
        with DoneFile(str(path)) as done:
            assert done.has(9, b"other")


def test_two_runs_do_not_use_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "done")
    with DoneFile(path), pytest.raises(UsageError, match="another run uses it"), DoneFile(path):
        pass


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-f", "f", "--map", "no-such-file"], "gearman: no-such-file: No such file or directory\n"),
        (["-f", "f", "--map", "/dev/null", "--done", "/no/file"], "gearman: /no/file: No such file or directory\n"),
        (["-f", "f", "--map", "/dev/null", "x"], "--map makes a job of each line"),
        (["-f", "f", "-f", "g", "--map", "/dev/null"], "--map makes a job of each line"),
        (["-f", "f", "-u", "id", "--map", "/dev/null"], "only -u - is possible"),
        (["-f", "f", "--map", "/dev/null", "--window", "0"], "--window 0: expected a number above 0"),
        (["-f", "f", "--map", "/dev/null", "--window", "99999999"], "window"),
        (["-f", "f", "--done", "x", "x"], "--done and --window belong to --map"),
        (["--map", "/dev/null"], "no function given"),
    ],
)
def test_a_wrong_map_gives_the_reason(arguments: list[str], reason: str) -> None:
    done = run("gearman", *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert reason in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., OnTerminal]]:
    """Starts `gearman` on a terminal."""
    started: list[OnTerminal] = []

    def start(*arguments: str, **options: Any) -> OnTerminal:
        started.append(OnTerminal(command("gearman", *arguments), **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_terminal_shows_a_bar_while_results_go_into_a_file(
    served: Served, tmp_path: Path, on_terminal: Callable[..., OnTerminal]
) -> None:
    (tmp_path / "input").write_bytes(b"1\n" * 3000)
    with (tmp_path / "output").open("wb") as output:
        terminal = on_terminal(
            "-p", served.port, "-f", "odd", "--map", str(tmp_path / "input"), stdout=output, columns=200
        )
        terminal.wait_for(lambda screen: "] " in screen.rows[0] and " failed, " in screen.rows[0], "a bar")
        assert terminal.end() == 1
    assert terminal.screen.rows[-2].rstrip() == "gearman: 3000 of 3000 jobs failed"
    assert not any("] " in row for row in terminal.screen.rows)


def test_results_on_a_terminal_push_the_bar_away(
    served: Served, numbers: Path, on_terminal: Callable[..., OnTerminal]
) -> None:
    terminal = on_terminal("-p", served.port, "-f", "upper", "--map", str(numbers))
    assert terminal.end() == 0
    assert [row for row in terminal.screen.rows if row.strip()] == numbers.read_text().split()
    assert b" 10 done, " in terminal.written


def test_memory_does_not_grow_with_the_input(served: Served, tmp_path: Path) -> None:
    """The process that ran with more lines needs about as much memory as the one that ran with few."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peaks = []
    for lines in (1000, 20_000):
        path = tmp_path / str(lines)
        path.write_bytes(b"0123456789" * 10 + b"\n" + b"0123456789\n" * lines)
        arguments = command("gearman", "-p", served.port, "-f", "upper", "--map", str(path), "--window", "100")
        measured = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, timeout=DEADLINE_S, check=True
        )
        peaks.append(int(measured.stdout) * 1024 // resource.getpagesize())
    assert peaks[1] - peaks[0] < 2 * 1024 * 1024 // resource.getpagesize()
