"""A module configures `logging` for itself alone: the lines and the failures of all functions are logged."""

from __future__ import annotations

import pytest

from .conftest import RunningManager, eventually

TAKEOVER = """
import logging
import logging.config
import sys

logging.config.dictConfig({
    "version": 1,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "level": "CRITICAL"}},
    "root": {"handlers": ["console"], "level": "CRITICAL"},
})

def takeover(job):
    logging.basicConfig(force=True, level=logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    sys.stderr = open("/dev/null", "w")
    job.log.warning("in the middle")
    raise ValueError("the takeover failed")
"""
VICTIM = """
import logging

log = logging.getLogger("my.library")
log.info("loaded")

def victim(job):
    log.info("working on it")
    job.log.info("nearly done")
    raise KeyError("no such customer")
"""
FAILING_SETUP = """
import logging

class late:
    def setup(self, settings):
        logging.disable(logging.CRITICAL)
        logging.getLogger().handlers.clear()
        raise OSError("the database is away")

    def run(self, job):
        return b""
"""


@pytest.mark.parametrize("concurrency", ["", ", concurrency: 2"])
def test_what_jobs_log_and_why_they_failed_is_logged_whatever_a_module_does(
    manager: RunningManager, concurrency: str
) -> None:
    # The modules are loaded by name: there is a logger before the takeover, and one after it.
    manager.write_module("a_victim.py", VICTIM.replace("def victim", "def a_victim"))
    manager.write_module("takeover.py", TAKEOVER)
    manager.write_module("victim.py", VICTIM)
    manager.start(f"pools: {{all: {{functions: [a_victim, takeover, victim], max: 1{concurrency}}}}}\n")
    with manager.client(timeout_s=10, exceptions=False) as client:
        for function in ("a_victim", "takeover", "victim"):
            client.submit_background(function, b"")
    eventually(lambda: manager.log().count("the job failed") == 3, "the jobs failed")
    lines = manager.log().splitlines()

    def logged(text: str) -> list[tuple[str, ...]]:
        """Level, function and start of the handle of each line with this text."""
        return [(line.split()[2], *line.split()[6:8]) for line in lines if text in line]

    (takeover,) = logged("the job failed: ValueError: the takeover failed")
    assert takeover[:2] == ("ERROR", "takeover")
    assert takeover[2].startswith("H:")
    assert [level for level, *_ in logged("in the middle")] == ["WARNING"]
    assert [level for level, *_ in logged("working on it")] == ["INFO", "INFO"]
    assert [level for level, *_ in logged("nearly done")] == ["INFO", "INFO"]
    victims = logged("the job failed: KeyError: 'no such customer'")
    assert [(level, function) for level, function, _ in victims] == [("ERROR", "a_victim"), ("ERROR", "victim")]
    assert all(handle.startswith("H:") for *_, handle in victims)


def test_a_setup_that_fails_keeps_its_reason_whatever_it_did_to_logging(manager: RunningManager) -> None:
    manager.write_module("late.py", FAILING_SETUP)
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    manager.launch()
    line = eventually(
        lambda: [line for line in manager.log().splitlines() if "the worker can't start" in line],
        "the reason is logged",
    )[0]
    assert " ERROR " in line
    assert "OSError: the database is away" in line
