"""Changes of source files are noticed by their contents, with real events of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from gearman_manager.code import source_watch as module
from gearman_manager.code.source_watch import SourceWatch
from gearman_manager.modules.source_files import content_hashes

DEADLINE_S = 20.0


class Watch:
    """A watch whose reports are counted."""

    def __init__(self) -> None:
        self.told = 0
        self._has_told = gevent.event.Event()
        self.watch = SourceWatch(self._tell)

    def _tell(self) -> None:
        self.told += 1
        self._has_told.set()

    def wait(self) -> int:
        assert self._has_told.wait(DEADLINE_S), "nothing was told"
        self._has_told.clear()
        return self.told


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(module, "SETTLE_S", 0.02)
    made = Watch()
    yield made
    made.watch.close()


def test_a_changed_module_is_reported(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "nap.py").write_text("1")
    watch.watch.watch([tmp_path])
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "nap.py").write_text("2")
    assert watch.wait() == 1


def test_a_module_that_is_rewritten_with_the_same_contents_is_not_reported(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []

    def look(*where: Any) -> dict[str, str]:
        looks.append(where)
        return content_hashes(*where)

    (tmp_path / "nap.py").write_text("1")
    watch.watch.watch([tmp_path])
    monkeypatch.setattr(module, "content_hashes", look)
    (tmp_path / "nap.py").write_text("1")
    with gevent.Timeout(DEADLINE_S):
        while not looks:
            gevent.sleep(0.005)
    assert watch.told == 0


def test_a_file_in_another_folder_is_watched_while_it_is_followed(watch: Watch, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "workers", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    settings = elsewhere / "settings.json"
    settings.write_text("1")
    watch.watch.follow([str(settings)])  # before it watches anything, files are only noted
    watch.watch.watch([folder])
    settings.write_text("2")
    assert watch.wait() == 1
    watch.watch.follow([])
    settings.write_text("3")
    (folder / "nap.py").write_text("1")
    assert watch.wait() == 2


def test_new_folders_replace_the_former_ones(watch: Watch, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    watch.watch.watch([old])
    watch.watch.watch([new])
    (old / "nap.py").write_text("1")
    (new / "doze.py").write_text("1")
    assert watch.wait() == 1
    assert watch.watch._watched == {str(new)}


def test_a_watch_that_was_never_started_can_be_closed() -> None:
    SourceWatch(lambda: None).close()
