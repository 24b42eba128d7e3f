"""The worker that holds several jobs at once: its grabs at one or several servers, its sleep, its losses."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import Client, WorkerJob, WorkerSettings
from gearman_client.packet import PacketType
from gearman_client.worker.concurrent_worker import ConcurrentWorker

from ...gearmand import Gearmand
from ..conftest import Peer, RecordingObserver, ScriptedServer

T = PacketType
SOON_S = 10.0


class Crew:
    """Drives a worker with a number of places in a thread; a job keeps its place until the test finishes it."""

    def __init__(self, worker: ConcurrentWorker, places: int, in_thread: Callable[..., Future[Any]]) -> None:
        self.worker = worker
        self.came: queue.Queue[WorkerJob] = queue.Queue()
        self._places = places
        self._taken = 0
        self.end = in_thread(self._run)

    def _run(self) -> None:
        while not self.worker.stopping or self._taken or self.worker.asked:
            for job in self.worker.take(self._places - self._taken):
                self._taken += 1
                self.came.put(job)
        self.worker.close()

    def next(self) -> WorkerJob:
        return self.came.get(timeout=SOON_S)

    def finish(self, job: WorkerJob, result: bytes = b"") -> None:
        job.complete(result)
        self._taken -= 1
        self.worker.wake()


@pytest.fixture
def start_crew(observer: RecordingObserver, in_thread: Callable[..., Future[Any]]) -> Iterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def start(servers: Any, places: int, **settings: Any) -> Crew:
        worker = ConcurrentWorker(servers, WorkerSettings(**settings), observer=observer)
        worker.register("f")
        crews.append(Crew(worker, places, in_thread))
        return crews[-1]

    yield start
    for crew in crews:
        crew.worker.stop()


def assign(peer: Peer, *numbers: int) -> None:
    for number in numbers:
        peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:%d" % number, b"f", b"", b"")


def grabs(peer: Peer, count: int) -> None:
    for _ in range(count):
        peer.expect(T.GRAB_JOB_UNIQ)


def end(crew: Crew, peer: Peer) -> None:
    """End the worker at once: the server closes the connection as soon as it has read to the end."""
    crew.worker.stop()
    peer.read_to_end()
    peer.close()
    crew.end.result(SOON_S)


def test_each_job_doubles_the_number_of_grabs_up_to_the_number_of_places(
    scripted_server: ScriptedServer, start_crew: Callable[..., Crew]
) -> None:
    crew = start_crew(scripted_server.address, 5)
    peer = scripted_server.accept()
    peer.greet(b"f")  # the first grab, a single one
    assign(peer, 1)
    grabs(peer, 2)
    assign(peer, 2, 3)
    grabs(peer, 2)  # the last two places
    assign(peer, 4, 5)
    held = [crew.next() for _ in range(5)]
    assert [job.handle for job in held] == [f"H:x:{number}" for number in range(1, 6)]
    crew.finish(held[2], b"third")
    assert peer.read_once() == [(T.WORK_COMPLETE, b"H:x:3\0third"), (T.GRAB_JOB_UNIQ, b"")]  # no grab was sent before
    peer.send(T.NO_JOB)
    peer.expect(T.PRE_SLEEP)
    for job in (held[0], held[1], held[3], held[4]):
        crew.finish(job)
    end(crew, peer)


def test_it_sleeps_when_its_last_grab_finds_no_job_and_grabs_again_when_woken(
    scripted_server: ScriptedServer, start_crew: Callable[..., Crew]
) -> None:
    crew = start_crew(scripted_server.address, 10)
    peer = scripted_server.accept()
    peer.greet(b"f")
    assign(peer, 1)
    grabs(peer, 2)
    peer.send(T.NO_JOB)
    assign(peer, 2)  # arrives between the two NO_JOBs
    grabs(peer, 2)
    peer.send(T.NO_JOB)
    peer.send(T.NO_JOB)
    peer.expect(T.PRE_SLEEP)
    crew.finish(crew.next(), b"late")  # an answer sends no grab to a server that has just said NO_JOB
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"late")
    peer.send(T.NOOP)
    grabs(peer, 1)
    peer.send(T.NO_JOB)
    peer.expect(T.PRE_SLEEP)
    crew.finish(crew.next())
    end(crew, peer)


def test_several_servers_share_the_places(
    start_scripted_server: Callable[[], ScriptedServer], start_crew: Callable[..., Crew]
) -> None:
    servers = [start_scripted_server(), start_scripted_server()]
    crew = start_crew([server.address for server in servers], 2)
    peers = [server.accept() for server in servers]
    for peer in peers:
        peer.greet(b"f")  # a grab for each of the two places
    assign(peers[0], 1)
    first = crew.next()
    peers[1].send(T.NO_JOB)
    peers[1].expect(T.PRE_SLEEP)
    grabs(peers[0], 1)  # the place that the other server had no job for
    assign(peers[0], 2)
    second = crew.next()
    assert [first.server, second.server] == [servers[0].address] * 2
    peers[1].send(T.NOOP)
    crew.finish(first)
    crew.finish(second)
    assert sorted(peer.next()[0] for peer in peers) == [T.WORK_COMPLETE, T.GRAB_JOB_UNIQ]  # one each, and in turn
    crew.worker.stop()
    for peer in peers:
        peer.close()
    crew.end.result(SOON_S)


def test_a_silent_server_does_not_delay_the_others_and_is_given_up(
    start_scripted_server: Callable[[], ScriptedServer],
    start_crew: Callable[..., Crew],
    observer: RecordingObserver,
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    stalled, sound = start_scripted_server(), start_scripted_server()
    crew = start_crew([stalled.address, sound.address], 4, reply_timeout_s=0.5)
    silent, peer = stalled.accept(), sound.accept()
    silent.greet(b"f")  # no answer to the grab follows
    peer.greet(b"f")
    for number in range(1, 6):
        assign(peer, number)
        crew.finish(crew.next())
    lost = ("disconnected", stalled.address, "no answer for 0.5 s")
    wait_for(lambda: lost in observer.events, "the silent server is given up")
    crew.worker.stop()
    silent.close()
    peer.close()
    crew.end.result(SOON_S)


def test_a_job_that_was_requested_before_stop_is_still_run_and_answered(
    scripted_server: ScriptedServer, start_crew: Callable[..., Crew]
) -> None:
    crew = start_crew(scripted_server.address, 3)
    peer = scripted_server.accept()
    peer.greet(b"f")
    crew.worker.stop()
    assert not crew.end.done()
    assign(peer, 1)
    crew.finish(crew.next(), b"done")
    assert peer.read_to_end() == [(T.WORK_COMPLETE, b"H:x:1\0done")]
    peer.close()
    crew.end.result(SOON_S)


def test_a_closed_interrupt_pipe_stops_it(
    scripted_server: ScriptedServer, observer: RecordingObserver, in_thread: Callable[..., Future[Any]]
) -> None:
    reader, writer = os.pipe()
    worker = ConcurrentWorker(scripted_server.address, observer=observer)
    worker.register("f")
    worker.interrupt_on(reader)
    crew = Crew(worker, 2, in_thread)
    peer = scripted_server.accept()
    peer.greet(b"f")
    assign(peer, 1)
    job = crew.next()
    grabs(peer, 1)
    os.close(writer)
    peer.send(T.NO_JOB)
    peer.expect(T.PRE_SLEEP)
    crew.finish(job)
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"")
    peer.close()
    crew.end.result(SOON_S)
    os.close(reader)


def test_jobs_of_a_lost_connection_are_reported_and_their_answers_are_dropped(
    scripted_server: ScriptedServer, start_crew: Callable[..., Crew], observer: RecordingObserver
) -> None:
    crew = start_crew(scripted_server.address, 3)
    peer = scripted_server.accept()
    peer.greet(b"f")
    assign(peer, 1)
    grabs(peer, 2)
    assign(peer, 2)
    first, second = crew.next(), crew.next()
    crew.finish(first)  # no reply has confirmed its answer
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"")
    peer.close()
    again = scripted_server.accept()
    again.greet(b"f")
    crew.finish(second)
    again.send(T.NO_JOB)
    again.expect(T.PRE_SLEEP)
    assert {event[2] for event in observer.named("result_lost")} == {"H:x:1", "H:x:2"}
    end(crew, again)


def test_progress_is_sent_at_once_while_other_jobs_wait(
    scripted_server: ScriptedServer, start_crew: Callable[..., Crew]
) -> None:
    crew = start_crew(scripted_server.address, 2)
    peer = scripted_server.accept()
    peer.greet(b"f")
    assign(peer, 1)
    grabs(peer, 1)
    assign(peer, 2)
    first, second = crew.next(), crew.next()
    first.status(1, 2)
    peer.expect(T.WORK_STATUS, b"H:x:1", b"1", b"2")
    second.data(b"part")
    peer.expect(T.WORK_DATA, b"H:x:2", b"part")
    crew.finish(first)
    crew.finish(second)
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"")
    crew.worker.stop()
    peer.close()
    crew.end.result(SOON_S)


def test_gearmand_gives_it_several_jobs_over_one_connection(
    gearmand: Gearmand, start_crew: Callable[..., Crew], wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    crew = start_crew(gearmand.address, 3)
    wait_for(lambda: gearmand.registered("f"), "it is registered")
    with Client(gearmand.address) as client:
        for number in range(5):
            client.submit_background("f", b"%d" % number)
    held = [crew.next() for _ in range(3)]
    wait_for(lambda: "f\t5\t3\t1\n" in gearmand.ask("status"), "three of five run, on one worker")
    for job in held:
        crew.finish(job)
    for _ in range(2):
        crew.finish(crew.next())
    wait_for(lambda: "f\t0\t0\t1\n" in gearmand.ask("status"), "all are done")
