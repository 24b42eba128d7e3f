"""Keys on the side that runs jobs: a worker in PHP drains a fair queue, and every kind of worker can hold a key."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_client.address import parse_address
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ..server.stream_peer import StreamPeer
from .conftest import RunningManager, eventually

MAIL = """
import os

from gearman_manager import Throttled, function

FOLDER = {folder!r}


def send(job):
    # The first mail of a function meets a server that takes no more now.
    try:
        os.close(os.open(f"{{FOLDER}}/busy-{{job.function}}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        with open(f"{{FOLDER}}/{{job.function}}", "a") as sent:
            sent.write(f"{{job.key}} {{job.workload.decode()}} {{job.attempt}}\\n")
    else:
        raise Throttled("421 too many connections", after="3s")

@function
def mail(job):
    send(job)

@function
def mail_from_set(job):
    send(job)

@function
def mail_in_greenlet(job):
    send(job)

@function
async def mail_on_loop(job):
    send(job)

@function(batch=5)
def mail_in_list(jobs):
    for job in jobs:
        send(job)
"""
PHP = """<?php
function mail_php($job) {
    while ($job->workload() === 'gate' && !file_exists('%(folder)s/open')) {
        touch('%(folder)s/begun');
        usleep(10000);
    }
    file_put_contents('%(folder)s/mail_php', $job->key . ' ', FILE_APPEND);
    return '';
}
"""
CONFIG = """
defaults: {min: 1, max: 1, retries: 0}
pools:
  greenlet: {functions: [mail_in_greenlet], concurrency: 2}
  set: {functions: [mail_from_set], prefetch: 3}
functions:
  mail_php: {fair: true, weights: {vip: 2}}
  mail: {fair: true}
"""
KINDS = ("mail", "mail_from_set", "mail_in_greenlet", "mail_on_loop", "mail_in_list")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sent")


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[RunningManager]:
    manager = RunningManager(tmp_path_factory.mktemp("keys"))
    manager.write_module("mails.py", MAIL.format(folder=str(folder)))
    manager.write_module("mail_php.php", PHP % {"folder": folder})
    try:
        yield manager.start(CONFIG)
    finally:
        manager.destroy()


@pytest.fixture
def client(manager: RunningManager) -> Iterator[StreamPeer]:
    address = parse_address(manager.address)
    with socket.create_connection((address.host, address.port), timeout=20) as stream:
        yield StreamPeer(stream)


def submit(client: StreamPeer, function: str, *jobs: tuple[bytes, bytes]) -> None:
    """Background jobs, each with its key and its workload."""
    for key, workload in jobs:
        pairs = (b"background=1", b"key=" + key, b"")
        assert client.ask(SUBMIT_JOB_WITH, function.encode(), b"", *pairs, workload)[0] == PacketType.JOB_CREATED


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_a_worker_in_php_drains_a_queue_in_the_turns_of_its_keys(
    manager: RunningManager, client: StreamPeer, folder: Path
) -> None:
    submit(client, "mail_php", (b"gate", b"gate"))
    eventually((folder / "begun").exists, "the worker is busy")
    submit(client, "mail_php", *[(b"big", b"")] * 6, *[(b"small", b"")] * 2, *[(b"vip", b"")] * 3)
    listed = json.loads(manager.command("jobs", "keys", "mail_php", "--json").stdout)
    assert {row["key"]: (row["waiting"], row["running"], row["startable"]) for row in listed} == {
        "big": (6, 0, 6),
        "vip": (3, 0, 3),
        "small": (2, 0, 2),
    }
    assert re.search(r"\bvip +3 +0 +3", manager.command("jobs", "keys", "mail_php", "--limit", "2").stdout)
    eventually(lambda: manager.status()["functions"]["mail_php"]["queued"] == 11, "status knows")
    assert manager.status()["functions"]["mail_php"]["held_back"] == 0
    (folder / "open").touch()
    sent = "gate vip big small vip vip big small big big big big "
    eventually(lambda: len(lines(folder / "mail_php")) and len(lines(folder / "mail_php")[0]) == len(sent), "all sent")
    assert (folder / "mail_php").read_text() == sent


def test_every_kind_of_worker_can_have_a_key_held_without_an_attempt(
    manager: RunningManager, client: StreamPeer, folder: Path
) -> None:
    for kind in KINDS:
        submit(client, kind, (b"gmail", b"1"), (b"gmail", b"2"), (b"other", b"3"))
    eventually(lambda: manager.status()["functions"]["mail"]["held_back"] == 2, "status shows the jobs that are held")
    assert "2 (2 held back)" in manager.command("status").stdout
    for kind in KINDS:
        eventually(lambda kind=kind: len(lines(folder / kind)) == 3, f"{kind} has sent all")  # type: ignore[misc]
        sent = lines(folder / kind)
        assert sorted(sent) == ["gmail 1 1", "gmail 2 1", "other 3 1"], kind
        if kind in ("mail", "mail_from_set"):  # the others begin both mails to Gmail at once
            assert sent[0] == "other 3 1", kind
    assert "the job is put back, and its key is held for 3 s: 421 too many connections" in manager.log()
    assert "back in its queue; the key 'gmail' is held for 3.0 s: Throttled: 421 too many connections" in manager.log()
