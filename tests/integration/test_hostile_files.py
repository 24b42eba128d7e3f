"""Hostile or unlucky files: the problem is reported, the other functions run, and a mended file is loaded."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from .conftest import RunningManager, eventually
from .observing import WITHIN_S, ZYGOTE, end_without_a_trace, launch, titled


@pytest.mark.parametrize(
    ("end", "how"),
    [("os._exit(4)", "exit status 4"), ("os.kill(os.getpid(), 9)", "killed by SIGKILL")],
)
def test_a_module_that_ends_its_process_is_named_and_left_out_until_it_is_mended(
    manager: RunningManager, end: str, how: str
) -> None:
    file = manager.write_module("deadly.py", f"import os\n{end}\n\ndef deadly(job): ...\n")
    manager.write_module("good.py", "def good(job): return b'good'\n")
    manager.start("")
    with manager.client(timeout_s=WITHIN_S) as client:
        assert client.submit("good", b"") == b"good"
        (error,) = manager.status()["errors"]
        assert error["file"] == str(file)
        assert how in error["message"]
        checked = manager.command("check", check=False)
        assert checked.returncode == 78
        assert str(file) in checked.stderr
        assert how in checked.stderr
        manager.write_module("deadly.py", "def deadly(job): return b'mended'\n")
        assert client.submit("deadly", b"") == b"mended"
        assert client.submit("good", b"") == b"good"
        eventually(lambda: manager.status()["errors"] == [], "the error is gone", WITHIN_S)
        manager.write_module("deadly.py", f"import os\n{end}\n\ndef deadly(job): ...\n")
        (error,) = eventually(lambda: manager.status()["errors"], "it is named again", WITHIN_S)
        assert how in error["message"]
        assert client.submit("deadly", b"") == b"mended"
    end_without_a_trace(manager)


def test_a_zygote_that_dies_while_it_loads_new_code_costs_no_module(napping: RunningManager) -> None:
    manager = napping.start("")
    begun, go = manager.folder / "begun", manager.folder / "go"
    (zygote,) = titled(manager, ZYGOTE)
    manager.write_module(
        "patient.py",
        f"""
        import time
        from pathlib import Path

        Path({str(begun)!r}).touch()
        while not Path({str(go)!r}).exists():
            time.sleep(0.01)

        def patient(job):
            return b"here"
        """,
    )
    eventually(begun.exists, "the new code is being loaded", WITHIN_S)
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: "the zygote died" in manager.log(), "the death is noticed", WITHIN_S)
    go.touch()
    with manager.client(timeout_s=WITHIN_S) as client:
        assert client.submit("patient", b"") == b"here"
    assert manager.status()["errors"] == []
    end_without_a_trace(manager)


def test_a_mended_setup_is_tried_at_once_however_often_the_old_one_failed(manager: RunningManager) -> None:
    source = "class unlucky:\n    def setup(self, settings):\n        {}\n    def run(self, job): return b'mended'\n"
    manager.write_module("unlucky.py", source.format("raise RuntimeError('no database')"))
    launch(manager, "run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    eventually(lambda: re.search(r"replaced in [3-9]\.", manager.log()), "more than 3 s of back-off", WITHIN_S)
    (manager.address,) = manager.status()["servers"]
    manager.write_module("unlucky.py", source.format("pass"))
    saved = time.monotonic()
    with manager.client(timeout_s=WITHIN_S) as client:
        assert client.submit("unlucky", b"") == b"mended"
    assert time.monotonic() - saved < 3


def test_a_fifo_and_circular_links_among_the_modules_do_no_harm(napping: RunningManager) -> None:
    manager = napping
    os.mkfifo(manager.workers_dir / "pipe.py")
    (manager.workers_dir / "loop").symlink_to("../workers")
    nowhere = manager.workers_dir / "nowhere.py"
    nowhere.symlink_to("nowhere.py")
    launch(manager, "run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    eventually(manager.settled, "all workers registered", WITHIN_S)
    status = manager.status()
    message = "the link leads nowhere, to nowhere.py: correct it, or remove it"
    assert status["errors"] == [{"file": str(nowhere), "line": 0, "message": message}]
    assert list(status["functions"]) == ["nap"]
    end_without_a_trace(manager)


def test_a_warning_about_an_empty_folder_says_what_belongs_there(manager: RunningManager) -> None:
    launch(manager)
    where = str(manager.workers_dir)
    (warning,) = eventually(
        lambda: [line for line in manager.log().splitlines() if " WARNING " in line and where in line],
        "a warning that names the folder",
        WITHIN_S,
    )
    assert "def " in warning
    assert ".py" in warning
    end_without_a_trace(manager)


def test_a_log_file_that_can_not_be_written_is_refused_and_the_next_reload_works(napping: RunningManager) -> None:
    manager = napping.start("")
    assert manager.process is not None
    config = manager.config_file.read_text()
    manager.config_file.write_text(f"{config}log: {{file: {manager.folder}}}\n")
    manager.process.send_signal(signal.SIGHUP)
    (error,) = eventually(lambda: manager.status()["errors"], "status says what is wrong", WITHIN_S)
    assert error["file"] == str(manager.config_file)
    assert "log.file" in error["message"]
    good = manager.folder / "good.log"
    manager.config_file.write_text(f"{config}log: {{file: {good}}}\npools: {{nap: {{functions: [nap], min: 3}}}}\n")
    manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(manager.workers("nap")) == 3 and manager.settled(), "it is taken over", WITHIN_S)
    assert manager.status()["errors"] == []
    end_without_a_trace(manager)
    assert "stopped" in good.read_text()
