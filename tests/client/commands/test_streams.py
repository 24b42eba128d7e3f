"""The commands' streams and signals: closed, full or slow output, any locale, Ctrl-C, life without a terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client
from gearman_client.commands.streams import BLOCK_BYTES, BlockedLines

from ...gearmand import Gearmand
from ..conftest import RunningWorker
from .test_commands import ENVIRONMENT, command, run

DEADLINE_S = 60.0
WaitFor = Callable[[Callable[[], Any], str], Any]


@pytest.fixture
def served(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Gearmand:
    start_worker(gearmand.address, {"echo": lambda job: job.workload})
    return gearmand


def in_shell(line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose streams the shell arranges."""
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", *arguments],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        env=ENVIRONMENT | environment,
    )


@pytest.mark.parametrize("name", ["gearman", "gearadmin"])
@pytest.mark.parametrize("place", ["&-", " /dev/full"], ids=["closed", "full"])
def test_output_that_can_not_be_written_is_an_error(served: Gearmand, name: str, place: str) -> None:
    what = ["-f", "echo", "x"] if name == "gearman" else ["--getpid"]
    done = in_shell(f'"$@" >{place}', *command(name, "-p", str(served.port), *what))
    assert (done.stdout, done.returncode) == (b"", 1)
    reason = "Bad file descriptor" if place == "&-" else "No space left on device"
    assert done.stderr.decode() == f"{name}: standard output: {reason}\n"


def test_a_background_job_needs_no_streams(served: Gearmand) -> None:
    done = in_shell('"$@" <&- >&- 2>&-', *command("gearman", "-p", str(served.port), "-b", "-f", "nobody", "x"))
    assert done.returncode == 0
    assert "nobody\t1\t0\t0" in served.ask("status")


def test_words_keep_their_bytes_whatever_the_locale_is(served: Gearmand) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for word in ("\xe4\xdf", "\udcff\udc80"):
        arguments = command("gearman", "-p", str(served.port), "-P", "-f", "echo", word)
        assert in_shell('"$@"', *arguments, **locale).stdout == b"echo: " + os.fsencode(word)


def test_names_of_files_and_programs_keep_their_bytes_too(served: Gearmand, tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words, done = tmp_path / "wörter", tmp_path / "\udcff"
    words.write_bytes(b"one\n")
    options = ["--map", str(words), "--done", str(done), "-i", str(tmp_path / "nümmer")]
    mapped = in_shell('"$@"', *command("gearman", "-p", str(served.port), "-f", "echo", *options), **locale)
    assert (mapped.stdout, mapped.stderr, mapped.returncode) == (b"one\n", b"", 0)
    assert done.read_bytes().startswith(b"1 ")
    missing = in_shell('"$@"', *command("gearman", "-f", "f", "--map", str(tmp_path / "ä")), **locale)
    assert missing.stderr.startswith(b"gearman: ")
    assert missing.stderr.endswith(b": No such file or directory\n")


def test_output_into_a_pipe_that_does_not_block_is_whole(served: Gearmand) -> None:
    workload = bytes(1_000_000)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen(
        command("gearman", "-p", str(served.port), "-f", "echo"), stdin=subprocess.PIPE, stdout=writer
    ) as process:
        os.close(writer)
        assert process.stdin is not None
        process.stdin.write(workload)
        process.stdin.close()
        with open(reader, "rb") as output:
            assert output.read() == workload
    assert process.returncode == 0


def test_lines_leave_in_blocks_as_with_the_c_library() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines = BlockedLines(writer)
    lines.write(b"x" * BLOCK_BYTES)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    lines.write(b"yz")
    assert os.read(reader, 10_000) == b"x" * BLOCK_BYTES
    lines.flush()
    assert os.read(reader, 10_000) == b"yz"
    os.close(reader)
    os.close(writer)


def test_ctrl_c_ends_the_wait_for_input(served: Gearmand, wait_for: WaitFor) -> None:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("gearman", "-p", str(served.port), "-f", "echo", "-n"), **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.read(4) == b"one\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE_S) == (b"", b"")
        assert process.returncode == 130


def test_a_detached_worker_lives_on_until_sigterm(gearmand: Gearmand, wait_for: WaitFor, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    started = run("gearman", "-p", str(gearmand.port), "-w", "-d", "-i", str(path), "-f", "f", "--", "tr", "a", "b")
    assert (started.stdout, started.stderr, started.returncode) == (b"", b"", 0)
    wait_for(lambda: gearmand.registered("f"), "registered")
    worker = int(path.read_text())
    assert os.getsid(worker) == worker
    with Client(gearmand.address, timeout_s=DEADLINE_S) as client:
        assert client.submit("f", b"aa") == b"bb"
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: not path.exists(), "the end")


def test_the_pid_file_goes_when_sigterm_ends_a_waiting_client(
    gearmand: Gearmand, wait_for: WaitFor, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    with subprocess.Popen(
        command("gearman", "-p", str(gearmand.port), "-i", str(path), "-f", "nobody", "x")
    ) as process:
        wait_for(lambda: "nobody\t1" in gearmand.ask("status"), "queued")
        process.terminate()
        assert process.wait(DEADLINE_S) == 143
    assert not path.exists()


def test_ctrl_c_while_a_command_starts_ends_it_without_a_word(gearmand: Gearmand) -> None:
    """Interrupted when it imports a module, at each of the first ones in turn, and before it has imported any."""
    watched = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    left = int(sys.argv.pop(1))\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('gearman_client.') and name != 'gearman_client.commands.starting':\n"
        "            self.left -= 1\n"
        "            if self.left == 0:\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "from gearman_client.commands.starting import gearman\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.exit(gearman())\n"
    )
    words = ["-p", str(gearmand.port), "-f", "nobody", "x"]
    for number in (1, 5, 10, 20):
        done = subprocess.run(
            [sys.executable, "-c", watched, str(number), *words],
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
            env=ENVIRONMENT,
        )
        assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 130)
    at_once = (
        "import os\nfrom gearman_client.commands.starting import gearman\nos.kill(os.getpid(), 2)\nprint('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", at_once], capture_output=True, check=False, env=ENVIRONMENT)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 130)


def test_a_command_that_ignores_sigint_goes_on_to_do_so(served: Gearmand) -> None:
    """As the shell has it for a program in the background of a script."""
    command = [str(Path(sys.executable).parent / "gearman"), "-p", str(served.port), "-f", "echo"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    assert process.communicate(b"word", timeout=DEADLINE_S)[0] == b"word"
    assert process.returncode == 0
