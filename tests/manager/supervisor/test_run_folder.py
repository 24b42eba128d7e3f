"""The run folder: private, never through another user's link; a folder that is more than that is not changed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from gearman_manager.errors import StartError
from gearman_manager.supervisor.run_folder import RunFolder, default_run_folder

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
STRANGER = 54321


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def folder(path: Path, with_mode: int, *files: str) -> Path:
    path.mkdir()
    path.chmod(with_mode)
    for name in files:
        (path / name).write_text("")
    return path


@pytest.mark.parametrize("files", [(), ("lock", "gearman-manager.pid")])
def test_a_run_folder_is_closed_to_others(tmp_path: Path, files: tuple[str, ...]) -> None:
    run = RunFolder(folder(tmp_path / "run", 0o755, *files))
    run.acquire()
    assert mode(run.path) == 0o700
    assert run.read_pid() == os.getpid()
    run.release()
    assert [file.name for file in run.path.iterdir()] == ["lock"]


def test_the_mode_of_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    run = RunFolder(folder(tmp_path / "run", 0o755, "config.yaml"))
    run.acquire()
    assert mode(run.path) == 0o755
    assert mode(run.path / "lock") == 0o600
    run.release()


def test_a_folder_with_other_files_in_which_others_may_write_is_refused(tmp_path: Path) -> None:
    run = RunFolder(folder(tmp_path / "run", 0o1777, "others"))
    with pytest.raises(
        StartError, match=r"run_dir .*run holds other files, .* \(mode 1777\): name a folder of its own"
    ):
        run.acquire()
    assert mode(run.path) == 0o1777
    assert [file.name for file in run.path.iterdir()] == ["others"]


def test_a_link_to_an_open_folder_is_refused_and_the_folder_keeps_its_mode(tmp_path: Path) -> None:
    target = folder(tmp_path / "target", 0o755)
    run = RunFolder(tmp_path / "run")
    run.path.symlink_to(target)
    with pytest.raises(StartError, match=r"is a link to a folder that other users may enter \(mode 755\)"):
        run.acquire()
    assert mode(target) == 0o755
    assert list(target.iterdir()) == []


def test_a_link_to_a_private_folder_is_followed(tmp_path: Path) -> None:
    target = folder(tmp_path / "target", 0o700)
    run = RunFolder(tmp_path / "run")
    run.path.symlink_to(target)
    run.acquire()
    assert (target / "gearman-manager.pid").exists()
    run.release()


def test_a_pid_file_that_is_a_link_is_refused_and_its_target_keeps_its_content(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    run = RunFolder(folder(tmp_path / "run", 0o700))
    run.pid_file.symlink_to(target)
    with pytest.raises(StartError, match="can't be used"):
        run.acquire()
    assert target.read_text() == "precious"


@needs_root
def test_a_link_that_another_user_made_is_refused(tmp_path: Path) -> None:
    target = folder(tmp_path / "target", 0o700)
    run = RunFolder(tmp_path / "run")
    run.path.symlink_to(target)
    os.lchown(run.path, STRANGER, STRANGER)
    with pytest.raises(StartError, match=f"belongs to another user \\(uid {STRANGER}, this is 0\\)"):
        run.acquire()
    assert list(target.iterdir()) == []


def test_a_link_in_the_temporary_folder_is_refused_whoever_owns_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write there, and could let it lead into a folder of ours."""
    mine = folder(tmp_path / "mine", 0o755)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory() as temporary:  # the path of a socket must be short
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        run = RunFolder(default_run_folder(tmp_path / "config.yaml"))
        run.path.parent.symlink_to(mine)
        with pytest.raises(StartError, match="is a link: remove it, or choose another run_dir"):
            run.acquire()
    assert list(mine.iterdir()) == []
