"""The packets that open, close, ask for and end a batch of jobs, and their answer. Pure; both clients share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from gearman_client.address import Address
from gearman_client.client.job_options import to_link
from gearman_client.errors import ArgumentError, NotSupported
from gearman_client.extensions import CLOSE_BATCH, END_BATCH, GET_BATCH, JOB_BATCHES_OPTION, OPEN_BATCH
from gearman_client.job_pairs import MAX_BATCH_ID_BYTES, MAX_PAIRS_BYTES
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_argument, to_text

#: Asks whether a server has batches.
BATCHES_REQUEST: Final = encode_request(PacketType.OPTION_REQ, JOB_BATCHES_OPTION)


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """What a server knows of a batch of jobs.

    state: `"open"`, `"closed"` (some jobs have not ended), `"done"` (the callbacks are submitted) or `"unknown"`.
    jobs: how many it has; waiting: how many of these have not ended.
    complete, failed, expired, cancelled, stopped: how many have ended in which way.
    is_cancelled: whether the whole was cancelled or stopped.
    is_counting: the server has just started, and counts stored jobs still.
    """

    id: str
    state: Literal["open", "closed", "done", "unknown"]
    jobs: int = 0
    waiting: int = 0
    complete: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    stopped: int = 0
    is_cancelled: bool = False
    is_counting: bool = False

    @property
    def progress(self) -> float:
        """The share of its jobs that have ended, from 0 to 1."""
        return 1 - self.waiting / self.jobs if self.jobs else float(self.state == "done")

    @property
    def is_success(self) -> bool:
        """Whether it is done, every job is complete, and nobody cancelled it."""
        return self.state == "done" and self.complete == self.jobs and not self.is_cancelled


def open_packet(id: str | None, callbacks: Mapping[str, Any]) -> tuple[str, bytes]:
    """The id of a batch, a random one if none is given, and the packet that opens it.

    Raises:
        ArgumentError: an id or a callback that can't be.
    """
    name = uuid4().hex if id is None else id
    pairs = _callbacks(callbacks, is_traced=True)
    if len(b"\0".join(pairs)) > MAX_PAIRS_BYTES:  # the server would refuse for a span what it takes without
        pairs = _callbacks(callbacks, is_traced=False)
    return name, encode_request(OPEN_BATCH, to_id(name), *pairs)


def _callbacks(callbacks: Mapping[str, Any], *, is_traced: bool) -> list[bytes]:
    given = {key: value for key, value in callbacks.items() if value is not None}
    return [b"%s=%s" % (key.encode(), to_link(key, value, is_traced=is_traced)) for key, value in given.items()]


def to_id(name: str) -> bytes:
    """The id of a batch as an argument.

    Raises:
        ArgumentError: it is empty, too long or no text.
    """
    data = to_argument(name, "id")
    if not 1 <= len(data) <= MAX_BATCH_ID_BYTES:
        raise ArgumentError(f"id {name!r}: expected a text of 1 to {MAX_BATCH_ID_BYTES} bytes")
    return data


def request_packet(name: str, what: Literal["get", "close", "cancel", "stop"]) -> bytes:
    """The packet that asks for a batch, closes it, or ends it."""
    if what in ("cancel", "stop"):
        return encode_request(END_BATCH, to_id(name), what.encode())
    return encode_request(GET_BATCH if what == "get" else CLOSE_BATCH, to_id(name))


def to_batch_status(body: bytes) -> BatchStatus:
    """The status in a packet BATCH; what is not known here is passed over."""
    name, *pairs = body.split(b"\0")
    facts = {key.decode(): value for key, _, value in (pair.partition(b"=") for pair in pairs)}
    values: dict[str, Any] = {"id": to_text(name), "state": to_text(facts.get("state", b"unknown"))}
    for key, kind in BatchStatus.__annotations__.items():
        if key not in values and facts.get(key, b"").isdigit():
            values[key] = bool(int(facts[key])) if kind == "bool" else int(facts[key])
    return BatchStatus(**values)


def has_no_batches(server: Address) -> NotSupported:
    """The error for a server that does not know the extension."""
    return NotSupported(f"{server} has no batches of jobs: gearman-server has")
