"""New code while jobs run: loaded without a failed job, refused when it is broken, and never loaded by halves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from gearman_client import GearmanError

from .conftest import NAP, RunningManager, eventually

ANSWER = """
import time


def answer(job):
    time.sleep(0.02)
    return {value!r}
"""


class Load:
    """Jobs one after the other in a thread; records every answer and every error."""

    def __init__(self, manager: RunningManager) -> None:
        self.answers: list[bytes] = []
        self.errors: list[GearmanError] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(manager,))
        self._thread.start()

    def _run(self, manager: RunningManager) -> None:
        with manager.client(timeout_s=20) as client:
            while not self._stop.is_set():
                try:
                    self.answers.append(client.submit("answer", b""))
                except GearmanError as error:
                    self.errors.append(error)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def loaded(manager: RunningManager) -> Iterator[tuple[RunningManager, Load]]:
    """A manager whose function `answer` returns `old`, under load."""
    manager.write_module("answer.py", ANSWER.format(value="old"))
    manager.start("pools: {answer: {functions: [answer], min: 3, max: 3}}\n")
    load = Load(manager)
    eventually(lambda: load.answers, "the first answer")
    yield manager, load
    load.stop()


def test_changed_code_answers_within_three_seconds_and_no_job_fails(loaded: tuple[RunningManager, Load]) -> None:
    manager, load = loaded
    before = {worker["pid"] for worker in manager.workers("answer")}
    manager.write_module("answer.py", ANSWER.format(value="new"))
    eventually(lambda: load.answers[-1] == b"new", "the new code answers", within_s=3)
    eventually(
        lambda: manager.settled() and not before & {w["pid"] for w in manager.workers("answer")},
        "every worker was replaced",
    )
    load.stop()
    assert load.errors == []
    assert set(load.answers) == {b"old", b"new"}


def test_broken_code_is_refused_with_file_and_line_and_the_old_code_goes_on(
    loaded: tuple[RunningManager, Load],
) -> None:
    manager, load = loaded
    before = {worker["pid"] for worker in manager.workers("answer")}
    file = manager.write_module("answer.py", "import time\n\ndef answer(job:\n")
    error = eventually(lambda: manager.status()["errors"], "status says what is wrong")[0]
    assert (error["file"], error["line"]) == (str(file), 3)
    assert "syntax error" in error["message"]
    assert f"{file}:3: syntax error" in manager.log()
    seen = len(load.answers)
    eventually(lambda: len(load.answers) > seen + 5, "the old code still answers")
    assert load.answers[-1] == b"old"
    assert {worker["pid"] for worker in manager.workers("answer")} == before
    manager.write_module("answer.py", ANSWER.format(value="mended"))
    eventually(lambda: load.answers[-1] == b"mended", "the mended code answers")
    eventually(lambda: manager.status()["errors"] == [], "the error is gone")
    load.stop()
    assert load.errors == []


def test_sighup_reloads_configuration_and_code(loaded: tuple[RunningManager, Load]) -> None:
    manager, load = loaded
    text = manager.config_file.read_text()
    manager.config_file.write_text(text.replace("min: 3, max: 3", "min: 5, max: 5"))
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: manager.settled() and len(manager.workers("answer")) == 5, "five workers")
    load.stop()
    assert load.errors == []


def test_sighup_with_a_broken_configuration_changes_nothing(loaded: tuple[RunningManager, Load]) -> None:
    manager, load = loaded
    before = {worker["pid"] for worker in manager.workers("answer")}
    manager.config_file.write_text(manager.config_file.read_text() + "mistake: 1\n")
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    error = eventually(lambda: manager.status()["errors"], "status says what is wrong")[0]
    assert error["file"] == str(manager.config_file)
    assert "mistake" in error["message"]
    assert {worker["pid"] for worker in manager.workers("answer")} == before
    load.stop()
    assert load.errors == []
    assert manager.command("stop").stdout == "stopped\n"


def test_added_and_removed_files_are_noticed(loaded: tuple[RunningManager, Load]) -> None:
    manager, _ = loaded
    manager.write_module("second.py", "def second(job): return b'2'\n")
    with manager.client(timeout_s=20) as client:
        assert client.submit("second", b"") == b"2"
    (manager.workers_dir / "second.py").unlink()
    eventually(lambda: "second" not in manager.status()["pools"], "its pool is gone")


def test_a_changed_helper_causes_a_reload_too(manager: RunningManager) -> None:
    manager.write_module("_greeting.py", "TEXT = b'hello'\n")
    manager.write_module("greet.py", "import _greeting\ndef greet(job): return _greeting.TEXT\n")
    manager.start("")
    with manager.client(timeout_s=20) as client:
        assert client.submit("greet", b"") == b"hello"
        manager.write_module("_greeting.py", "TEXT = b'goodbye'\n")
        eventually(lambda: client.submit("greet", b"") == b"goodbye", "the new helper is used")


def test_reading_or_touching_a_file_causes_no_reload(loaded: tuple[RunningManager, Load]) -> None:
    manager, _ = loaded
    file = manager.workers_dir / "answer.py"
    file.read_text()
    os.utime(file)
    file.write_text(file.read_text())
    manager.write_module("second.py", "def second(job): return b'2'\n")
    eventually(lambda: "second" in manager.status()["pools"], "a real change is taken over")
    assert manager.log().count("reloading") == 1


HANGING = "import time\ntime.sleep(600)\n\n\ndef slow(job):\n    return b'never'\n"
CORRECTED = "def slow(job):\n    return b'corrected'\n"


@pytest.mark.parametrize("wish", ["file", "hup"])
def test_an_import_that_hangs_is_named_and_gives_way_to_its_correction(manager: RunningManager, wish: str) -> None:
    manager.write_module("nap.py", NAP)
    manager.start("")
    manager.write_module("slow.py", HANGING)
    slow = f"{manager.workers_dir}/slow.py:1: the import of this module still goes on after 5 s"
    eventually(lambda: slow in manager.log(), "the slow import in the log")
    assert [error["file"] for error in manager.status()["errors"]] == [f"{manager.workers_dir}/slow.py"]
    manager.write_module("slow.py", CORRECTED)
    if wish == "hup":
        assert manager.process is not None
        manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: "slow" in manager.status()["functions"], "the corrected module", within_s=10)
    with manager.client() as client:
        assert client.submit("slow", b"", timeout_s=10) == b"corrected"
    assert manager.status()["errors"] == []


def test_a_module_that_hangs_at_the_start_may_be_corrected_meanwhile(manager: RunningManager) -> None:
    manager.write_module("slow.py", HANGING)
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    manager.launch()
    eventually(lambda: "slow.py:1: the import of this module still goes on after 5 s" in manager.log(), "the log")
    manager.write_module("slow.py", CORRECTED)
    eventually(manager.settled, "all workers registered", within_s=10)
    assert list(manager.status()["functions"]) == ["slow"]


def test_a_release_that_a_link_leads_to_is_loaded_as_a_whole(manager: RunningManager) -> None:
    """A deployment: `current` comes to lead to another release, whose modules belong together."""
    for number in ("1", "2"):
        for name in ("part", "whole"):
            text = f"V = {number}\n" if name == "part" else "from .part import V\ndef whole(job): return str(V)\n"
            file = manager.folder / f"releases/{number}/workers/{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + ("def part(job): return str(V)\n" if name == "part" else ""))
    (manager.folder / "current").symlink_to("releases/1")
    manager.start("workers_dir: current/workers\n")
    fresh = manager.folder / "fresh"
    fresh.symlink_to("releases/2")
    fresh.rename(manager.folder / "current")
    with manager.client() as client:
        eventually(lambda: client.submit("whole", b"") == b"2", "the second release")
        eventually(lambda: client.submit("part", b"") == b"2", "the second release")
