"""Options of a job on the side that runs it: every kind of worker is told of them, and its own timeout wins."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from gearman_client.address import parse_address
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ..server.stream_peer import StreamPeer
from .conftest import RunningManager, eventually

TELL = """
import asyncio
import signal
import time

from gearman_manager import function

@function
def tell(job):
    if job.workload == b"deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    if job.workload != b"tell":
        time.sleep(60)
    return [dict(job.headers), list(job.tags), job.key, job.priority]

@function
def tell_in_greenlet(job):
    return tell(job)

@function
def tell_from_set(job):
    return tell(job)

@function(batch=5)
def tell_in_list(jobs):
    return [tell(job) for job in jobs]

@function
async def tell_on_loop(job):
    if job.workload != b"tell":
        await asyncio.sleep(60)
    return tell(job)
"""
PHP = """<?php
function tell_php($job) {
    if ($job->workload() !== 'tell') {
        sleep(60);
    }
    return [$job->headers, $job->tags, $job->key, $job->priority];
}
"""
CONFIG = """
defaults: {min: 1, max: 1}
pools:
  greenlet: {functions: [tell_in_greenlet], concurrency: 2}
  set: {functions: [tell_from_set], prefetch: 3}
functions: {tell: {timeout: 50s}, tell_on_loop: {timeout: 50s}}
"""
KINDS = ("tell", "tell_in_greenlet", "tell_from_set", "tell_in_list", "tell_on_loop", "tell_php")
PAIRS = (
    b"header:traceparent=00-1",
    b"header:lang=\xc3\xa9",
    b"tag=mail",
    b"tag=daily",
    b"key=example.org",
    b"priority=7",
)
TOLD = [{"traceparent": "00-1", "lang": "é"}, ["mail", "daily"], "example.org", 7]


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    manager = RunningManager(tmp_path_factory.mktemp("options"))
    manager.write_module("tell.py", TELL)
    manager.write_module("tell_php.php", PHP)
    try:
        yield manager.start(CONFIG)
    finally:
        manager.destroy()


@pytest.fixture
def client(manager: RunningManager) -> Iterator[StreamPeer]:
    address = parse_address(manager.address)
    with socket.create_connection((address.host, address.port), timeout=20) as stream:
        peer = StreamPeer(stream)
        assert peer.ask(PacketType.OPTION_REQ, b"exceptions") == (PacketType.OPTION_RES, b"exceptions")
        yield peer


def ended(client: StreamPeer, function: str, workload: bytes, *pairs: bytes) -> tuple[int, bytes]:
    """The last packet of a foreground job."""
    packet_type, handle = client.ask(SUBMIT_JOB_WITH, function.encode(), b"", *pairs, b"", workload)
    assert packet_type == PacketType.JOB_CREATED, handle
    packet_type, body = client.receive()
    return packet_type, body.removeprefix(handle + b"\0")


@pytest.mark.parametrize("function", KINDS)
def test_a_function_finds_the_options_and_its_jobs_own_timeout_holds(client: StreamPeer, function: str) -> None:
    packet_type, result = ended(client, function, b"tell", *PAIRS)
    assert (packet_type, json.loads(result)) == (PacketType.WORK_COMPLETE, TOLD)
    packet_type, result = ended(client, function, b"tell", b"timeout=0")
    assert json.loads(result) in ([{}, [], "", None], [[], [], "", None])  # PHP writes an empty array
    packet_type, text = ended(client, function, b"wait", b"timeout=250")
    assert packet_type == PacketType.WORK_EXCEPTION
    assert text.decode() == f"JobTimeout: {function} took longer than its timeout of 0.25 s"


def test_a_worker_that_does_not_react_to_its_jobs_own_timeout_is_killed(
    manager: RunningManager, client: StreamPeer
) -> None:
    assert ended(client, "tell", b"deaf", b"timeout=250") == (PacketType.WORK_EXCEPTION, b"timeout")
    eventually(
        lambda: "did not react to its timeout" in manager.status()["pools"]["tell"]["last_error"], "it is killed"
    )
