"""The text commands `worker drain WORKER` and `worker return WORKER`, by which a supervisor takes a worker out."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import Identity
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import BrokerHarness, Peer
from ..server_process import ServerProcess

NOT_FOUND = [(PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")]
ID = b"gm:box/mail/1"


@pytest.fixture
def worker(broker: BrokerHarness) -> Peer:
    """A worker of `f` with the client id ID."""
    worker = broker.worker(b"f")
    worker.send(PacketType.SET_CLIENT_ID, ID)
    return worker


def test_a_drained_worker_finishes_its_job_and_gets_no_other(broker: BrokerHarness, worker: Peer) -> None:
    client = broker.peer()
    first, second = client.submit(b"f"), client.submit(b"f")
    assert worker.grab() == first
    assert broker.peer().text(b"worker drain " + ID) == b"OK 1\n"  # the number of its jobs
    assert broker.status(b"f") == (2, 1, 0)  # nobody counts on it any more
    assert worker.ask(PacketType.WORK_COMPLETE, first, b"done") == []
    assert broker.peer().text(b"worker drain " + ID) == b"OK 0\n"
    assert client.take() == [(PacketType.WORK_COMPLETE, first + b"\0done")]
    assert worker.grab() is None
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.grab() is None
    assert broker.worker(b"f").grab() == second


def test_one_that_sleeps_or_waits_for_an_answer_is_not_woken(broker: BrokerHarness, worker: Peer) -> None:
    asking = broker.worker(b"f")
    asking.send(PacketType.SET_CLIENT_ID, ID)
    asking.begin((PacketType.GRAB_JOB, b""))  # its answer waits for the end of the pass
    worker.ask(PacketType.PRE_SLEEP)
    assert broker.peer().text(b"worker drain " + ID) == b"OK 0\n"
    broker.peer().submit(b"f")
    assert worker.take() == []
    assert asking.take() == [(PacketType.NO_JOB, b"")]


def test_returned_jobs_are_first_in_their_queue_and_count_no_attempt(broker: BrokerHarness, worker: Peer) -> None:
    broker.broker.use_policies({b"f": FunctionPolicy(crash_retries=0)})
    client = broker.peer()
    running = client.submit(b"f", b"running", kind="SUBMIT_JOB_BG")
    client.submit(b"f", b"waiting", kind="SUBMIT_JOB_BG")
    assert worker.grab() == running
    other = broker.worker(b"f")
    other.ask(PacketType.PRE_SLEEP)
    assert broker.peer().text(b"worker return " + ID) == b"OK 1\n"
    assert worker.ask(PacketType.WORK_COMPLETE, running, b"late") == NOT_FOUND
    worker.leave()
    shown = broker.peer().text(b"jobs show " + running)
    assert (b"attempt\t1\n" in shown, b"losses\t0\n" in shown) == (True, True)
    assert other.grab() == running
    assert other.grab_workload() == b"waiting"


def test_a_returned_job_that_nobody_wants_any_more_is_dropped(broker: BrokerHarness, worker: Peer) -> None:
    client = broker.peer()
    client.submit(b"f")
    worker.grab()
    client.leave()
    assert broker.peer().text(b"worker return " + ID) == b"OK 1\n"
    assert broker.status(b"f") == (0, 0, 0)


def test_it_may_be_named_by_its_address(broker: BrokerHarness) -> None:
    named, other = broker.worker(b"f"), broker.worker(b"f")
    named.session.identity = Identity("192.0.2.1", 53120)
    broker.peer().submit(b"f")
    assert broker.peer().text(b"worker drain 192.0.2.1:53120") == b"OK 0\n"
    assert named.grab() is None
    assert other.grab() is not None


def test_very_many_functions_and_jobs_are_dealt_with_before_the_answer(broker: BrokerHarness) -> None:
    names = [b"f%d" % number for number in range(3 * STEP)]
    worker = broker.worker(*names)
    worker.send(PacketType.SET_CLIENT_ID, ID)
    client = broker.peer()
    handles = [client.submit(name) for name in names]
    for _ in handles:
        worker.grab()
    assert broker.peer().text(b"worker return " + ID) == b"OK %d\n" % len(handles)
    assert worker.grab() is None
    assert all(broker.status(name) == (1, 0, 0) for name in names)


@pytest.mark.parametrize("command", [b"drain", b"return"])
def test_only_the_address_of_the_worker_may_take_it_out(broker: BrokerHarness, worker: Peer, command: bytes) -> None:
    broker.peer().submit(b"f")
    answer = broker.peer(address="192.0.2.2").text(b"worker " + command + b" " + ID)
    assert answer == b"ERR NOT_ALLOWED Only+from+the+address+of+the+worker\r\n"
    assert worker.grab() is not None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"worker", b"INVALID_ARGUMENTS"),
        (b"worker rest", b"INVALID_ARGUMENTS"),
        (b"worker drain", b"INVALID_ARGUMENTS"),
        (b"worker drain -", b"INVALID_ARGUMENTS"),  # the id of all that have none
        (b"worker drain one two", b"INVALID_ARGUMENTS"),
        (b"worker drain nobody", b"UNKNOWN_WORKER"),
        (b"worker return \xff", b"UNKNOWN_WORKER"),
    ],
)
def test_a_command_without_a_worker_is_refused(broker: BrokerHarness, worker: Peer, line: bytes, code: bytes) -> None:
    assert broker.peer().text(line).startswith(b"ERR " + code)
    broker.peer().submit(b"f")
    assert worker.grab() is not None


def test_on_a_real_server_the_address_is_that_of_the_socket(server: ServerProcess) -> None:
    client, worker, supervisor = server.peer(), server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    host, port = worker.socket.getsockname()[:2]
    assert supervisor.text(f"worker return {host}:{port}".encode()) == b"OK 1\n"
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.NO_JOB, b"")
    other = server.peer()
    other.send(PacketType.CAN_DO, b"f")
    assert other.ask(PacketType.GRAB_JOB)[1].startswith(handle)
