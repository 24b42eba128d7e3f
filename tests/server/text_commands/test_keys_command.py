"""`jobs keys`: the keys of a function's jobs, and what holds them."""

from __future__ import annotations

from gearman_client.extensions import SUBMIT_JOB_WITH, WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate

from ..broker_harness import BrokerHarness, Peer


def submit_with_keys(client: Peer, *keys: bytes) -> None:
    for key in keys:
        client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"key=" + key, b"", b"w")


def test_keys_are_listed_with_what_holds_them(broker: BrokerHarness) -> None:
    rules = KeyPolicy(max_running=1, rate=Rate(2, 60.0))
    broker.broker.use_policies({b"f": FunctionPolicy(keys=rules)})
    client, worker = broker.peer(), broker.worker(b"f")
    submit_with_keys(client, b"a", b"b b", b"b b", b"b b", b"c", b"c", b"c", b"c")
    running = [worker.grab_handle() for _ in range(3)]  # one of each
    worker.send(PacketType.WORK_COMPLETE, running[2], b"")
    running[2] = worker.grab_handle()
    worker.send(PacketType.WORK_COMPLETE, running[2], b"")
    worker.send(WORK_FAILURE, running[0], b"throttle", b"9000", b"key", b"", b"")
    broker.advance(1.0)
    told = b"b b\t2\t1\t0\tmax_running\t\nc\t2\t0\t0\trate\t59.000\na\t1\t0\t0\tthrottled\t8.000\n.\n"
    assert client.text(b"jobs keys f") == told
    assert client.text(b"jobs keys function=f") == told
    first = client.text(b"jobs keys f limit=2")
    assert first.startswith(b"b b\t2\t1\t0\tmax_running\t\nc\t")
    cursor = first.splitlines()[2].removeprefix(b"next\t")
    assert client.text(b"jobs keys f after=" + cursor) == b"a\t1\t0\t0\tthrottled\t8.000\n.\n"
    broker.advance(60.0)
    assert client.text(b"jobs keys f").splitlines()[1:3] == [b"c\t2\t0\t1\t\t", b"a\t1\t0\t1\t\t"]


def test_keys_of_a_fair_function_show_their_running_jobs_too(broker: BrokerHarness) -> None:
    broker.broker.use_policies({b"f": FunctionPolicy(keys=KeyPolicy(is_fair=True))})
    client, worker = broker.peer(), broker.worker(b"f")
    submit_with_keys(client, b"a", b"a", b"a")
    worker.grab()
    assert client.text(b"jobs keys f") == b"a\t2\t1\t2\t\t\n.\n"


def test_a_function_without_keys_has_no_list_of_them(broker: BrokerHarness) -> None:
    client = broker.worker(b"f")
    assert client.text(b"jobs keys").startswith(b"ERR INVALID_ARGUMENTS jobs+keys+FUNCTION")
    assert client.text(b"jobs keys f g").startswith(b"ERR INVALID_ARGUMENTS")
    assert client.text(b"jobs keys g").startswith(b"ERR UNKNOWN_FUNCTION")
    assert client.text(b"jobs keys f").startswith(b"ERR NO_KEYS Keys+mean+nothing+to+this+function")
