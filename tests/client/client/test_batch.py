"""Many background jobs at once: their order, the portions in which they are sent, generators, refusals of some jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import ArgumentError, Client, ConnectionLost, JobNotKnown, PartlyRefused, ProtocolError
from gearman_client.client.batch import PORTION_BYTES, PORTION_JOBS
from gearman_client.extensions import JOBS_CREATED, SERVERS, SERVERS_OPTION, SUBMIT_JOBS, SUBMIT_MANY_OPTION
from gearman_client.packet import PacketType, encode_response, encode_workloads

from ...gearmand import Gearmand
from ..conftest import JobServer, Peer, RunningWorker, ScriptedServer

T = PacketType
CLUSTER_ROW = b"0\t-\t\t1.0\talive\t1\n"


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


def greet_as_ours(server: ScriptedServer) -> Peer:
    """Accept the client's connection, and answer its greeting as a server of ours does."""
    peer = server.accept()
    peer.expect(T.OPTION_REQ, b"exceptions")
    peer.send(T.OPTION_RES, SERVERS_OPTION)
    peer.send(SERVERS, CLUSTER_ROW)
    peer.send(T.OPTION_RES, b"exceptions")
    return peer


def answer_portion(peer: Peer) -> None:
    """Take a whole portion in packets for each job."""
    for number in range(PORTION_JOBS):
        assert peer.next()[0] == T.SUBMIT_JOB_BG
        peer.send(T.JOB_CREATED, b"H:a:%d" % number)


@pytest.mark.parametrize("size", [0, 10, PORTION_BYTES // 100])
def test_a_server_of_ours_takes_lists_of_any_size(
    start_ours: Callable[..., JobServer], start_worker: Callable[..., RunningWorker], size: int
) -> None:
    seen: list[bytes] = []
    workloads = [b"%d\0" % number + bytes(size) for number in range(3 * PORTION_JOBS + 7)]
    server = start_ours()
    with Client(server.address) as client:
        handles = client.submit_background_many("keep", iter(workloads))
        assert len(set(handles)) == len(workloads)
        assert client.status(handles[-1]).known
        assert {handle.server for handle in handles} == {server.address}
        start_worker(server.address, {"keep": lambda job: seen.append(job.workload)})
        client.submit("keep", "last", timeout_s=20, priority="low")
        assert seen == [*workloads, b"last"]


def test_a_full_portion_goes_in_one_packet_once_the_server_has_said_that_it_takes_those(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    workloads = [b"%d" % number for number in range(PORTION_JOBS)]
    with Client(scripted_server.address) as client:
        submitting = in_thread(client.submit_background_many, "f", [*workloads, "last"], priority="high")
        peer = greet_as_ours(scripted_server)
        peer.expect(T.OPTION_REQ, SUBMIT_MANY_OPTION)
        peer.send(T.OPTION_RES, SUBMIT_MANY_OPTION)
        peer.expect(SUBMIT_JOBS, b"f", b"8", b"%d" % PORTION_JOBS, encode_workloads(workloads))
        peer.send(JOBS_CREATED, *(b"H:a:%d" % number for number in range(PORTION_JOBS)))
        peer.expect(SUBMIT_JOBS, b"f", b"8", b"1", encode_workloads([b"last"]))
        peer.send(T.JOB_CREATED, b"H:a:last")
        assert submitting.result(10) == [*(f"H:a:{number}" for number in range(PORTION_JOBS)), "H:a:last"]


@pytest.mark.parametrize(
    "options", [{"delay": 60}, {"tags": ["t"]}, {"priority": 9}, {"retries": 1}, {"key": "k"}, {"keep_result": 60}]
)
def test_jobs_with_options_go_one_by_one(start_ours: Callable[..., JobServer], options: dict[str, Any]) -> None:
    server = start_ours()
    with Client(server.address) as client:
        handles = client.submit_background_many("f", [b"w"] * (PORTION_JOBS + 1), **options)
        shown = server.text(f"jobs show {handles[-1]}")
    assert len(set(handles)) == PORTION_JOBS + 1
    name = "key" if "key" in options else "tags" if "tags" in options else None
    assert name is None or options[name][0] in shown.partition(f"{name}\t")[2]


def test_a_server_of_ours_that_does_not_know_lists_gets_a_packet_for_each(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client:
        submitting = in_thread(client.submit_background_many, "f", [b"w"] * 2 * PORTION_JOBS)
        peer = greet_as_ours(scripted_server)
        peer.expect(T.OPTION_REQ, SUBMIT_MANY_OPTION)
        peer.send(T.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
        answer_portion(peer)
        answer_portion(peer)
        assert len(submitting.result(10)) == 2 * PORTION_JOBS


def test_the_next_server_is_asked_anew_and_gets_what_the_first_has_not_taken(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    first, second = start_scripted_server(), start_scripted_server()
    workloads = [b"%d" % number for number in range(PORTION_JOBS)]
    with Client([first.address, second.address]) as client:
        submitting = in_thread(client.submit_background_many, "f", workloads)
        peer = greet_as_ours(first)
        peer.expect(T.OPTION_REQ, SUBMIT_MANY_OPTION)
        peer.send(T.OPTION_RES, SUBMIT_MANY_OPTION)
        assert peer.next()[0] == SUBMIT_JOBS
        peer.send(T.JOB_CREATED, b"H:a:0")
        for _ in range(PORTION_JOBS - 1):
            peer.send(T.ERROR, b"QUEUE_ERROR", b"The server is shutting down")
        peer = greet_as_ours(second)
        for number in range(1, PORTION_JOBS):
            peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"%d" % number)
            peer.send(T.JOB_CREATED, b"H:b:%d" % number)
        handles = submitting.result(10)
    assert handles == ["H:a:0", *(f"H:b:{number}" for number in range(1, PORTION_JOBS))]


@pytest.mark.parametrize(
    "answers",
    [
        [(JOBS_CREATED, b"H:a:1")],
        [(T.JOB_CREATED, b"H:a:1"), (JOBS_CREATED, *[b"H:a:2"] * (PORTION_JOBS - 1))],
        [(T.NO_JOB,)],
        [(T.JOB_CREATED, b"H:a:1")] * (PORTION_JOBS + 1),
    ],
)
def test_a_wrong_answer_to_a_list_is_an_error(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], answers: list[tuple[Any, ...]]
) -> None:
    with Client(scripted_server.address) as client:
        submitting = in_thread(client.submit_background_many, "f", [b"w"] * PORTION_JOBS)
        peer = greet_as_ours(scripted_server)
        peer.expect(T.OPTION_REQ, SUBMIT_MANY_OPTION)
        peer.send(T.OPTION_RES, SUBMIT_MANY_OPTION)
        assert peer.next()[0] == SUBMIT_JOBS
        peer.socket.sendall(b"".join(encode_response(*answer) for answer in answers))
        with pytest.raises(JobNotKnown) as doubt:
            submitting.result(10)
        assert doubt.value.accepted in ([], ["H:a:1"], ["H:a:1"] * PORTION_JOBS)


def test_a_workload_above_the_limit_is_refused_in_a_list_too(start_ours: Callable[..., JobServer]) -> None:
    with Client(start_ours().address, max_workload_bytes=10) as client:
        client.submit_background_many("f", [b"w"] * PORTION_JOBS)
        with pytest.raises(ArgumentError, match="max_workload_bytes is 10"):
            client.submit_background_many("f", [b"w"] * PORTION_JOBS + [b"w" * 11])
