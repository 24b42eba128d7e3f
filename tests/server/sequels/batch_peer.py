"""Requests about batches of jobs and chains, as a peer of a broker without sockets sends them."""

from __future__ import annotations

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer, Received

#: Each callback is a job of a function of that name.
CALLBACKS = tuple(b"%s=%s" % (name, encode_link(name)) for name in (b"on_complete", b"on_success", b"on_failure"))
CALLBACK_FUNCTIONS = (b"on_complete", b"on_success", b"on_failure")


def facts(answer: list[Received]) -> dict[str, str]:
    """The pairs of the one packet BATCH."""
    [(packet_type, body)] = answer
    assert packet_type == BATCH, body
    pairs = (pair.decode().partition("=") for pair in body.split(b"\0")[1:])
    return {key: value for key, _, value in pairs}


def open_batch(peer: Peer, name: bytes, *callbacks: bytes) -> dict[str, str]:
    return facts(peer.ask(OPEN_BATCH, name, *(callbacks or CALLBACKS)))


def close_batch(peer: Peer, name: bytes) -> dict[str, str]:
    return facts(peer.ask(CLOSE_BATCH, name))


def get_batch(peer: Peer, name: bytes) -> dict[str, str]:
    return facts(peer.ask(GET_BATCH, name))


def cancel_batch(broker: BrokerHarness, peer: Peer, name: bytes) -> dict[str, str]:
    peer.send(END_BATCH, name, b"cancel")
    broker.do_chores()
    return facts(peer.take())


def submit(peer: Peer, *pairs: bytes, workload: bytes = b"w", function: bytes = b"f", unique: bytes = b"") -> bytes:
    """Submit a background job with these options; its handle."""
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, function, unique, b"background=1", *pairs, b"", workload)
    assert packet_type == PacketType.JOB_CREATED, body
    return body


def refusal(peer: Peer, *pairs: bytes) -> bytes:
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, b"f", b"", *pairs, b"", b"w")
    assert packet_type == PacketType.ERROR, body
    return body


def submitted_callbacks(broker: BrokerHarness) -> dict[bytes, bytes]:
    """The callbacks that wait in their queues: workload by function."""
    found: dict[bytes, bytes] = {}
    worker = broker.worker(*CALLBACK_FUNCTIONS)
    while True:
        [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB)
        if packet_type == PacketType.NO_JOB:
            return found
        handle, function, workload = body.split(b"\0", 2)
        assert function not in found, "a callback came twice"
        found[function] = workload
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
