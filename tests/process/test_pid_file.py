"""A pid file: written, respected while its process lives, replaced when it is stale, removed or emptied at the end."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from gearman_process.errors import PidFileError
from gearman_process.pid_file import PidFile

HOLD = """
import sys
from gearman_process.pid_file import PidFile
pid_file = PidFile(sys.argv[1], owner="server", remedy="")
print("held", flush=True)
sys.stdin.read()
"""


def make(path: Path, owner: str = "server") -> PidFile:
    return PidFile(path, owner=owner, remedy="choose another one")


def test_it_holds_the_pid_of_its_process_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pid_file = make(path)
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.remove()
    assert not path.exists()


def test_the_file_of_a_living_process_is_respected_and_the_error_names_that_process(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PidFileError) as caught:
            make(path, owner="manager")
        assert path.read_text() == f"{holder.pid}\n"
        holder.kill()
    assert str(caught.value) == (
        f"the pid file {path} belongs to a manager that is running, pid {holder.pid}; "
        "stop that, or choose another with -P FILE"
    )
    make(path).remove()  # its process was killed, and so its lock is gone


def test_a_locked_file_without_a_number_yet_has_an_error_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    first = make(path)
    path.write_text("")
    with pytest.raises(PidFileError, match="pid not written yet; stop that"):
        make(path)
    first.remove()


def test_a_stale_file_is_replaced_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getppid()}\n and some more lines\n")
    pid_file = make(path)
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.remove()


def test_the_error_for_an_unwritable_file_names_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "pid"
    with pytest.raises(PidFileError) as caught:
        make(path)
    assert str(caught.value) == f"the pid file {path} can't be written: No such file or directory; choose another one"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_file_that_cannot_be_removed_is_emptied(tmp_path: Path) -> None:
    program = """
import os, sys
from gearman_process.pid_file import PidFile
pid_file = PidFile(sys.argv[1], owner="server", remedy="")
os.setuid(int(sys.argv[2]))
try:
    pid_file.remove()
except PermissionError:
    print("refused")
"""
    path = tmp_path / "pid"
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", program, str(path), str(pwd.getpwnam("nobody").pw_uid)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
    assert path.read_text() == ""


# --- traps in a folder of another user


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "pid"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(PidFileError, match="can't be written: it is a symbolic link; choose another one"):
        make(path)
    target.rename(tmp_path / "elsewhere")
    with pytest.raises(PidFileError, match="it is a symbolic link"):
        make(path)
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not target.exists()


def test_a_file_with_two_names_is_not_emptied(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "pid"
    target.write_text("precious")
    path.hardlink_to(target)
    with pytest.raises(PidFileError, match="is a file with another name, too: remove it, or choose another with -P"):
        make(path)
    assert target.read_text() == "precious"


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    for path in (tmp_path / "pid", Path("/dev/null")):
        with pytest.raises(PidFileError, match="is no regular file"):
            make(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_refuses_a_file_in_which_another_user_could_put_another_number(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")
    os.chown(path, 54321, 54321)
    with pytest.raises(PidFileError, match="belongs to user 54321, who could put another number into it"):
        make(path)
    assert path.read_text() == "1\n"
