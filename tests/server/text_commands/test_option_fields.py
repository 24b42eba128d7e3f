"""Options of jobs in the text commands: the conditions `tag=` and `key=`, and the fields that show them."""

from __future__ import annotations

from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ..broker_harness import UNIX_TIME, BrokerHarness


def submit(broker: BrokerHarness, *pairs: bytes, function: bytes = b"f") -> bytes:
    [(packet_type, handle)] = broker.peer().ask(SUBMIT_JOB_WITH, function, b"", b"background=1", *pairs, b"", b"w")
    assert packet_type == PacketType.JOB_CREATED, handle
    return handle


def handles(answer: bytes) -> list[bytes]:
    return [line.split(b"\t")[0] for line in answer.split(b"\n")[:-2]]


def fields(answer: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b"\t") for line in answer.split(b"\n")[:-2])


OPTIONS = (b"tag=mail", b"tag=a b", b"key=k", b"header:x=1", b"header:y=", b"retries=0", b"timeout=5000")


def test_jobs_are_found_by_tag_and_key_and_shown_with_their_options(broker: BrokerHarness) -> None:
    operator = broker.peer()
    one = submit(broker, *OPTIONS, b"expires_in=60000")
    other = submit(broker, b"tag=mail", b"tag=b", b"key=kk", function=b"g")
    broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    assert handles(operator.text(b"jobs list tag=mail")) == [one, other]
    assert handles(operator.text(b"jobs list tag=a%20b")) == [one]
    assert handles(operator.text(b"jobs list tag=a")) == []
    assert handles(operator.text(b"jobs list tag=mail key=kk")) == [other]
    assert handles(operator.text(b"jobs list function=f key=kk")) == []
    shown = fields(operator.text(b"jobs show " + one))
    assert shown[b"expires"] == b"%.3f" % (UNIX_TIME + 60)
    assert (shown[b"tags"], shown[b"key"], shown[b"headers"]) == (b"mail\\x00a b", b"k", b"x=1\\x00y=")
    assert shown[b"options"] == b"retries=0\\x00timeout=5000"
    assert operator.text(b"jobs purge tag=mail key=k") == b"OK 1\n"
    assert operator.text(b"jobs purge key=kk") == b"OK 1\n"
    assert operator.text(b"jobs purge older=1").startswith(b"ERR INVALID_ARGUMENTS function=NAME,+tag=TEXT")
    assert broker.status(b"f")[0] == 1


def test_dead_letters_too(broker: BrokerHarness) -> None:
    operator, worker = broker.peer(), broker.worker(b"f")
    first, second, third = submit(broker, *OPTIONS), submit(broker, b"tag=b"), submit(broker, b"key=k")
    for handle in (first, second, third):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_FAIL, handle)
    assert handles(operator.text(b"dead list tag=mail")) == [first]
    assert handles(operator.text(b"dead list key=k")) == [first, third]
    shown = fields(operator.text(b"dead show " + first))
    assert (shown[b"tags"], shown[b"key"], shown[b"options"]) == (b"mail\\x00a b", b"k", b"retries=0\\x00timeout=5000")
    assert operator.text(b"dead drop tag=b") == b"OK 1\n"
    assert operator.text(b"dead retry key=k tag=mail") == b"OK 1\n"
    assert handles(operator.text(b"dead list")) == [third]
