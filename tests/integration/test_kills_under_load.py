"""kill -9 under load: processes are killed at random moments while jobs come and go, and no job is lost."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from gearman_client import GearmanError

from . import neighbour
from .conftest import RunningManager, eventually

NOTE = """
    import os
    import random
    import time

    def note(job):
        time.sleep(random.random() / 50)
        with open(job.settings["file"], "ab", buffering=0) as file:
            file.write(job.workload + b"\\n")
        return job.workload
    """
CONFIG = """
run_dir: run
server: {{listen: '127.0.0.1:{port}', store: 'sqlite:///jobs.db'}}
functions: {{note: {{crash_retries: 1000, settings: {{file: {notes}}}}}}}
pools: {{note: {{functions: [note], min: 4, max: 4}}}}
"""
KILLS = 20
KILLED_WITHIN_S = 60.0
WORKER, ZYGOTE, SERVER = "gearman-manager: worker note/", "gearman-manager: zygote", "gearman-server: "


class Load:
    """A client that submits numbered jobs without a pause, a second time when no answer came; ends with `stop`."""

    def __init__(self, submit: Callable[[bytes], object]) -> None:
        self._submit = submit
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: list[bytes] = []
        self.errors = 0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a client waits for ever"

    def _run(self) -> None:
        number = 0
        while not self._enough.is_set():
            number += 1
            workload = str(number).encode()
            try:
                self._submit(workload)
            except GearmanError:
                self.errors += 1
                self._enough.wait(0.01)
            else:
                self.acknowledged.append(workload)
                self._enough.wait(0.005)  # the backlog has to be done before the test ends


def kill_at_random(manager: RunningManager, titles: tuple[str, ...]) -> None:
    """Kill one process after the other at random moments, `KILLS` times."""
    chance, count = random.Random(), 0
    deadline = time.monotonic() + KILLED_WITHIN_S
    assert manager.process is not None
    supervisor = psutil.Process(manager.process.pid)
    while count < KILLS:
        assert time.monotonic() < deadline, f"only {count} processes came to be killed"
        time.sleep(chance.uniform(0.0, 0.15))
        title = chance.choice(titles)
        family = [(child.pid, _title(child)) for child in supervisor.children(recursive=True)]
        if victims := [pid for pid, text in family if text.startswith(title)]:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
                count += 1


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_workers_and_zygotes_killed_at_any_moment_cost_no_job_and_disturb_no_neighbour(manager: RunningManager) -> None:
    notes = manager.folder / "notes"
    manager.write_module("note.py", NOTE)
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.start(
        f"functions: {{note: {{crash_retries: 1000, settings: {{file: {notes}}}}}}}\n"
        "pools: {note: {functions: [note], min: 4, max: 4}}\n"
    )
    with neighbour.undisturbed(manager), manager.client(timeout_s=30) as client, manager.client() as other:

        def call(workload: bytes) -> None:
            assert client.submit("note", workload) == workload

        with Load(call) as foreground, Load(lambda workload: other.submit_background("note", b"b" + workload)) as load:
            kill_at_random(manager, (WORKER, ZYGOTE))
        assert foreground.errors == load.errors == 0
        _eventually_noted(notes, [*foreground.acknowledged, *(b"b" + number for number in load.acknowledged)])
    eventually(manager.settled, "four workers serve again")
    assert manager.stop() == 0
    assert "Traceback" not in manager.log()


def test_no_acknowledged_job_is_lost_whatever_is_killed_with_the_supervisor_last(manager: RunningManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    notes = manager.folder / "notes"
    manager.write_module("note.py", NOTE)
    manager.config_file.write_text(CONFIG.format(port=port, notes=notes))
    manager.launch()
    eventually(manager.settled, "all workers registered")
    (manager.address,) = manager.status()["servers"]

    def submit(workload: bytes) -> None:
        with manager.client(timeout_s=5) as client:
            client.submit_background("note", workload)

    with Load(submit) as load:
        kill_at_random(manager, (WORKER, ZYGOTE, SERVER))
        assert manager.process is not None
        family = manager.family()
        manager.process.kill()
        manager.process.wait()
        manager.launch()
        eventually(manager.settled, "the next manager serves")
        so_far = len(load.acknowledged)
        eventually(lambda: len(load.acknowledged) > so_far, "and takes jobs")
    _eventually_noted(notes, load.acknowledged)
    eventually(lambda: not any(_is_ours(pid) for pid in family), "nothing is left of the first manager")
    assert manager.stop() == 0


def _is_ours(pid: int) -> bool:
    try:
        return _title(psutil.Process(pid)).startswith(("gearman-manager", "gearman-server"))
    except psutil.NoSuchProcess:
        return False


def _eventually_noted(notes: Path, wanted: list[bytes]) -> None:
    assert wanted
    eventually(lambda: set(wanted) <= set(notes.read_bytes().split()), "every acknowledged job has run")
