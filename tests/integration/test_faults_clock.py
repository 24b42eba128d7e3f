"""The wall clock is set while the manager runs: none of our deadlines depends on it. libfaketime makes the fault."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from gearman_client import JobException, JobFailed

from . import neighbour
from .conftest import RunningManager, eventually

#: From Debian's package libfaketime.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
CONFIG = """
functions: {slow: {timeout: 1500ms}, flaky: {retries: 1, backoff: 500ms}, pid: {timeout: 1m}}
defaults: {max: 1}
"""


@pytest.mark.parametrize("step", ["-2d", "+2d"])
def test_setting_the_clock_ends_no_job_early_or_late(manager: RunningManager, step: str) -> None:
    if not LIBRARIES:
        pytest.skip("missing peer: libfaketime")
    clock = manager.folder / "clock"
    clock.write_text("+0\n")
    manager.environment = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # time.sleep can't be used: under this library it fails at once.
    manager.write_module("slow.py", "import select\ndef slow(job): select.select([], [], [], 60)\n")
    manager.write_module("pid.py", "import os\ndef pid(job): return str(os.getpid())\n")
    manager.write_module("now.py", "import time\ndef now(job): return str(time.time())\n")
    manager.write_module(
        "flaky.py", "def flaky(job):\n    if job.attempt == 1: raise OSError('once')\n    return str(job.attempt)\n"
    )
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.start(CONFIG)
    with neighbour.undisturbed(manager), manager.client(timeout_s=20) as client:
        setting = threading.Timer(0.5, _set, (clock, step))
        setting.start()
        began = time.monotonic()
        with pytest.raises((JobException, JobFailed)):
            client.submit("slow", b"")
        assert 1.5 <= time.monotonic() - began < 1.5 + 2 + 1
        assert abs(float(client.submit("now", b"")) - time.time()) > 86_400  # the clock really was set
        began = time.monotonic()
        assert client.submit("flaky", b"") == b"2"
        assert time.monotonic() - began < 5
        before = int(client.submit("pid", b""))
        os.kill(before, signal.SIGKILL)
        assert int(client.submit("pid", b"")) != before
        eventually(manager.settled, "its replacement serves")
        assert "running for -" not in manager.command("status").stdout
    assert manager.stop() == 0
    assert "unexpected" not in manager.log()


def _set(clock: Path, step: str) -> None:
    fresh = clock.with_suffix(".fresh")
    fresh.write_text(f"{step}\n")
    fresh.rename(clock)
