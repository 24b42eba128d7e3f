"""Going to the background, in real processes: how long the command waits, how it ends, and what its child keeps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gearman_process.background import StartingChild

DEADLINE_S = 20


def run(child: str, *, options: str = "", pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command whose child runs this code; its exit code is 10 when the child is up, else the child's."""
    program = f"""
import os, signal, sys
from gearman_process.background import detach
print("before", end="")
say_up = detach(lambda child: 10 if child.gets_up() else child.exit_code() % 100{options})
{child}
os._exit(3)
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, pass_fds=pass_fds)


def test_the_command_ends_when_the_child_is_up_and_the_child_has_left_the_terminal() -> None:
    ours, theirs = os.pipe()
    child = f"say_up(); os.write({theirs}, b'%s %d' % (os.readlink(b'/proc/self/fd/2'), os.getsid(0) == os.getpid()))"
    ended = run(child, pass_fds=(theirs,))
    os.close(theirs)
    assert (ended.returncode, ended.stdout, ended.stderr) == (10, "before", "")
    with open(ours) as said:
        assert said.read() == "/dev/null 1"


@pytest.mark.parametrize(
    ("child", "code"), [("os._exit(7)", 7), ("os._exit(0)", 0), ("os.kill(os.getpid(), signal.SIGKILL)", 100 - 9)]
)
def test_the_command_can_tell_a_child_that_ended_early_from_one_that_is_up(child: str, code: int) -> None:
    assert run(child).returncode == code


def test_a_child_that_is_not_up_yet_writes_to_the_commands_outputs() -> None:
    assert run("os.write(2, b'can not start'); os._exit(1)").stderr == "can not start"


@pytest.mark.parametrize(("options", "kept"), [("", True), (", closes_inherited=True", False)])
def test_descriptors_of_the_caller_are_kept_or_closed_as_asked(options: str, kept: bool) -> None:
    ours, theirs = os.pipe()
    child = f"os.write(2, b'%d' % os.path.exists('/proc/self/fd/{theirs}')); say_up()"
    ended = run(child, options=options, pass_fds=(theirs,))
    os.close(theirs)
    os.close(ours)
    assert (ended.returncode, ended.stderr) == (10, str(int(kept)))


def test_the_exit_code_of_a_child_is_found_by_its_pid() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])
    assert StartingChild(child.pid, -1).exit_code() == 5
    child.returncode = 5
