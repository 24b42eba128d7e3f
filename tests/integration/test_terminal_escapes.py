"""Output, errors and names that would act on the terminal of those who read the log or what a command prints."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress

import pytest

from gearman_client import JobException

from .conftest import RunningManager, eventually

ACTS = "\x1b]0;title\x07 50%\r100% \x9b2J cod\u202eyp.exe no\u200bwidth"
SHOWN = "\\x1b]0;title\\x07 50%\\r100% \\x9b2J cod\\u202eyp.exe no\\u200bwidth"
HOSTILE = f"""
import sys


def hostile(job):
    print({ACTS!r}, "printed")
    print({ACTS!r}, "on error", file=sys.stderr)
    job.log.warning("%s logged", {ACTS!r})
    raise ValueError({ACTS!r})
"""
#: What a terminal acts on, but line feeds and the TABs and colours of our own tables.
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]")


@pytest.fixture
def hostile(manager: RunningManager) -> RunningManager:
    manager.write_module("hostile.py", HOSTILE)
    return manager


def fail_once(manager: RunningManager) -> None:
    with manager.client(timeout_s=20) as client, suppress(JobException):
        client.submit("hostile", b"")
    eventually(lambda: all(f" {what}" in manager.log() for what in ("printed", "on error", "logged")), "all is logged")
    eventually(lambda: "ValueError" in manager.log(), "the failure is logged")


def test_what_a_job_prints_logs_and_raises_does_not_act_on_a_terminal(hostile: RunningManager) -> None:
    hostile.start("pools: {hostile: {min: 1, max: 1}}\n")
    fail_once(hostile)
    for text in (hostile.log(), hostile.command("logs").stdout, hostile.command("status").stdout):
        assert RAW.findall(text) == []
    for what in ("printed", "on error", "logged"):
        assert f"{SHOWN} {what}" in hostile.log()
        assert f"{SHOWN} {what}" in hostile.command("logs").stdout
    assert f"ValueError: {SHOWN}" in hostile.log()


def test_the_json_log_says_the_same_and_does_not_act_either(hostile: RunningManager) -> None:
    hostile.start("log: {format: json}\npools: {hostile: {min: 1, max: 1}}\n")
    fail_once(hostile)
    assert RAW.findall(hostile.log()) == []
    messages = [json.loads(line)["message"] for line in hostile.log().splitlines()]
    assert f"{ACTS} logged" in messages


def test_names_of_files_and_reasons_of_failures_do_not_act_either(manager: RunningManager) -> None:
    manager.write_module("fine.py", "def fine(job):\n    return job.workload\n")
    manager.write_module("bad\x1b[2J\u202e.py", f"raise ValueError({ACTS!r})\n")
    manager.start("pools: {fine: {functions: [fine], min: 1, max: 1}}\n")

    def both(*words: str) -> str:
        ended: subprocess.CompletedProcess[str] = manager.command(*words, check=False)
        return ended.stdout + ended.stderr

    printed = [both(word) for word in ("status", "check", "functions")]
    for text in (*printed, manager.log()):
        assert SHOWN in text
        assert RAW.findall(text) == []
