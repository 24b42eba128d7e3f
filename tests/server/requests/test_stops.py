"""The extensions `job-stop` and `job-stopping`, and the text command `stop job`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import CAN_DO_MANY, GRAB_JOBS, JOB_STOPPING, RETURN_JOBS, SET_RETURN_KEY, STOP_JOB
from gearman_client.packet import PacketType
from gearman_server.jobs.access import THIS_MACHINE
from gearman_server.jobs.events import Event, JobStopped
from gearman_server.jobs.policies import STOP_GRACE_S
from gearman_server.jobs.store import ChangesWritten

from ..broker_harness import BrokerHarness, DurableBroker, Peer
from .replayed import Replayed, stored

KEY = b"k" * 16
ELSEWHERE = "198.51.100.7"

Outcomes = list[str]


def supervise(broker: BrokerHarness, name: bytes = b"gm:box", address: str = "192.0.2.1") -> Peer:
    peer = broker.peer(address)
    peer.send(PacketType.SET_CLIENT_ID, name)
    assert peer.ask(PacketType.OPTION_REQ, b"job-stopping") == [(PacketType.OPTION_RES, b"job-stopping")]
    return peer


def outcomes_of(broker: BrokerHarness) -> Outcomes:
    """What became of the jobs that are stopped from now on."""
    outcomes: Outcomes = []

    def note(event: Event) -> None:
        assert isinstance(event, JobStopped)
        outcomes.append(str(event.outcome))

    broker.broker.events.subscribe(note, JobStopped)
    return outcomes


def worker_of(broker: BrokerHarness, name: bytes = b"gm:box/pool/1") -> Peer:
    worker = broker.worker(b"f")
    worker.send(PacketType.SET_CLIENT_ID, name)
    return worker


def run(worker: Peer, kind: str = "SUBMIT_JOB_BG", client: Peer | None = None) -> bytes:
    """A job that the worker has."""
    client = client or worker._harness.peer()
    handle = client.submit(b"f", b"w", b"", kind)
    assert worker.grab() == handle
    return handle


def stop(broker: BrokerHarness, *handles: bytes) -> bytes:
    return broker.peer().text(b"stop job " + b" ".join(handles))


def told(handle: bytes, name: bytes = b"gm:box/pool/1") -> list[tuple[int, bytes]]:
    return [(JOB_STOPPING, name + b"\x00192.0.2.1:50000\x00" + handle)]


def test_a_waiting_job_is_cancelled(broker: BrokerHarness) -> None:
    outcomes, client = outcomes_of(broker), broker.peer()
    handles = [client.submit(b"f", b"w"), client.submit(b"f", b"w")]
    assert stop(broker, *handles, b"H:test:99") == b"OK 2\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle) for handle in handles]
    assert (broker.status(b"f"), outcomes) == ((0, 0, 0), [])
    assert stop(broker, *handles) == b"OK 0\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda worker, handle: worker.ask(PacketType.WORK_COMPLETE, handle, b"r"), "answered"),
        (lambda worker, handle: worker.ask(PacketType.WORK_FAIL, handle), "answered"),
        (lambda worker, handle: worker.ask(PacketType.WORK_EXCEPTION, handle, b"why"), "answered"),
        (lambda worker, handle: worker.ask(1002, handle, b"retry", b"", b"", b"again", b""), "answered"),
        (lambda worker, handle: worker.ask(1002, handle, b"throttle", b"9", b"function", b"slow", b""), "answered"),
        (lambda worker, _handle: worker.leave(), "lost"),
        (lambda worker, _handle: worker.send(PacketType.CANT_DO, b"f"), "lost"),
        (lambda worker, handle: worker.text(b"fail job %b timeout" % handle), "answered"),
        (lambda worker, _handle: worker.text(b"worker return gm:box/pool/1"), "not begun"),
    ],
)
def test_a_running_job_is_over_however_its_worker_ends_it(
    broker_with: Callable[..., BrokerHarness], answer: Callable[[Peer, bytes], object], outcome: str
) -> None:
    broker = broker_with(retries=5, crash_retries=5, keep_result_s=60.0)
    outcomes, supervisor, worker = outcomes_of(broker), supervise(broker), worker_of(broker)
    client, curious = broker.peer(), broker.peer()
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f", b"w", b"u", "SUBMIT_JOB_BG")
    assert client.submit(b"f", b"w", b"u") == curious.submit(b"f", b"w", b"u") == handle == worker.grab()
    assert stop(broker, handle) == b"OK 1\n"
    assert supervisor.take() == told(handle)
    assert (client.take(), curious.take(), broker.status(b"f")) == ([], [], (1, 1, 1))
    assert stop(broker, handle) == b"OK 1\n"
    assert supervisor.take() == []  # it has heard of it
    answer(worker, handle)
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0stopped")]
    assert curious.take() == [(PacketType.WORK_FAIL, handle)]
    assert outcomes == [outcome]
    assert broker.status(b"f")[:2] == (0, 0)
    assert broker.broker.dead_letters.by_handle == {}
    assert broker.broker.results.kept.by_handle[handle].content == b"stopped"
    assert broker.peer().text(b"stop job " + handle) == b"OK 0\n"


def test_progress_is_still_told_and_the_list_shows_the_state(broker: BrokerHarness) -> None:
    supervise(broker)
    client, worker = broker.peer(), worker_of(broker)
    handle = run(worker, "SUBMIT_JOB", client)
    stop(broker, handle)
    worker.send(PacketType.WORK_DATA, handle, b"cleaning up")
    assert client.take() == [(PacketType.WORK_DATA, handle + b"\0cleaning up")]
    assert broker.peer().text(b"jobs list state=stopping").startswith(handle + b"\tf\tstopping\t")
    assert b"state\tstopping\n" in broker.peer().text(b"jobs show " + handle)


def test_a_further_submission_of_its_key_is_a_job_of_its_own(broker: BrokerHarness) -> None:
    supervise(broker)
    client, worker = broker.peer(), worker_of(broker)
    handle = client.submit(b"f", b"w", b"u", "SUBMIT_JOB_BG")
    assert worker.grab() == handle
    stop(broker, handle)
    again = client.submit(b"f", b"w", b"u", "SUBMIT_JOB_BG")
    assert again != handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert worker.grab() == again


@pytest.mark.parametrize(
    ("names", "address"),
    [
        pytest.param([], "192.0.2.1", id="nobody"),
        pytest.param([b"gm:other"], ELSEWHERE, id="a supervisor of other workers elsewhere"),
        pytest.param([b"", b"-"], ELSEWHERE, id="nameless ones elsewhere"),
    ],
)
def test_if_nobody_can_tell_its_worker_it_is_over_for_its_clients_at_once(
    broker: BrokerHarness, names: list[bytes], address: str
) -> None:
    outcomes, supervisors = outcomes_of(broker), [supervise(broker, name, address) for name in names]
    client, worker = broker.peer(), worker_of(broker)
    handle = run(worker, "SUBMIT_JOB", client)
    assert stop(broker, handle) == b"OK 1\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert all(supervisor.take() == [] for supervisor in supervisors)
    assert outcomes == ["untold"]
    assert broker.status(b"f") == (1, 1, 1)  # the worker goes on
    assert stop(broker, handle) == b"OK 0\n"
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"r") == []  # and Perl's worker would die of an ERROR
    assert (client.take(), broker.status(b"f")) == ([], (0, 0, 1))


def test_the_supervisor_is_found_by_the_workers_name_or_else_by_the_address(broker: BrokerHarness) -> None:
    ours, other = supervise(broker, b"gm:box+0a1b2c"), supervise(broker, b"gm:other")
    elsewhere = supervise(broker, b"gm:third", ELSEWHERE)
    named, stranger = worker_of(broker), worker_of(broker, b"foreign")
    handle = run(named)
    stop(broker, handle)
    assert (ours.take(), other.take(), elsewhere.take()) == (told(handle), [], [])
    handle = run(stranger)
    stop(broker, handle)
    assert ours.take() == other.take() == told(handle, b"foreign")
    assert elsewhere.take() == []


def test_a_worker_that_wants_to_hears_of_its_own_jobs_and_of_no_others(broker: BrokerHarness) -> None:
    outcomes, supervisor = outcomes_of(broker), supervise(broker, b"gm:box")
    hearing, other = worker_of(broker, b"billing"), worker_of(broker, b"mails")
    option = b"own-job-stopping"
    assert hearing.ask(PacketType.OPTION_REQ, option) == [(PacketType.OPTION_RES, option)]
    handle = run(hearing)
    stop(broker, handle)
    assert (hearing.take(), supervisor.take(), other.take()) == (told(handle, b"billing"), [], [])
    assert hearing.ask(PacketType.WORK_FAIL, handle) == []
    handle = run(other)
    supervisor.leave()
    stop(broker, handle)
    assert (hearing.take(), outcomes) == ([], ["answered", "untold"])


def test_after_the_grace_it_is_over_for_its_clients(broker: BrokerHarness) -> None:
    outcomes, client, worker = outcomes_of(broker), broker.peer(), worker_of(broker)
    supervise(broker)
    handle = run(worker, "SUBMIT_JOB", client)
    stop(broker, handle)
    broker.advance(STOP_GRACE_S - 0.1)
    assert client.take() == []
    broker.advance(0.1)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert outcomes == ["overdue"]
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"r") == []
    assert broker.status(b"f") == (0, 0, 1)


def test_a_supervisor_that_is_gone_is_told_nothing(broker: BrokerHarness) -> None:
    outcomes = outcomes_of(broker)
    supervise(broker).leave()
    stop(broker, run(worker_of(broker)))
    assert outcomes == ["untold"]


def test_a_stopped_job_can_be_cancelled(broker: BrokerHarness) -> None:
    supervise(broker)
    client, worker = broker.peer(), worker_of(broker)
    handle = run(worker, "SUBMIT_JOB", client)
    stop(broker, handle)
    assert broker.peer().text(b"cancel job " + handle) == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    broker.advance(STOP_GRACE_S)
    assert (client.take(), broker.status(b"f")) == ([], (1, 1, 1))


def set_worker(broker: BrokerHarness, batch: bool = False) -> tuple[Peer, list[bytes]]:
    """A worker that was given three jobs at once, one after the other or as a batch."""
    worker = worker_of(broker)
    worker.ask(PacketType.OPTION_REQ, b"grab-many")
    worker.send(SET_RETURN_KEY, KEY)
    if batch:
        worker.send(CAN_DO_MANY, b"f", b"3", b"0")
    handles = [broker.peer().submit(b"f", b"w", b"", "SUBMIT_JOB_BG") for _ in range(3)]
    assert len(worker.ask(GRAB_JOBS, b"3")) == 4
    return worker, handles


def test_a_job_that_waits_in_its_workers_hands_is_over_when_the_supervisor_gives_it_back(broker: BrokerHarness) -> None:
    outcomes, supervisor = outcomes_of(broker), supervise(broker)
    worker, (first, second, third) = set_worker(broker)
    stop(broker, third)
    assert supervisor.take() == told(third)
    supervisor.send(RETURN_JOBS, KEY, second, third)
    assert outcomes == ["not begun"]
    assert broker.status(b"f") == (2, 1, 1)
    assert worker.ask(PacketType.WORK_COMPLETE, first, b"") == []
    assert broker.worker(b"f").grab() == second


def test_one_job_of_a_batch_is_over_for_its_clients_at_once_and_the_others_go_on(broker: BrokerHarness) -> None:
    outcomes, supervisor = outcomes_of(broker), supervise(broker)
    worker, handles = set_worker(broker, batch=True)
    stop(broker, handles[1])
    assert (supervisor.take(), outcomes) == ([], ["untold"])
    for handle in handles:
        assert worker.ask(PacketType.WORK_COMPLETE, handle, b"") == []
    assert broker.status(b"f") == (0, 0, 1)


def test_one_command_stops_many_jobs(broker: BrokerHarness) -> None:
    client = broker.peer()
    handles = [client.submit(b"f", b"w", b"", "SUBMIT_JOB_BG") for _ in range(100)]
    assert stop(broker, *handles, b"H:test:999") == b"OK 100\n"
    assert broker.status(b"f") == (0, 0, 0)


def test_the_packet_says_what_has_come_of_it(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), worker_of(broker)
    assert client.ask(PacketType.OPTION_REQ, b"job-stop") == [(PacketType.OPTION_RES, b"job-stop")]
    untold = run(worker, client=client)
    assert client.ask(STOP_JOB, untold) == [(STOP_JOB, untold + b"\0stopped")]
    supervise(broker)
    running, waiting = run(worker, client=client), client.submit(b"f", b"w", b"", "SUBMIT_JOB_BG")
    outcomes = {untold: b"unknown", running: b"stopping", waiting: b"cancelled", b"H:test:99": b"unknown"}
    for handle, outcome in outcomes.items():
        assert client.ask(STOP_JOB, handle) == [(STOP_JOB, handle + b"\0" + outcome)]
    assert client.ask(STOP_JOB, running) == [(STOP_JOB, running + b"\0stopping")]


def test_who_may_not_change_anything_may_not_stop_jobs(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    client = broker.peer()
    handle = client.submit(b"f", b"w")
    assert client.text(b"stop job " + handle).startswith(b"ERR NOT_ALLOWED ")
    [(packet_type, body)] = client.ask(STOP_JOB, handle)
    assert (packet_type, body[:12]) == (PacketType.ERROR, b"NOT_ALLOWED\0")
    assert broker.status(b"f") == (1, 0, 0)


@pytest.mark.parametrize("line", [b"stop", b"stop job", b"stop worker H:test:1"])
def test_a_command_that_is_not_understood_is_refused(broker: BrokerHarness, line: bytes) -> None:
    assert broker.peer().text(line).startswith(b"ERR INVALID_ARGUMENTS stop+job+HANDLE")


# --- durable


@pytest.mark.parametrize("state", ["waiting", "running", "ended meanwhile"])
def test_the_answer_waits_until_it_is_written_that_the_job_never_runs_again(durable: DurableBroker, state: str) -> None:
    supervise(durable)
    worker, operator = worker_of(durable), durable.peer()
    worker.send(PacketType.SET_CLIENT_ID, b"gm:box/pool/1")
    handle = operator_submits(durable)
    if state != "waiting":
        assert worker.grab() == handle
    operator.send(0, b"stop job " + handle)
    assert operator.take_bytes() == b""
    if state == "ended meanwhile":
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert list(durable.store.stops) == [handle]
    durable.tell(ChangesWritten(stops=tuple(durable.store.stops)))
    assert operator.take_bytes() == b"OK 1\n"


def operator_submits(durable: DurableBroker) -> bytes:
    """A background job that is written."""
    client = durable.peer()
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.commit()
    [(_, handle)] = client.take()
    return handle


def test_a_job_that_was_being_stopped_when_the_server_ended_is_over(replayed: Replayed) -> None:
    outcomes = outcomes_of(replayed.harness)
    assert replayed.load(stored(1, was_stopped=True, unique=b"u"), stored(2)) == []
    replayed.end()
    assert outcomes == ["server ended"]
    assert replayed.harness.status(b"f") == (1, 0, 0)


def test_stored_jobs_that_are_not_read_yet_are_found_for_it(replayed: Replayed) -> None:
    operator = replayed.harness.peer()
    operator.send(0, b"stop job H:old:2 H:old:3")
    assert len(replayed.questions[0][0]) == 2
    replayed.answer(stored(2), stored(3))
    replayed.write_changes()
    assert operator.take_bytes() == b"OK 2\n"
    assert replayed.load(stored(1), stored(2), stored(3)) == []
    assert replayed.harness.status(b"f") == (1, 0, 0)
