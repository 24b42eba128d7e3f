"""A log file: its mode, also after a rotation, and what root does not follow."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gearman_process.logs.log_file import mode_of, open_log


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o640), (0o077, 0o600), (0, 0o640)])
def test_a_new_file_is_closed_to_strangers(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        os.close(open_log(str(tmp_path / "log")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == mode


def test_an_existing_file_keeps_content_and_mode(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    log.chmod(0o604)
    opened = open_log(str(log), 0o640)
    os.write(opened, b"after\n")
    os.close(opened)
    assert log.read_text() == "before\nafter\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o604


def test_a_new_file_can_have_the_mode_of_an_earlier_one(tmp_path: Path) -> None:
    opened = open_log(str(tmp_path / "log"), 0o664)
    assert mode_of(opened) == 0o664
    os.close(opened)


def test_a_device_has_no_mode_for_others_to_have(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/null")
    opened = open_log(str(tmp_path / "log"))
    assert mode_of(opened) is None
    os.close(opened)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_does_not_follow_a_link_of_another_user(tmp_path: Path) -> None:
    target, log = tmp_path / "target", tmp_path / "log"
    target.write_text("precious")
    log.symlink_to(target)
    os.close(open_log(str(log)))  # root's own
    os.lchown(log, 54321, 54321)
    with pytest.raises(OSError, match="it is a link that user 54321 made"):
        open_log(str(log))
    target.unlink()
    with pytest.raises(OSError, match="it is a link that user 54321 made"):
        open_log(str(log))
    assert not target.exists()
