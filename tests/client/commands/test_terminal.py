"""The commands on a terminal: progress as a bar, tables, --watch, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client, WorkerJob

from ...gearmand import Gearmand
from ..conftest import RunningWorker
from .pseudo_terminal import OnTerminal

Start = Callable[..., OnTerminal]


@pytest.fixture
def on_terminal() -> Iterator[Start]:
    """Starts commands on terminals of their own: on_terminal("gearman", "-f", "f", columns=40)."""
    started: list[OnTerminal] = []

    def start(name: str, *arguments: str, **options: Any) -> OnTerminal:
        command = [sys.executable, "-m", f"gearman_client.commands.{name}", *arguments]
        started.append(OnTerminal(command, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def shown(terminal: OnTerminal) -> list[str]:
    """The lines on the screen that are not empty."""
    return [row.rstrip() for row in terminal.screen.rows if row.strip()]


def half_way(job: WorkerJob) -> bytes:
    """Report half of the work, and wait for a file to appear."""
    job.status(1, 2)
    wait = Path(job.workload.decode())
    while not wait.exists():
        time.sleep(0.01)
    job.warning(b"careful\n")
    job.data(b"data ")
    job.status(2, 2)
    return b"result\n"


@pytest.fixture
def served(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Gearmand:
    start_worker(gearmand.address, {"half": half_way})
    return gearmand


def test_progress_is_a_bar_that_makes_room_for_results(served: Gearmand, on_terminal: Start, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    terminal = on_terminal("gearman", "-p", str(served.port), "-f", "half", str(go_on), columns=200)
    terminal.wait_for(lambda screen: screen.rows[0] == f"half [{'#' * 20}{'.' * 20}]  50%", "a bar at half")
    go_on.touch()
    assert terminal.end() == 0
    assert shown(terminal) == ["careful", "data", "result"]
    assert f"[{'#' * 40}] 100%".encode() in terminal.written


def test_a_bar_fits_a_narrow_terminal_and_ctrl_c_takes_it_away(
    served: Gearmand, on_terminal: Start, tmp_path: Path
) -> None:
    terminal = on_terminal("gearman", "-p", str(served.port), "-f", "half", str(tmp_path / "go"), columns=30)
    terminal.wait_for(lambda screen: "50%" in screen.rows[0], "a bar at half")
    assert len(terminal.screen.rows[0]) < 30
    assert terminal.interrupt() == 130
    assert shown(terminal) == []
    (tmp_path / "go").touch()


def test_a_pipe_gets_lines_even_if_the_rest_is_a_terminal(served: Gearmand, on_terminal: Start, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with (tmp_path / "output").open("wb") as output:
        terminal = on_terminal(
            "gearman", "-p", str(served.port), "-f", "half", str(tmp_path / "go"), columns=200, stdout=output
        )
        assert terminal.end() == 0
    assert (tmp_path / "output").read_bytes() == b"data result\n50% Complete\n100% Complete\n"
    assert shown(terminal) == ["careful"]


def fill(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client:
        for function in ("zebra", "ape", "d\udcff\x1b[31m"):
            client.submit_background(function, b"x", unique=f"the {function}")


def test_a_terminal_shows_tables_in_the_order_of_the_alphabet(gearmand: Gearmand, on_terminal: Start) -> None:
    fill(gearmand)
    terminal = on_terminal("gearadmin", "-p", str(gearmand.port), "--getpid", "--status", "--show-unique-jobs")
    assert terminal.end() == 0
    rows = shown(terminal)
    assert rows[:2] == [str(gearmand.pid), "UNIQUE ID"]
    assert sorted(rows[2:5]) == ["the ape", r"the d\xff\x1b[31m", "the zebra"]
    assert rows[5:] == [
        "FUNCTION       JOBS  WAITING  RUNNING  WORKERS",
        "ape               1        1        0        0",
        r"d\xff\x1b[31m     1        1        0        0",
        "zebra             1        1        0        0",
    ]


def test_tables_of_several_servers_name_the_server(start_gearmand: Callable[[], Gearmand], on_terminal: Start) -> None:
    one, two = start_gearmand(), start_gearmand()
    fill(one)
    two.kill()
    terminal = on_terminal(
        "gearadmin", "-h", f"{one.address},{two.address}", "--server-version", "--workers", columns=200
    )
    assert terminal.end() == 1
    rows = shown(terminal)
    assert rows[0].startswith(f"{one.address}  ")
    assert rows[1].split() == ["SERVER", "FD", "ADDRESS", "CLIENT", "ID", "FUNCTIONS"]
    assert rows[2].startswith(f"{one.address}")
    assert rows[3].startswith(f"gearadmin: could not connect to {two.address}: ")


def test_watch_draws_the_screen_anew_and_gives_the_terminal_back(gearmand: Gearmand, on_terminal: Start) -> None:
    terminal = on_terminal("gearadmin", "-p", str(gearmand.port), "--status", "--watch", "0.1")
    before = termios.tcgetattr(terminal.file)
    terminal.wait_for(lambda screen: "FUNCTION" in screen.rows[2], "a table")
    assert "gearadmin --status every 0.1 s" in terminal.screen.rows[0]
    assert (terminal.screen.is_other, terminal.screen.shows_cursor) == (True, False)
    fill(gearmand)
    terminal.wait_for(lambda screen: screen.rows[5].startswith("zebra"), "the new functions")
    gearmand.kill()
    terminal.wait_for(lambda screen: any(row.startswith("gearadmin: ") for row in screen.rows), "the reason")
    gearmand.start()
    terminal.wait_for(lambda screen: screen.rows[2:4] == ["FUNCTION  JOBS  WAITING  RUNNING  WORKERS", ""], "back")
    assert terminal.interrupt() == 130
    assert (terminal.screen.is_other, terminal.screen.shows_cursor) == (False, True)
    assert termios.tcgetattr(terminal.file) == before
    assert shown(terminal) == []


def test_watch_fits_the_terminal_follows_its_size_and_ends_with_q(gearmand: Gearmand, on_terminal: Start) -> None:
    fill(gearmand)
    terminal = on_terminal("gearadmin", "-p", str(gearmand.port), "--status", "--watch=1000", columns=20, lines=5)
    terminal.wait_for(lambda screen: screen.rows[4] == "(2 more lines)", "a screen that is too small")
    assert terminal.screen.rows[2].rstrip() == "FUNCTION       JOBS"
    terminal.resize(80, 24)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.wait_for(lambda screen: screen.rows[5].startswith("zebra"), "the whole table")
    terminal.type(b"xq")
    assert terminal.end() == 0


def test_sigterm_gives_the_terminal_back(gearmand: Gearmand, on_terminal: Start) -> None:
    terminal = on_terminal("gearadmin", "-p", str(gearmand.port), "--status", "--watch", "1000")
    terminal.wait_for(lambda screen: "FUNCTION" in screen.rows[2], "a table")
    terminal.process.terminate()
    assert terminal.end() == 143
    assert (terminal.screen.is_other, terminal.screen.shows_cursor) == (False, True)


def test_watch_writes_blocks_into_a_pipe(gearmand: Gearmand) -> None:
    command = [sys.executable, "-m", "gearman_client.commands.gearadmin", "-p", str(gearmand.port), "--watch", "0.1"]
    with subprocess.Popen([*command, "--getpid", "--status"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline().startswith(b"# 20")
            assert [process.stdout.readline() for _ in range(2)] == [b"%d\n" % gearmand.pid, b".\n"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--status", "--watch", "soon"], b"--watch soon: expected seconds from 0.1 to 86400"),
        (["--status", "--watch", "0"], b"--watch 0: expected seconds"),
        (["--status", "--watch", "1", "2"], b"--watch 1 2: expected seconds"),
        (["--watch", "--drop-function", "f"], b"leave out --drop-function"),
    ],
)
def test_a_wrong_watch_gives_the_reason(arguments: list[str], reason: bytes) -> None:
    command = [sys.executable, "-m", "gearman_client.commands.gearadmin", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert reason in done.stderr
