"""The lines of a module around a broken one."""

from __future__ import annotations

from pathlib import Path

from gearman_manager.dashboard.source_lines import lines_around


def test_the_lines_around_are_shown(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text("".join(f"line {number}\n" for number in range(1, 21)))
    shown = lines_around(str(module), 6, [str(tmp_path)])
    assert [line.number for line in shown] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [line.text for line in shown if line.is_it] == ["line 6"]
    assert [line.number for line in lines_around(str(module), 1, [str(tmp_path)])] == [1, 2, 3, 4, 5]
    assert lines_around(str(module), 0, [str(tmp_path)]) == lines_around(str(module), 21, [str(tmp_path)]) == []


def test_only_modules_in_the_folders_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    secret = tmp_path / "secret.py"
    secret.write_text("password = 1\n")
    (folder / "link.py").symlink_to(secret)
    (folder / "config.yaml").write_text("password: x\n")
    for file in (
        secret,
        folder / "link.py",
        folder / "config.yaml",
        folder / "none.py",
        folder,
        f"{folder}/../secret.py",
    ):
        assert lines_around(str(file), 1, [str(folder)]) == []
    assert lines_around("a\0b.py", 1, [str(folder)]) == []
