"""Checkpoints and series of items: the packets of a job, and where the next attempt goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gearman_client import Address, ArgumentError
from gearman_client.connection.connection import Connection
from gearman_client.errors import JobInterrupted, JobStopped
from gearman_client.extensions import CHECKPOINT, CHECKPOINTS_OPTION, JOB_FAILURE_OPTION, WORK_FAILURE
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType
from gearman_client.worker.job_with_options import JobWithOptions

EVERYTHING = frozenset({CHECKPOINTS_OPTION, JOB_FAILURE_OPTION})
YIELD = (WORK_FAILURE, b"yield\0\0\0\0")


class Link:
    """The link to a job server, which notes the packets: their numbers, and the bodies without the handle."""

    def __init__(self, extensions: frozenset[bytes] = EVERYTHING) -> None:
        self.address = Address()
        self.connection: Any = object()
        self.server_is_ours = True
        self.must_leave = self.can_go_on = self.takes_lists = False
        self.done: list[Any] = []
        self.former_extensions: frozenset[bytes] = frozenset()
        self.stops = False
        self.extensions = extensions
        self.packets: list[tuple[int, bytes]] = []

    def tell(self, _connection: Connection | None, packet: bytes, _attempt: int = 0) -> None:
        for packet_type, body in PacketParser(REQUEST_MAGIC).feed(packet):
            self.packets.append((packet_type, body.partition(b"\0")[2]))

    def hears_stop(self, _connection: Connection | None, _handle: bytes) -> bool:
        return self.stops

    def answer(self, connection: Connection | None, _handle: bytes, packet: bytes, _attempt: int = 0) -> None:
        self.tell(connection, packet)

    @property
    def cursors(self) -> list[bytes]:
        return [body for packet_type, body in self.packets if packet_type == CHECKPOINT]


def job_of(link: Link, cursor: bytes | None = None) -> JobWithOptions:
    pairs = [] if cursor is None else [(b"cursor", cursor)]
    return JobWithOptions(pairs, link, b"H:1", "f", b"", b"w")


def test_a_checkpoint_is_json_and_is_read_back() -> None:
    link = Link()
    job = job_of(link)
    assert job.cursor is None
    for cursor in (7, None, "a\0é", {"page": 3, "ids": [1, 2]}, 1.5, True):
        assert job.checkpoint(cursor)
        assert job.cursor == cursor
        assert job_of(link, link.cursors[-1]).cursor == cursor
    assert not any(b"\0" in cursor for cursor in link.cursors)
    assert job_of(link, b"from another language").cursor == "from another language"


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        (b"bytes", "a cursor is a value that JSON can hold, not bytes"),
        (float("nan"), "a cursor is a value that JSON can hold, not float"),
        ("x" * 65535, "the cursor has 65537 bytes as JSON, at most 65536 are allowed"),
    ],
)
def test_what_can_not_be_a_cursor_is_refused_with_the_reason(cursor: Any, reason: str) -> None:
    link = Link()
    with pytest.raises(ArgumentError, match=reason):
        job_of(link).checkpoint(cursor)
    assert link.packets == []


def test_a_series_goes_on_where_it_was_and_sends_its_position_now_and_then() -> None:
    link = Link()
    job = job_of(link, b"2")
    assert list(job.iterate("abcdef", every=1000)) == ["c", "d", "e", "f"]
    assert link.cursors == [b"3", b"6"]  # the first, and the last
    link = Link()
    assert list(job_of(link, b"2").iterate(iter("abcd"), every=0)) == ["c", "d"]
    assert link.cursors == [b"3", b"4"]
    assert list(job_of(Link(), b"9").iterate("abc")) == []


def test_a_cursor_can_be_made_of_each_item_and_the_items_of_the_cursor() -> None:
    def following(cursor: int | None) -> Iterator[int]:
        return iter(range(10 if cursor is None else cursor + 1, 14))

    link = Link()
    assert list(job_of(link).iterate(following, cursor=lambda item: item, every=0)) == [10, 11, 12, 13]
    assert link.cursors == [b"10", b"11", b"12", b"13"]
    assert list(job_of(Link(), b"11").iterate(following, cursor=lambda item: item)) == [12, 13]
    assert list(job_of(Link(), b'"b"').iterate(["c", "d"], cursor=str)) == ["c", "d"]


def test_what_was_done_is_kept_when_the_attempt_fails() -> None:
    answers: list[Callable[[JobWithOptions], object]] = [
        lambda job: job.fail(),
        lambda job: job.exception("no"),
        lambda job: job.fail_because("no", trace="t"),
        lambda job: job.retry("no"),
    ]
    for answer in answers:
        link = Link()
        job = job_of(link)
        for item in job.iterate("abcd", every=1000):
            if item == "d":
                break
        answer(job)
        assert link.cursors == [b"1", b"3"]
        assert link.packets[-1][0] != CHECKPOINT
    link = Link()
    job = job_of(link)
    next(iter(job.iterate("abcd", every=1000)))
    job.complete(b"")
    assert link.packets == [(PacketType.WORK_COMPLETE, b"")]


def test_a_series_gives_way_between_two_items() -> None:
    link = Link()
    job = job_of(link)
    items, done = iter(job.iterate("abcd", every=1000)), []
    while not link.must_leave:
        done.append(next(items))
        link.must_leave = len(done) == 2
    with pytest.raises(JobInterrupted):
        next(items)
    assert job.is_interrupted
    job.leave_off()
    assert done == ["a", "b"]
    assert link.packets == [(CHECKPOINT, b"1"), (CHECKPOINT, b"2"), YIELD]


def test_a_series_of_a_job_that_is_stopped_ends_between_two_items() -> None:
    link = Link(frozenset({JOB_FAILURE_OPTION}))
    items = iter(job_of(link).iterate("abcd", every=0))
    assert next(items) == "a"
    link.stops = True
    with pytest.raises(JobStopped, match="f was stopped"):
        next(items)


def test_a_job_that_its_server_runs_again_is_not_gone_on_with() -> None:
    link = Link()
    items = iter(job_of(link).iterate("abcd", every=0))
    assert [next(items), next(items)] == ["a", "b"]
    link.connection = object()
    with pytest.raises(JobInterrupted):
        next(items)


def test_a_server_without_checkpoints_gets_none_and_no_job_back() -> None:
    link = Link(frozenset({JOB_FAILURE_OPTION}))
    link.must_leave = True
    job = job_of(link)
    assert not job.checkpoint(1)
    assert job.cursor == 1
    assert list(job_of(link).iterate("ab", every=0)) == ["a", "b"]
    assert link.packets == []


def test_wrong_uses_of_a_series_are_refused() -> None:
    job = job_of(Link())
    job.iterate("a")
    with pytest.raises(ArgumentError, match="iterate was called twice"):
        job.iterate("b")
    with pytest.raises(ArgumentError, match=r"the job's cursor is \{'at': 1\}, and no number of items"):
        list(job_of(Link(), b'{"at":1}').iterate("a"))
    with pytest.raises(ArgumentError, match="to be iterated with `async for`"):
        list(job_of(Link()).iterate(_letters()))


async def _letters() -> AsyncIterator[str]:
    for letter in "abcd":
        await asyncio.sleep(0)
        yield letter


def test_the_same_with_async_for() -> None:
    async def run(items: Any, cursor: bytes | None, leave_at: str = "") -> SimpleNamespace:
        link, done = Link(), []
        job = job_of(link, cursor)
        try:
            async for item in job.iterate(items, every=1000):
                done.append(item)
                link.must_leave = item == leave_at
        except JobInterrupted:
            job.leave_off()
        return SimpleNamespace(done=done, packets=link.packets)

    for items in (_letters, "abcd"):
        ran = asyncio.run(run(items() if callable(items) else items, b"1"))
        assert (ran.done, ran.packets) == (["b", "c", "d"], [(CHECKPOINT, b"2"), (CHECKPOINT, b"4")])
    ran = asyncio.run(run(_letters(), None, leave_at="b"))
    assert (ran.done, ran.packets) == (["a", "b"], [(CHECKPOINT, b"1"), (CHECKPOINT, b"2"), YIELD])
