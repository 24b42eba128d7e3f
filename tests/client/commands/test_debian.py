"""Our commands and those of Debian's package gearman-tools with the same arguments: the same bytes and exit codes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearman_client import Address, Client, JobFailed, WorkerJob, connect_admin

from ...gearmand import Gearmand, PerlServer
from ...server.server_process import ServerProcess
from ..conftest import RunningWorker

DEADLINE_S = 60.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
HANDLE = re.compile(rb"H:[\w.-]+:\d+")
#: Enough progress for several blocks of the C library's output.
STEPS = 1000

pytestmark = pytest.mark.skipif(
    not (os.path.exists("/usr/bin/gearman") and os.path.exists("/usr/bin/gearadmin")),
    reason="Debian's commands are not installed (apt-get install gearman-tools)",
)


class Done(NamedTuple):
    """What a command left behind; handles are replaced, since each job has its own."""

    output: bytes
    errors: bytes
    code: int


def theirs(name: str) -> list[str]:
    return [f"/usr/bin/{name}"]


def ours(name: str) -> list[str]:
    return [sys.executable, "-m", f"gearman_client.commands.{name}"]


def run(command: Sequence[str], *arguments: str | bytes, workload: bytes = b"") -> Done:
    done = subprocess.run(
        [*command, *arguments],
        input=workload,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        env=ENVIRONMENT,
    )
    return Done(HANDLE.sub(b"H:x:0", done.stdout), done.stderr, done.returncode)


def talk(job: WorkerJob) -> bytes:
    job.data(b"D;")
    job.warning(b"W;")
    job.status(1, 3)
    job.data(b"E\n")
    job.status(2, 3)
    return b"R(" + job.workload + b")"


def steps(job: WorkerJob) -> bytes:
    for step in range(STEPS):
        job.status(step, STEPS)
        if step % 100 == 0:
            job.data(b"<%d>" % step)
    return b"end"


def fail_after_data(job: WorkerJob) -> None:
    job.data(b"half")
    job.status(1, 2)
    job.fail()


FUNCTIONS: dict[str, Callable[[WorkerJob], Any]] = {
    "upper": lambda job: job.workload.upper(),
    "mark": lambda job: b"[" + job.workload + b"]\n",
    "unique": lambda job: job.unique,
    "talk": talk,
    "steps": steps,
    "fail": lambda job: job.fail(),
    "half": fail_after_data,
    "empty": lambda job: b"",
    "f\udcff": lambda job: b"\xff" + job.workload,
}


class Place(NamedTuple):
    """A job server."""

    address: Address
    pid: int

    @property
    def options(self) -> list[str]:
        return ["-h", self.address.host, "-p", str(self.address.port)]

    def queued(self, function: str) -> bool:
        with connect_admin(self.address) as admin:
            return any(row.function == function and row.total for row in admin.status())

    def offered(self, function: str) -> bool:
        with connect_admin(self.address) as admin:
            return any(row.function == function and row.workers for row in admin.status())


@pytest.fixture(params=["gearmand", "gearman-server"])
def place(request: pytest.FixtureRequest, start_gearmand: Callable[[], Gearmand]) -> Iterator[Place]:
    """Debian's job server, and ours."""
    if request.param == "gearmand":
        gearmand = start_gearmand()
        yield Place(gearmand.address, gearmand.pid)
        return
    server = ServerProcess()
    yield Place(Address("127.0.0.1", server.port), server.pid)
    server.stop()


@pytest.fixture
def served(place: Place, start_worker: Callable[..., RunningWorker]) -> Place:
    """A job server with a worker."""
    start_worker(place.address, FUNCTIONS)
    return place


JOBS: Sequence[tuple[Sequence[str | bytes], bytes]] = [
    (["-f", "upper", "a", "b", "c"], b""),
    (["-fupper", "a"], b""),
    (["a", "-f", "upper", "b", "-P"], b""),
    (["-f", "upper"], b"two\nlines\n"),
    (["-f", "upper"], b""),
    (["-f", "upper"], bytes(range(256))),
    (["-f", "upper"], b"x" * 300_000),
    (["-f", "upper", b"\xff\xfe"], b""),
    (["-f", b"f\xff", "x"], b""),
    (["-P", "-f", b"f\xff", "x"], b""),
    (["-f", "upper", "-s"], b"not read"),
    (["-f", "upper", "-s", "a"], b"not read"),
    (["-f", "upper", "--", "-x", "--", "-f"], b""),
    (["-f", "mark", "-n"], b"one\ntwo\n\nfour\n"),
    (["-f", "mark", "-n"], b"one\ntwo"),
    (["-f", "mark", "-N"], b"one\ntwo\n"),
    (["-f", "mark", "-nN"], b"one\ntwo\n"),
    (["-f", "mark", "-N", "word"], b"one\n"),
    (["-f", "mark", "-N"], b""),
    (["-f", "talk", "x"], b""),
    (["-f", "talk", "x", "y"], b""),
    (["-P", "-f", "talk", "x", "y"], b""),
    (["-v", "-f", "talk", "x", "y"], b""),
    (["-vP", "-f", "talk", "x", "y"], b""),
    (["-f", "steps", "x"], b""),
    (["-P", "-f", "steps", "x"], b""),
    (["-f", "fail", "x", "y"], b""),
    (["-P", "-f", "fail", "x"], b""),
    (["-f", "half", "x"], b""),
    (["-f", "empty", "x"], b""),
    (["-P", "-f", "empty", "x"], b""),
    (["-u", "id", "-f", "unique", "x"], b""),
    (["-u", "-", "-f", "unique", "x"], b""),
    (["-u", b"u\xff", "-f", "unique", "x"], b""),
    *[(["-u", "#", "-f", "unique", workload], b"") for workload in ("a", "ab", "abc", "abcd", "arg", "hello12345")],
    (["-I", "-f", "upper", "x"], b""),
    (["-L", "-f", "upper", "x"], b""),
    (["-t", "30000", "-f", "upper", "x"], b""),
    (["-b", "-f", "nobody", "x", "y"], b""),
    (["-bv", "-f", "nobody", "x", "y"], b""),
    (["-bv", "-f", "nobody", "-f", "noone", "x"], b""),
    (["-bvn", "-f", "nobody"], b"line\n" * 3),
    (["-d", "-b", "-v", "-f", "nobody", "x"], b""),
]


def test_a_job_leaves_the_same_bytes(served: Place) -> None:
    for arguments, workload in JOBS:
        expected = run(theirs("gearman"), *served.options, *arguments, workload=workload)
        assert run(ours("gearman"), *served.options, *arguments, workload=workload) == expected, arguments


#: Pieces of a command line that go together in any order.
PIECES: list[list[str]] = [
    *[[option] for option in ("-P", "-v", "-s", "-n", "-N", "-I", "-L", "-nP", "-vP", "-sv", "-t30000")],
    *[["-u", unique] for unique in ("-", "#", "id")],
    ["-c", "3"],
    *[[word] for word in ("a", "two words", "-", "é", "\udcff")],
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    function=st.sampled_from(["upper", "mark", "talk", "half", "fail", "empty"]),
    pieces=st.lists(st.sampled_from(PIECES), max_size=6),
    rest=st.sampled_from([[], ["--"], ["--", "-x", "--"], ["--", "y"]]),
    lines=st.lists(st.binary(min_size=1, max_size=50).filter(lambda line: not {0, 10} & set(line)), max_size=4),
)
def test_any_mixture_of_options_leaves_the_same_bytes(
    served: Place, function: str, pieces: list[list[str]], rest: list[str], lines: list[bytes]
) -> None:
    arguments = [*served.options, *[word for piece in pieces for word in piece], "-f", function, *rest]
    workload = b"".join(line + b"\n" for line in lines)
    expected = run(theirs("gearman"), *arguments, workload=workload)
    assert run(ours("gearman"), *arguments, workload=workload) == expected


def test_stdbuf_brings_the_lines_in_order(served: Place) -> None:
    for command in (theirs("gearman"), ours("gearman")):
        done = run(["/usr/bin/stdbuf", "-oL", *command], *served.options, "-f", "talk", "x")
        assert done.output == b"D;33% Complete\nE\n66% Complete\nR(x)"


def test_jobs_of_several_functions_leave_the_same_pieces(served: Place) -> None:
    def pieces(command: list[str]) -> tuple[list[bytes], bytes, int]:
        done = run(command, *served.options, "-P", "-f", "mark", "-f", "half", "-f", "empty", "x")
        return sorted(re.split(rb"(?=mark: |half: |empty: )", done.output)), done.errors, done.code

    assert pieces(ours("gearman")) == pieces(theirs("gearman"))


@pytest.mark.parametrize("options", [["-I"], ["-L"], [], ["-I", "-L"], ["-L", "-I"]], ids=" ".join)
def test_priorities_and_numbers_of_jobs_are_the_same(place: Place, options: list[str]) -> None:
    for name, command in (("a", theirs("gearman")), ("b", ours("gearman"))):
        assert run(command, *place.options, "-b", *options, "-f", name, "x", "y").code == 0
    with connect_admin(place.address) as admin:
        counts = {row.function: (row.high, row.normal, row.low) for row in admin.priority_status()}
    assert counts["a"] == counts["b"] != (0, 0, 0)


@pytest.mark.parametrize("arguments", [[], ["x"], ["-w"], ["-f"], ["-Q", "-f", "f", "x"], ["-f", "f", "-t"]], ids=str)
def test_a_wrong_command_line_writes_no_result_and_ends_with_1_in_both(arguments: list[str]) -> None:
    for command in (theirs("gearman"), ours("gearman")):
        done = run(command, *arguments)
        assert (done.output, done.code) == (b"", 1)
        assert done.errors


#: Where Debian's tool has a defect: arguments, input, its output, and ours with the exit code. Its exit code is 0.
DEFECTS: list[tuple[list[str], bytes, bytes, bytes, int]] = [
    (["-f", "mark", "-N"], b"one\ntwo", b"[one]\n[tw]\n", b"[one]\n[two]\n", 0),
    (["-f", "mark", "-n"], b"a\0b\n", b"[a]\n", b"[a\0b\n]\n", 0),
    (["-f", "mark", ""], b"", b"", b"[]\n", 0),
    (["-t", "200", "-f", "nobody", "x"], b"", b"", b"", 1),
]


@pytest.mark.parametrize(("arguments", "workload", "output_of_theirs", "output", "code"), DEFECTS)
def test_the_defects_of_debians_tool_are_not_ours(
    served: Place, arguments: list[str], workload: bytes, output_of_theirs: bytes, output: bytes, code: int
) -> None:
    done = run(theirs("gearman"), *served.options, *arguments, workload=workload)
    assert (done.output, done.code) == (output_of_theirs, 0)
    done = run(ours("gearman"), *served.options, *arguments, workload=workload)
    assert (done.output, done.code) == (output, code)


@contextlib.contextmanager
def working(command: Sequence[str], place: Place, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the command that ends by itself."""
    with subprocess.Popen(
        [*command, *place.options, "-w", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as worker:
        try:
            yield worker
        finally:
            worker.kill()


WORKERS = [
    ["-c", "2", "-f", "work"],
    ["-c", "2", "-v", "-f", "work"],
    ["-c", "2", "-f", "work", "cat"],
    ["-c", "2", "-f", "work", "-f", "other", "--", "tr", "a-z", "A-Z"],
    ["-c", "2", "-t", "30000", "-f", "work", "--", "sh", "-c", "cat; echo oops >&2; printf part"],
    ["-c", "2", "-P", "-f", "work", "wc", "--", "-c"],
]


@pytest.mark.parametrize("arguments", WORKERS, ids=" ".join)
def test_a_worker_leaves_the_same_bytes(place: Place, arguments: list[str]) -> None:
    def served_by(command: list[str]) -> tuple[Any, ...]:
        with working(command, place, *arguments) as worker, Client(place.address, timeout_s=DEADLINE_S) as client:
            pieces: list[bytes] = []
            for workload in (b"one", b"two\nlines"):
                pieces.append(client.submit("work", workload, on_data=pieces.append, on_warning=pieces.append))
            return pieces, worker.communicate(timeout=DEADLINE_S), worker.returncode

    assert served_by(ours("gearman")) == served_by(theirs("gearman"))


def test_a_worker_sends_lines_and_the_output_of_a_failure_as_debians_does(place: Place) -> None:
    """One line: of several, Debian's worker repeats the first. Its worker ends after a failed job, and ours goes on."""
    for option in ("-n", "-N"):
        assert [
            reported(place, command, option, "--", "echo", "line") for command in (theirs("gearman"), ours("gearman"))
        ] == [[b"line\n" if option == "-n" else b"line", b""]] * 2
    for command in (theirs("gearman"), ours("gearman")):
        assert reported(place, command, "--", "sh", "-c", "echo part; exit 3") == [b"part\n", JobFailed]


def reported(place: Place, command: list[str], *arguments: str) -> list[Any]:
    """What a client gets from one job of the worker: data, then the result or the failure's class."""
    pieces: list[Any] = []
    with (
        working(command, place, "-c", "1", "-f", "work", *arguments),
        Client(place.address, timeout_s=DEADLINE_S) as client,
    ):
        try:
            pieces.append(client.submit("work", b"x", on_data=pieces.append))
        except JobFailed:
            pieces.append(JobFailed)
    return pieces


def test_the_pid_file_is_there_while_the_command_runs(
    place: Place, tmp_path: Path, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    for name, command in (("theirs", theirs("gearman")), ("ours", ours("gearman"))):
        path = tmp_path / name
        with working(command, place, "-c", "1", "-f", name, "-i", str(path)) as worker:
            wait_for(partial(place.offered, name), "registered")
            assert path.read_text() == f"{worker.pid}\n"
            assert run(ours("gearman"), *place.options, "-f", name, "x").code == 0
            assert worker.wait(DEADLINE_S) == 0
        assert not path.exists()
        missing = run(command, *place.options, "-i", str(tmp_path / "no/file"), "-f", name, "x")
        assert (missing.output, missing.code) == (b"", 1)


ACTIONS: list[list[str | bytes]] = [
    ["--getpid"],
    ["--server-version"],
    ["--server-verbose"],
    ["--status"],
    ["--stat"],
    ["--priority-status"],
    ["--show-jobs"],
    ["--show-unique-jobs"],
    ["--status", "--server-version", "--show-jobs", "--getpid", "--priority-status", "--server-verbose"],
    ["--create-function", "abc"],
    ["--create-function=abc"],
    ["--status", "--create-function", "abd", "--getpid"],
    ["--drop-function", "no-such"],
    ["--cancel-job", "H:x:1"],
    ["--cancel-job", "x", "--drop-function", "no-such", "--status", "--getpid"],
    ["--create-function", b"f\xff"],
]


def test_gearadmin_leaves_the_same_bytes(place: Place) -> None:
    with Client(place.address) as client:
        for number in range(3):
            client.submit_background("resize", b"x", unique=f"id {number}")
        client.submit_background("f\udcff", b"x", unique="u\udcff", priority="high")
    for actions in ACTIONS:
        expected = run(theirs("gearadmin"), *place.options, *actions)
        done = run(ours("gearadmin"), *place.options, *actions)
        assert (done.output, done.errors) == (expected.output, expected.errors), actions
        assert done.code == (1 if expected.errors else 0), actions


def test_gearadmin_drops_functions_cancels_jobs_and_shows_workers_as_debians_does(
    place: Place,
    start_worker: Callable[..., RunningWorker],
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    with Client(place.address) as client:
        handles = [client.submit_background("resize", b"x") for _ in range(2)]
    cancelled = [
        run(command("gearadmin"), *place.options, "--cancel-job", handle)
        for command, handle in zip((theirs, ours), handles, strict=True)
    ]
    assert cancelled[0] == cancelled[1] == (b"OK\n", b"", 0)
    dropped = []
    for command in (theirs, ours):
        run(command("gearadmin"), *place.options, "--create-function", "gone")
        dropped.append(run(command("gearadmin"), *place.options, "--drop-function", "gone"))
    assert dropped[0] == dropped[1] == (b"OK\n", b"", 0)
    start_worker(place.address, {"a": lambda job: b"", "b": lambda job: b""})
    wait_for(lambda: place.offered("a") and place.offered("b"), "registered")
    shown = [run(command("gearadmin"), *place.options, "--workers") for command in (theirs, ours)]
    # The connection that asks is on the list too; it has another number each time.
    assert shown[0].output.count(b"\n") == 3
    # Nor is there an order: Perl's server has them in a hash.
    assert len({tuple(sorted(re.sub(rb"^\d+ ", b"", each.output, flags=re.M).splitlines())) for each in shown}) == 1


@pytest.mark.parametrize("actions", [[], ["--shutdown"], ["--serv"], ["--create-function"]], ids=str)
def test_a_wrong_command_line_of_gearadmin_ends_with_1_in_both(actions: list[str]) -> None:
    for command in (theirs("gearadmin"), ours("gearadmin")):
        assert run(command, *actions).code == 1


def test_perls_server_serves_our_commands_too(tmp_path: Path) -> None:
    """Debian's worker can't work for it: it asks with GRAB_JOB_ALL. The text commands that it lacks are refusals."""
    server = PerlServer(tmp_path)
    try:
        server.start()
        place = Place(server.address, server.pid)
        with working(ours("gearman"), place, "-c", "4", "-f", "work", "--", "tr", "a-z", "A-Z"):
            for command in (theirs("gearman"), ours("gearman")):
                assert run(command, *place.options, "-f", "work", "word") == (b"WORD", b"", 0)
            mapped = run(ours("gearman"), *place.options, "-f", "work", "--map", "-", workload=b"a\nb\n")
            assert mapped == (b"A\nB\n", b"", 0)
        for action in ("--status", "--server-version", "--show-jobs"):
            expected, done = (run(command("gearadmin"), *place.options, action) for command in (theirs, ours))
            assert (done.output, done.errors) == (expected.output, expected.errors)
    finally:
        server.kill()
