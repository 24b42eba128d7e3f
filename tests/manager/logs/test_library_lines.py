"""What of the libraries' own lines reaches the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_manager.config.models import Log
from gearman_manager.logs.log import set_up


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """The file of a log that is set up for this test alone."""
    root = logging.root
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    set_up(Log(file=str(tmp_path / "log")))
    yield tmp_path / "log"
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_end_of_a_watch_is_no_error(log_file: Path) -> None:
    watchdog = logging.getLogger("watchdog.observers.inotify")
    watchdog.error("InotifyEmitter.queue_events() called when the thread is inactive")
    watchdog.error("the limit of watches is reached")
    for handler in logging.root.handlers:
        handler.flush()
    [line] = log_file.read_text().splitlines()
    assert line.endswith("the limit of watches is reached")
