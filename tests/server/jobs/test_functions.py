"""The number of functions: of very many the unused ones are forgotten, and beyond a maximum new names are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs import functions
from gearman_server.jobs.events import FunctionsForgotten
from gearman_server.jobs.functions import MANY_FUNCTIONS, MAX_FUNCTIONS
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess
from ..stream_peer import DEADLINE_S


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, make_broker: Callable[..., BrokerHarness]) -> BrokerHarness:
    """A broker for which 10 functions are many, and 20 are the maximum."""
    monkeypatch.setattr(functions, "MANY_FUNCTIONS", 10)
    monkeypatch.setattr(functions, "MAX_FUNCTIONS", 20)
    return make_broker()


def name_functions(broker: BrokerHarness, count: int, prefix: bytes = b"new") -> None:
    """Make this number of function names known that nothing uses."""
    admin = broker.peer()
    for number in range(count):
        assert admin.text(b"create function %s-%d" % (prefix, number)) == b"OK\r\n"


def names(broker: BrokerHarness) -> list[bytes]:
    return list(broker.broker.functions.by_name)


def is_refused(broker: BrokerHarness, name: bytes) -> bool:
    [(packet_type, body)] = broker.peer().ask(PacketType.SUBMIT_JOB_BG, name, b"", b"")
    if packet_type == PacketType.ERROR:
        assert body.startswith(b"QUEUE_ERROR\0Too many functions")
    return packet_type == PacketType.ERROR


def test_names_of_finished_jobs_are_kept_while_they_are_few_and_forgotten_beyond_that(broker: BrokerHarness) -> None:
    forgotten: list[object] = []
    broker.broker.events.subscribe(forgotten.append, FunctionsForgotten)
    client = broker.peer()
    for number in range(MANY_FUNCTIONS):
        client.text(b"cancel job %s" % client.submit(b"f%d" % number))
    assert len(names(broker)) == MANY_FUNCTIONS
    client.submit(b"one more")
    assert names(broker) == [b"one more"]
    assert forgotten == [FunctionsForgotten(MANY_FUNCTIONS)]


@pytest.mark.pure_core
def test_a_function_in_use_is_never_forgotten(small: BrokerHarness) -> None:
    small.broker.use_policies({b"policy": FunctionPolicy(retries=1)})
    client = small.peer()
    small.worker(b"worker")
    small.worker(b"left").leave()
    client.submit(b"waiting", kind="SUBMIT_JOB_LOW_BG")
    client.ask(PacketType.SUBMIT_JOB_EPOCH, b"delayed", b"", b"%d" % (small.unix_time + 60), b"")
    client.text(b"create function limited")
    client.text(b"maxqueue limited 5")
    client.text(b"create function policy")
    used = [b"worker", b"waiting", b"delayed", b"limited", b"policy"]
    name_functions(small, 10)
    assert set(used) <= set(names(small))
    assert not {b"left", b"new-0"} & set(names(small))


@pytest.mark.pure_core
def test_a_forgotten_function_comes_back_when_it_is_named(small: BrokerHarness) -> None:
    worker = small.peer()
    name_functions(small, 11)
    assert b"new-0" not in names(small)
    handle = small.peer().submit(b"new-0")
    assert worker.can_do(b"new-0").grab() == handle


@pytest.mark.pure_core
def test_beyond_the_maximum_of_used_functions_a_new_name_is_refused_and_known_ones_go_on(small: BrokerHarness) -> None:
    small.broker.use_policies({b"written": FunctionPolicy(retries=1)})
    worker = small.worker(*(b"f%d" % number for number in range(20)))
    assert is_refused(small, b"new")
    assert worker.ask(PacketType.CAN_DO, b"new")[0][0] == PacketType.ERROR
    assert small.peer().text(b"create function new").startswith(b"ERR CREATE_FUNCTION")
    assert not is_refused(small, b"f3")
    assert not is_refused(small, b"written")
    assert len(names(small)) == 21


@pytest.mark.pure_core
def test_when_other_functions_are_no_longer_used_there_is_room_again(small: BrokerHarness) -> None:
    worker = small.worker(*(b"f%d" % number for number in range(20)))
    assert is_refused(small, b"new")
    worker.leave()
    assert is_refused(small, b"new")  # the search for unused ones is not repeated for every name
    small.advance(1)
    assert not is_refused(small, b"new")
    assert names(small) == [b"new"]


@pytest.mark.pure_core
def test_a_dead_letter_can_be_tried_again_whatever_the_number_of_functions(small: BrokerHarness) -> None:
    worker = small.worker(b"dies")
    handle = small.peer().submit(b"dies", kind="SUBMIT_JOB_BG")
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    worker.leave()
    small.peer().text(b"drop function dies")
    small.worker(*(b"f%d" % number for number in range(20)))
    assert is_refused(small, b"dies")
    assert small.peer().text(b"dead retry %s" % handle).startswith(b"OK")
    assert small.status(b"dies") == (1, 0, 0)


def test_a_server_knows_a_hundred_thousand_functions_and_no_more(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {written: {retries: 1}}\n")
    server = start_server("--policies", str(policies))
    client, worker = server.peer(), server.peer()
    for number in range(MAX_FUNCTIONS):
        worker.send(PacketType.CAN_DO, b"f%d" % number)
    worker.sync()
    packet_type, body = client.ask(PacketType.SUBMIT_JOB_BG, b"new", b"", b"")
    assert (packet_type, body.split(b"\0")) == (
        PacketType.ERROR,
        [b"QUEUE_ERROR", b"Too many functions: there are 100000 already"],
    )
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f7", b"", b"")[0] == PacketType.JOB_CREATED
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"written", b"", b"")[0] == PacketType.JOB_CREATED
    worker.close()
    deadline = time.monotonic() + DEADLINE_S
    while b"\t1\n" in client.text(b"status"):  # it is unregistered from a few functions at a time
        assert time.monotonic() < deadline
    while client.ask(PacketType.SUBMIT_JOB_BG, b"new", b"", b"")[0] == PacketType.ERROR:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sorted(client.text(b"status").splitlines()) == [b".", b"f7\t1\t0\t0", b"new\t1\t0\t0", b"written\t1\t0\t0"]
