"""A server that splits, joins and delays its packets as it likes: every call gets its own answer."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_client import (
    Address,
    AsyncClient,
    ConnectionLost,
    JobException,
    JobFailed,
    JobHandle,
    JobStatus,
    ServerError,
)
from gearman_client.packet import PacketType, encode_response

from .conftest import LoopPeer, LoopServer

T = PacketType

KINDS = ("result", "fail", "exception", "refused", "background", "echo", "status")


class Played:
    """One call, the packets that answer it, and what its caller should get."""

    def __init__(self, kind: str, number: int, random: Random) -> None:
        self.kind = kind
        self.number = number
        self.mark = b"%d" % number
        self.handle = b"H:a:" + self.mark
        self.heard: list[Any] = []
        self.reports = [self._report(random) for _ in range(random.randrange(4))] if kind in KINDS[:3] else []

    def _report(self, random: Random) -> tuple[int, Any]:
        packet_type = random.choice((T.WORK_DATA, T.WORK_WARNING, T.WORK_STATUS))
        if packet_type == T.WORK_STATUS:
            return packet_type, (random.randrange(100), 100)
        return packet_type, random.randbytes(random.randrange(40))

    async def call(self, client: AsyncClient, server: Address) -> Any:
        if self.kind == "background":
            return await client.submit_background("f", self.mark)
        if self.kind == "echo":
            return await client.echo(self.mark)
        if self.kind == "status":
            return await client.status(JobHandle(f"H:b:{self.number}", server))
        return await client.submit(
            "f",
            self.mark,
            on_data=lambda data: self.heard.append((T.WORK_DATA, data)),
            on_warning=lambda data: self.heard.append((T.WORK_WARNING, data)),
            on_status=lambda numerator, of: self.heard.append((T.WORK_STATUS, (numerator, of))),
        )

    def answer(self) -> bytes:
        """The packet that comes in the order of the requests."""
        if self.kind == "refused":
            return encode_response(T.ERROR, b"QUEUE_ERROR", self.mark)
        if self.kind == "echo":
            return encode_response(T.ECHO_RES, self.mark)
        if self.kind == "status":
            return encode_response(T.STATUS_RES, b"H:b:" + self.mark, b"1", b"1", self.mark, b"1000")
        return encode_response(T.JOB_CREATED, self.handle)

    def later(self) -> list[bytes]:
        """The packets that follow the answer, between those of other jobs."""
        packets = []
        for packet_type, value in self.reports:
            arguments = (value,) if isinstance(value, bytes) else tuple(b"%d" % number for number in value)
            packets.append(encode_response(packet_type, self.handle, *arguments))
        if self.kind == "result":
            packets.append(encode_response(T.WORK_COMPLETE, self.handle, b"of " + self.mark))
        elif self.kind == "fail":
            packets.append(encode_response(T.WORK_FAIL, self.handle))
        elif self.kind == "exception":
            packets.append(encode_response(T.WORK_EXCEPTION, self.handle, b"of " + self.mark))
        return packets

    def check(self, outcome: Any) -> None:
        expected: dict[str, bool] = {
            "result": outcome == b"of " + self.mark,
            "fail": isinstance(outcome, JobFailed),
            "exception": isinstance(outcome, JobException) and outcome.data == b"of " + self.mark,
            "refused": isinstance(outcome, ServerError) and outcome.text == self.mark.decode(),
            "background": outcome == self.handle.decode(),
            "echo": outcome == self.mark,
            "status": outcome == JobStatus(True, True, self.number, 1000),
        }
        assert expected[self.kind], (self.kind, outcome)
        assert self.heard == self.reports


def mixed(played: list[Played], random: Random) -> bytes:
    """The answers in the order of the requests, and each job's later packets anywhere behind its answer."""
    answers = list(played)
    behind: list[list[bytes]] = []
    stream = []
    while answers or behind:
        if answers and (not behind or random.random() < 0.5):
            call = answers.pop(0)
            stream.append(call.answer())
            if later := call.later():
                behind.append(later)
        else:
            one = random.choice(behind)
            stream.append(one.pop(0))
            if not one:
                behind.remove(one)
    return b"".join(stream)


async def send_in_pieces(peer: LoopPeer, stream: bytes, random: Random) -> None:
    while stream:
        size = random.choice((1, 2, 11, 13, 40, 500, len(stream)))
        peer.writer.write(stream[:size])
        stream = stream[size:]
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)


async def play(kinds: list[str], random: Random) -> None:
    async with LoopServer() as server, AsyncClient(server.address) as client:
        played = [Played(kind, number, random) for number, kind in enumerate(kinds)]
        tasks = [asyncio.create_task(call.call(client, server.address)) for call in played]
        peer = await server.greet()
        for _ in played:
            await peer.next()
        sending = asyncio.create_task(send_in_pieces(peer, mixed(played, random), random))
        victims = {call.number for call in played if random.random() < 0.2}
        for victim in sorted(victims, key=lambda _: random.random()):
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
            tasks[victim].cancel()
        await sending
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for call, outcome in zip(played, outcomes, strict=True):
            if not isinstance(outcome, asyncio.CancelledError):
                call.check(outcome)
            else:
                assert call.number in victims
        again = asyncio.create_task(client.echo(b"again"))
        await peer.expect(T.ECHO_REQ, b"again")
        peer.send(T.ECHO_RES, b"again")
        assert await again == b"again"
        assert not server.has_new_peer


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=25), st.integers(0, 2**32))
def test_every_call_gets_its_own_answer(kinds: list[str], seed: int) -> None:
    asyncio.run(play(kinds, Random(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_hundreds_of_calls_at_once_get_their_own_answers(seed: int) -> None:
    random = Random(seed)
    asyncio.run(play(random.choices(KINDS, k=500), random))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 5))
def test_bytes_that_are_no_answer_end_every_call_with_an_error(garbage: bytes, answered: int) -> None:
    async def body() -> list[Any]:
        async with LoopServer() as server, AsyncClient(server.address, reply_timeout_s=30) as client:
            tasks = [asyncio.create_task(client.submit_background("f", b"")) for _ in range(5)]
            peer = await server.greet()
            for number in range(5):
                await peer.next()
                if number < answered:
                    peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            peer.writer.write(garbage)
            peer.writer.close()
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    outcomes = asyncio.run(body())
    assert outcomes[:answered] == [f"H:a:{number}" for number in range(answered)]
    assert all(isinstance(outcome, Exception) for outcome in outcomes[answered:])


def test_a_server_that_breaks_the_protocol_and_stays_is_given_up_at_once() -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, reply_timeout_s=1000) as client:
            accepted, waiting = (asyncio.create_task(client.submit("f", b"", resubmit=False)) for _ in range(2))
            peer = await server.greet()
            await peer.next()
            await peer.next()
            peer.writer.write(encode_response(T.JOB_CREATED, b"H:a:1") + b"HTTP/1.1 400 Bad Request\r\n\r\n")
            for call in (accepted, waiting):
                with pytest.raises(ConnectionLost, match="neither magic"):
                    await asyncio.wait_for(call, 60)

    asyncio.run(body())
