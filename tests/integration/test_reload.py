"""New code while jobs run: loaded without a failed job, refused when it is broken, and never loaded by halves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from gearman_client import GearmanError

from .conftest import RunningManager, eventually

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
