"""`gearman-manager top` in a real terminal, with a real manager: keys are pressed, and processes change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ..terminal import CTRL_C, DOWN, ENTER, ESCAPE, Terminal, running
from .conftest import BIN, DEADLINE_S, GATE, RunningManager, alive

#: Acts on terminals, turns the direction of writing, and is markup of the library that draws.
ACTS = "\x1b]0;title\x07\x1b[2J\x9b2J cod\u202eyp.exe [red]not red[/red] [@click=app.quit]x[/]"
SHOWN = "\\x1b]0;title\\x07\\x1b[2J\\x9b2J"
HOSTILE = f"""
from gearman_manager import function


@function(name="bad[bold]x[/]")
def hostile(job):
    job.log.warning("%s logged", {ACTS!r})
    raise ValueError({ACTS!r} + "long " * 200_000)
"""
CONFIG = """
pools:
  gate: {functions: [gate], min: 1, max: 2}
  mail: {functions: ["bad[bold]x[/]"], min: 2, max: 2}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with two pools, one of which fails."""
    made = RunningManager(tmp_path_factory.mktemp("site"))
    made.write_module("gate.py", GATE)
    made.write_module("mail.py", HOSTILE)
    try:
        yield made.start(CONFIG)
    finally:
        made.destroy()


def top(manager: RunningManager, columns: int = 80, lines: int = 24, **env: str) -> AbstractContextManager[Terminal]:
    command: list[str | Path] = [BIN / "gearman-manager", "-c", manager.config_file, "top"]
    return running(command, columns, lines, **env)


def row(terminal: Terminal, name: str) -> list[str]:
    """The words of the line of a pool or worker; without the mark of the chosen one."""
    return next((line[2:].split() for line in terminal.lines if line[2:].startswith(name + " ")), [])


def pids(manager: RunningManager, pool: str) -> set[int]:
    return {worker["pid"] for worker in manager.workers(pool)}


def test_pools_are_shown_and_steered_by_keys(site: RunningManager) -> None:
    with top(site) as terminal:
        terminal.until(lambda: row(terminal, "gate") and row(terminal, "mail"))
        assert row(terminal, "gate")[1:4] == ["running", "1", "0"]  # idle, busy
        assert terminal.lines[0].startswith("all is well  2 pools, 3 workers, 0 busy")
        assert all(line.startswith(">") == ("gate" in line) for line in terminal.lines[2:4])
        terminal.press("s")
        terminal.until("How many workers for gate?")
        terminal.press("2..2", ENTER)
        terminal.until("gate: 2..2 workers, until a reload")
        terminal.until(lambda: row(terminal, "gate")[2] == "2")
        assert len(site.workers("gate")) == 2
        terminal.press(DOWN, "p")
        terminal.until("Pause mail?")
        terminal.press("n")
        terminal.until("nothing was done")
        assert site.status()["pools"]["mail"]["state"] == "running"
        before = pids(site, "mail")
        terminal.press("p")
        terminal.until("Pause mail?")
        terminal.press("y")
        terminal.until("mail is paused")
        terminal.until("-  pool mail: paused by hand")
        terminal.until(lambda: not any(alive(pid) for pid in before))
        terminal.press("u")
        terminal.until(lambda: row(terminal, "mail")[1:3] == ["running", "2"])
        before = pids(site, "mail")
        terminal.press("r")
        terminal.until("Replace the workers of mail")
        terminal.press("y")
        terminal.until("restarting mail")
        terminal.until(lambda: not before & pids(site, "mail") and site.settled())
        terminal.press("s")
        terminal.until("How many workers for mail?")
        terminal.press("many", ENTER)
        terminal.until("many is no size")
        terminal.press("L")
        terminal.until("Load configuration and code anew?")
        terminal.press("y")
        terminal.until(lambda: site.status()["pools"]["gate"]["min"] == 1)  # the size is that of the file again
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.is_restored


def test_a_worker_is_replaced_and_its_job_is_stopped(site: RunningManager) -> None:
    with site.client() as client, top(site, 120) as terminal:
        handle = client.submit_background("gate", str(site.folder / "never"))
        terminal.until(lambda: row(terminal, "gate")[4:5] == ["1"])  # from 90 columns on the size is shown
        terminal.press(ENTER)
        terminal.until("WORKER")
        terminal.until(handle)
        (worker,) = [worker for worker in site.workers("gate") if worker["jobs"]]
        terminal.press("k")  # from now on it stays chosen, wherever its row is
        assert row(terminal, worker["name"])[1:4] == [str(worker["pid"]), "busy", "gate"]
        terminal.press("x")
        terminal.until(f"Stop the job that {worker['name']} runs, gate {handle}?")
        terminal.press("y")
        terminal.until("is stopped")
        terminal.until(lambda: not any(each["jobs"] for each in site.workers("gate")))
        terminal.until(lambda: row(terminal, worker["name"])[2] == "idle")
        terminal.press("x")
        terminal.until("there is no job to stop")
        terminal.press("r")
        terminal.until(f"Replace {worker['name']}?")
        terminal.press("y")
        terminal.until("is replaced once its job is done")
        terminal.until(lambda: worker["pid"] not in pids(site, "gate") and site.settled())
        assert not alive(worker["pid"])
        terminal.press(ESCAPE)
        terminal.until("POOL")
        terminal.press(CTRL_C)
        assert terminal.wait() == 0
        assert terminal.is_restored


def test_rows_are_found_and_sorted_and_help_is_there(site: RunningManager) -> None:
    with top(site, NO_COLOR="1") as terminal:
        terminal.until(lambda: row(terminal, "mail"))
        terminal.press("<", "i")  # by name, from z to a
        terminal.until(lambda: terminal.text.index("mail ") < terminal.text.index("gate "))
        terminal.press("/", "gat")
        terminal.until_gone("mail  ")
        terminal.press(ENTER)
        terminal.until("/gat: 1 of 2")
        terminal.press(ESCAPE)
        terminal.until(lambda: row(terminal, "mail"))
        terminal.press("?")
        terminal.until("R: replace all workers")
        terminal.press(ESCAPE)
        terminal.until(lambda: row(terminal, "mail"))
        for columns, lines in ((30, 6), (8, 3), (160, 40)):
            terminal.resize(columns, lines)
            terminal.until(lambda: "POOL" in terminal.text and len(terminal.lines) > 2)
        terminal.until("WHY")
        os.kill(terminal.process.pid, signal.SIGTERM)
        assert terminal.wait() == 0
        assert terminal.is_restored
        colours = {
            int(n) for codes in re.findall(rb"\x1b\[([0-9;]*)m", terminal.written) for n in codes.split(b";") if n
        }
        assert colours <= {0, 1, 2, 4, 7, 39, 49}  # bold, dim, underlined, reverse, and the terminal's own


def test_names_errors_and_logs_do_not_act_on_the_terminal(site: RunningManager) -> None:
    # So high that the line which is looked for is there above the error, whichever of them comes first on the screen.
    with site.client(timeout_s=DEADLINE_S) as client, top(site, 120, 60) as terminal:
        client.submit_background("bad[bold]x[/]", b"")
        terminal.until(lambda: row(terminal, "mail"))
        terminal.press(DOWN)
        terminal.until("bad[bold]x[/]")
        terminal.press("l")
        terminal.until("The log of mail")
        terminal.until(f"{SHOWN} cod\\u202eyp.exe [red]not red[/red] [@click=app.quit]x[/]")
        terminal.press(ESCAPE)
        terminal.until("POOL")
        site.write_module("broken.py", f"raise ValueError({ACTS!r})\n")
        terminal.until(lambda: "NOT ALL IS WELL" in terminal.lines[0] and "code " in terminal.lines[1])
        terminal.press("t")
        terminal.until(SHOWN)
        (site.workers_dir / "broken.py").unlink()
        terminal.until("There is none.")
        terminal.press("q")
        terminal.wait()
        written = terminal.written.decode().replace("\x1b]22;default\x07", "")  # the shape of the mouse's pointer
        assert not re.search("\x1b\\]|\x07|\x9b|\u202e|\x1b\\[2J", written)


def test_without_a_terminal_or_without_textual_it_says_what_to_do(napping: RunningManager) -> None:
    napping.config_file.write_text("run_dir: run\nserver: {}\n")
    refused = napping.command("top", check=False)
    assert (refused.returncode, "`gearman-manager status` needs none" in refused.stderr) == (1, True)
    with top(napping, TERM="dumb") as terminal:
        assert terminal.wait() == 1
        assert "TERM is dumb" in terminal.text
    with top(napping) as terminal:
        assert terminal.wait() == 1
        assert "no manager runs" in terminal.text
    without = "import sys; sys.modules['textual'] = None; from gearman_manager.command.command_line import main; main()"
    with running([sys.executable, "-c", without, "-c", napping.config_file, "top"]) as terminal:
        assert terminal.wait() == 1
        assert "pip install 'gearman-manager[top]'" in terminal.text.replace("\n", "")


def test_no_other_command_imports_what_draws() -> None:
    program = (
        "import sys\nfrom gearman_manager.command.command_line import main\n"
        "try:\n    main(['status', '--help'])\nfinally:\n"
        "    assert not {'textual', 'gearman_manager.top'} & sys.modules.keys(), 'imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "imported" in done.stderr) == (0, False)


# The last one: its manager ends.
def test_a_manager_that_is_gone_is_told_and_one_that_is_back_goes_on(site: RunningManager) -> None:
    with top(site) as terminal:
        terminal.until(lambda: row(terminal, "gate"))
        site.destroy()
        terminal.until("NO ANSWER, asking again and again")
        assert row(terminal, "gate")  # as it was last
        terminal.press("u")
        terminal.until("no manager runs")
        site.launch()
        terminal.until("the manager is back", DEADLINE_S)
        assert site.process is not None
        terminal.until(f"pid {site.process.pid}")
        terminal.press("D")
        terminal.until("How long may running jobs take?")
        terminal.press("10s", ENTER)
        terminal.until("End this manager?")
        terminal.press("y")
        assert site.process.wait(DEADLINE_S) == 0
        terminal.press("q")
        assert terminal.wait() == 0
