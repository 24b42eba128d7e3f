"""The sender's process, while the system refuses what it needs."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from gearman_manager.config import Config
from gearman_manager.telemetry import sender_process
from gearman_manager.telemetry.sender_process import SenderProcess

DEADLINE_S = 30.0
CONFIG = Config.model_validate({"server": {}, "otel": {"endpoint": "http://127.0.0.1:9", "metrics": False}})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Path]:
    """A run folder that is not made yet, for a sender that is started again and again."""
    monkeypatch.setattr(sender_process, "RETRY_S", 0.01)
    monkeypatch.setattr(sender_process, "LONGEST_RETRY_S", 0.01)
    caplog.set_level(logging.INFO, "otel")
    folder = tmp_path / "run"
    lifeline = os.pidfd_open(os.getpid())
    sender = SenderProcess("a", folder / "control.sock", folder / "spans.sock", lambda: CONFIG, lifeline)
    sender.start()
    yield folder
    sender.close()
    os.close(lifeline)


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE_S):
        while not condition():
            gevent.sleep(0.001)


def opened() -> int:
    """How many descriptors are open of the kinds that an attempt opens: sockets, pipes and what stands for a process.
    Files and the loop's own are others' business."""
    gc.collect()  # what the tests before have left
    count, kinds = 0, ("socket:", "pipe:", "anon_inode:[pidfd", "pidfd:")
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the folder itself
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(kinds)
    return count


def test_workers_can_bring_spans_once_a_socket_that_could_not_be_made_can(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    until(lambda: len(caplog.messages) > 2)
    assert set(caplog.messages) == {"no process can be started: No such file or directory; trying again in 0.01 s"}
    folder.mkdir()

    def is_taken() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as worker, suppress(FileNotFoundError):
            worker.connect(str(folder / "spans.sock"))
            return True
        return False

    until(is_taken)


def test_attempts_that_fail_leave_nothing_open(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    folder.mkdir()
    until(lambda: (folder / "spans.sock").exists())
    caplog.clear()
    until(lambda: len(caplog.messages) > 1)
    before = opened()
    until(lambda: len(caplog.messages) > 5)
    assert opened() == before
