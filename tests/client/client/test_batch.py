"""Many background jobs at once: their order, the portions in which they are sent, generators, refusals of some jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import ArgumentError, Client, ConnectionLost, PartlyRefused, ProtocolError
from gearman_client.client.batch import PORTION_BYTES, PORTION_JOBS
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ..conftest import RunningWorker, ScriptedServer

T = PacketType


def test_every_job_arrives_once_and_in_order_with_its_own_handle(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    seen: list[bytes] = []
    workloads = [str(number) for number in range(3 * PORTION_JOBS + 7)]
    with Client(gearmand.address) as client:
        handles = client.submit_background_many("keep", workloads)
        assert len(set(handles)) == len(workloads)
        assert client.status(handles[-1]).known
        start_worker(gearmand.address, {"keep": lambda job: seen.append(job.workload)})
        client.submit("keep", "last", timeout_s=20)
        assert seen == [*(workload.encode() for workload in workloads), b"last"]
        assert client.submit_background_many("keep", []) == []


def test_large_batches_are_sent_in_portions_and_a_generator_is_read_one_portion_at_a_time(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    taken: list[int] = []

    def workloads() -> Iterator[bytes]:
        for number in range(5):
            taken.append(number)
            yield bytes(PORTION_BYTES // 2 - 100)

    with Client(scripted_server.address, exceptions=False) as client:
        submitting = in_thread(client.submit_background_many, "f", workloads())
        peer = scripted_server.accept()
        for first, jobs in ((0, 2), (2, 2), (4, 1)):
            for _ in range(jobs):
                assert peer.next()[0] == T.SUBMIT_JOB_BG
            assert len(taken) <= first + 3
            for number in range(jobs):
                peer.send(T.JOB_CREATED, b"H:a:%d" % (first + number))
        assert submitting.result(10) == [f"H:a:{number}" for number in range(5)]


def test_a_refusal_names_the_jobs_that_were_accepted_and_leaves_the_connection_usable(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False) as client:
        submitting = in_thread(client.submit_background_many, "f", [b"1", b"2", b"3"])
        peer = scripted_server.accept()
        for _ in range(3):
            peer.next()
        peer.send(T.JOB_CREATED, b"H:a:1")
        peer.send(T.ERROR, b"QUEUE_FULL", b"no more")
        peer.send(T.JOB_CREATED, b"H:a:3")
        with pytest.raises(PartlyRefused, match="QUEUE_FULL: no more") as refused:
            submitting.result(10)
        assert refused.value.accepted == ["H:a:1", "H:a:3"]
        again = in_thread(client.echo, b"still there")
        peer.expect(T.ECHO_REQ, b"still there")
        peer.send(T.ECHO_RES, b"still there")
        assert again.result(10) == b"still there"


@pytest.mark.parametrize("answer", [None, (T.NO_JOB,)])
def test_a_lost_server_or_an_unexpected_answer_is_an_error(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], answer: tuple[Any, ...] | None
) -> None:
    with Client(scripted_server.address, exceptions=False) as client:
        submitting = in_thread(client.submit_background_many, "f", [b"1", b"2"])
        peer = scripted_server.accept()
        peer.next()
        if answer is None:
            peer.close()
        else:
            peer.send(*answer)
        with pytest.raises((ConnectionLost, ProtocolError)):
            submitting.result(10)


def test_an_invalid_workload_leaves_no_half_sent_portion(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client:
        with pytest.raises(ArgumentError):
            client.submit_background_many("f", [b"1", 2])  # type: ignore[list-item]
        assert client.echo() == b"ping"
