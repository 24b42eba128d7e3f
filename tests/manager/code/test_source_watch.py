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
    monkeypatch.setattr(module, "SETTLE_SEVERAL_S", 0.3)
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
    watch.watch.follow(content_hashes([], [str(settings)]))  # before it watches anything, files are only noted
    watch.watch.watch([folder])
    settings.write_text("2")
    assert watch.wait() == 1
    watch.watch.follow(content_hashes([folder]))
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
    assert (str(new), True) in watch.watch._watched
    assert (str(old), True) not in watch.watch._watched


def test_a_watch_that_was_never_started_can_be_closed() -> None:
    SourceWatch(lambda: None).close()


def link(target: str, place: Path) -> None:
    """Make a link, or lead an existing one elsewhere, in one step as deployment tools do."""
    fresh = place.with_name(f"{place.name}.fresh")
    fresh.symlink_to(target)
    fresh.rename(place)


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Two releases of an application, and a link to the first."""
    for number in (1, 2):
        workers = tmp_path / f"shop/releases/{number}/workers"
        workers.mkdir(parents=True)
        (workers / "nap.py").write_text(str(number))
    link("releases/1", tmp_path / "shop/current")
    return tmp_path / "shop"


def test_a_link_above_the_folder_that_leads_elsewhere_is_a_change(watch: Watch, releases: Path) -> None:
    folder = releases / "current/workers"
    watch.watch.watch([folder])
    link("releases/2", releases / "current")
    assert watch.wait() == 1
    (releases / "releases/2/workers/nap.py").write_text("3")  # what it leads to now is watched
    assert watch.wait() == 2
    (releases / "releases/1/workers/nap.py").write_text("4")
    link("releases/1", releases / "current")
    assert watch.wait() == 3


def test_the_target_of_a_linked_module_or_folder_may_change(watch: Watch, releases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    (folder / "doze.py").symlink_to("../shop/current/workers/nap.py")
    (folder / "more").symlink_to(releases / "releases/2/workers")
    watch.watch.watch([folder])
    (releases / "releases/1/workers/nap.py").write_text("11")
    assert watch.wait() == 1
    (releases / "releases/2/workers/nap.py").write_text("22")
    assert watch.wait() == 2
    link("releases/2", releases / "current")
    assert watch.wait() == 3


def test_a_new_link_in_the_folder_is_a_change(watch: Watch, releases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    watch.watch.watch([folder])
    (folder / "more").symlink_to(releases / "current/workers")
    assert watch.wait() == 1
    link("releases/2", releases / "current")
    assert watch.wait() == 2


def test_a_folder_that_is_exchanged_as_a_whole_is_a_change(watch: Watch, releases: Path) -> None:
    folder = releases / "workers"
    (releases / "releases/1/workers").rename(folder)
    watch.watch.watch([folder])
    folder.rename(releases / "old")
    (releases / "releases/2/workers").rename(folder)
    assert watch.wait() == 1
    (folder / "nap.py").write_text("3")
    assert watch.wait() == 2


def test_a_deployment_of_many_files_is_one_change(watch: Watch, tmp_path: Path) -> None:
    watch.watch.watch([tmp_path])
    for number in range(20):
        (tmp_path / f"nap{number}.py").write_text("1")
        gevent.sleep(0.005)  # the pace of the deployment
    assert watch.wait() == 1
    assert len(watch.watch._hashes or {}) == 20


def test_while_git_changes_the_working_tree_nothing_is_reported(watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    (tmp_path / ".git").mkdir()
    watch.watch.watch([folder])
    lock = tmp_path / ".git/index.lock"
    lock.touch()
    (folder / "nap.py").write_text("1")
    gevent.sleep(0.5)  # far longer than a change has to settle here
    assert watch.told == 0
    lock.unlink()
    assert watch.wait() == 1


def test_a_change_between_the_load_and_the_watch_is_noticed(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "nap.py").write_text("1")
    loaded = content_hashes([tmp_path])
    (tmp_path / "nap.py").write_text("2")
    watch.watch.follow(loaded)
    watch.watch.watch([tmp_path])
    assert watch.wait() == 1


def test_other_files_that_are_written_all_the_time_delay_nothing(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "nap.py").write_text("1")
    watch.watch.watch([tmp_path])
    (tmp_path / "nap.py").write_text("2")
    with gevent.Timeout(DEADLINE_S):
        while not watch.told:
            (tmp_path / "jobs.log").write_text("x")
            (tmp_path / "job").mkdir(exist_ok=True)
            (tmp_path / "job").rmdir()
            gevent.sleep(0.001)


def test_a_wish_in_the_middle_of_a_deployment_waits_for_its_end(watch: Watch, tmp_path: Path) -> None:
    watch.watch.watch([tmp_path])
    watch.watch.wait_until_quiet()
    (tmp_path / "nap.py").write_text("1")
    (tmp_path / "doze.py").write_text("1")
    with gevent.Timeout(DEADLINE_S):
        while watch.watch._is_quiet.is_set():
            gevent.sleep(0.001)
        watch.watch.wait_until_quiet()
    assert watch.watch._is_quiet.is_set()
    assert watch.wait() == 1
