"""Text commands that end jobs are answered once that is written: no crash of the server brings those jobs back."""

from __future__ import annotations

import pytest

from gearman_client.extensions import OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.packet import PacketType
from gearman_server.jobs.events import StoreFailed

from ..broker_harness import DurableBroker, Peer


def a_written_job(broker: DurableBroker) -> bytes:
    client = broker.peer()
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    broker.commit()
    [(_, handle)] = client.take()
    return handle


def a_letter(broker: DurableBroker) -> bytes:
    worker, handle = broker.worker(b"f"), a_written_job(broker)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    worker.send(PacketType.RESET_ABILITIES)
    broker.commit()
    return handle


def a_batch_with_a_job(broker: DurableBroker, name: bytes) -> bytes:
    client = broker.peer()
    client.send(OPEN_BATCH, name)
    client.send(SUBMIT_JOB_WITH, b"b", b"", b"background=1", b"batch=" + name, b"", b"w")
    broker.commit()
    return name


def one_of_each(broker: DurableBroker) -> tuple[Peer, dict[bytes, bytes]]:
    """A peer, and commands that end something, with their answers."""
    commands = {b"dead drop " + a_letter(broker): b"OK 1\n"}
    commands[b"cancel job " + a_written_job(broker)] = b"OK\r\n"
    for _ in range(2):
        a_written_job(broker)
    commands[b"jobs purge function=f"] = b"OK 2\n"
    commands[b"drop function f"] = b"OK\r\n"
    for how in (b"cancel", b"stop"):
        commands[b"jobs batch %s %s" % (a_batch_with_a_job(broker, how), how)] = b"OK 1\n"
    return broker.peer(), commands


def test_the_answer_leaves_once_the_change_is_written(durable: DurableBroker) -> None:
    operator, commands = one_of_each(durable)
    for command, answer in commands.items():
        assert operator.text(command) == b"", command
        operator.send(0, b"getpid")
        assert operator.take_bytes() == b"", command
        durable.commit()
        assert operator.take_bytes().startswith(answer + b"OK "), command


def test_while_the_store_is_in_trouble_nobody_waits(durable: DurableBroker) -> None:
    handles, operator = [a_written_job(durable) for _ in range(2)], durable.peer()
    assert operator.text(b"cancel job " + handles[0]) == b""
    durable.tell(StoreFailed("the disk is full"))
    assert operator.take_bytes() == b"OK\r\n"
    assert operator.text(b"cancel job " + handles[1]) == b"OK\r\n"


@pytest.mark.parametrize("line", [b"cancel job H:no:1", b"jobs purge function=f", b"dead drop H:no:1"])
def test_what_changes_nothing_is_answered_at_once(durable: DurableBroker, line: bytes) -> None:
    assert durable.peer().text(line) in (b"ERR UNKNOWN_JOB\r\n", b"OK 0\n")
