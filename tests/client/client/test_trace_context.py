"""Jobs that are submitted while a span of OpenTelemetry is active carry its context, and nothing else changes."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from opentelemetry.trace.span import TraceState

from gearman_client import Address, AsyncClient, Client, FollowUp, ServerError, WorkerJob
from gearman_client.client.batch_packets import open_packet
from gearman_client.client.job_options import to_pairs, trace_context
from gearman_client.job_pairs import MAX_HEADERS, MAX_PAIRS_BYTES

from ...gearmand import Gearmand
from ..conftest import JobServer, RunningWorker

DEADLINE_S = 30.0
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("application")


@contextmanager
def active_span() -> Iterator[str]:
    """A span; gives the header for it."""
    with use_span(TRACER.start_span("request")) as span:
        context = span.get_span_context()
        yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


@pytest.fixture
def headers(start_ours: Callable[..., JobServer], start_worker: Callable[..., RunningWorker], tmp_path: Path) -> Any:
    """The address of a job server of ours, and a queue of what its jobs bring along; `bare` allows them no options."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {bare: {allow_options: []}}\n")
    server, told = start_ours("--policies", str(policies)), queue.Queue[dict[str, str]]()

    def tell(job: WorkerJob) -> bytes:
        told.put(dict(job.headers))
        return job.workload

    start_worker(server.address, {"tell": tell, "bare": tell})
    return server.address, told


def submit_by_every_call(client: Client, address: Address, function: str) -> int:
    """Submit jobs without options of their own; returns how many."""

    async def asynchronous() -> None:
        async with AsyncClient(address, timeout_s=DEADLINE_S) as client:
            await client.submit(function, b"w")
            await client.submit_background_many(function, [b"w"])

    client.submit(function, b"w")
    client.submit_background(function, b"w")
    client.submit_background_many(function, [b"w"] * 2)
    assert list(client.map(function, [b"w"])) == [b"w"]
    with client.task_set() as tasks:
        tasks.add(function, b"w")
        tasks.wait()
    asyncio.run(asynchronous())
    return 8


def test_every_call_carries_the_active_span_and_a_header_of_its_own_wins(headers: Any) -> None:
    address, told = headers
    with Client(address, timeout_s=DEADLINE_S) as client:
        client.submit("tell", b"w")
        assert told.get(timeout=DEADLINE_S) == {}
        with active_span() as header:
            client.submit_background("tell", b"w", priority="low", delay="1ms")
            assert told.get(timeout=DEADLINE_S) == {"traceparent": header}
            for function in ("tell", "bare"):
                count = submit_by_every_call(client, address, function)
                assert [told.get(timeout=DEADLINE_S) for _ in range(count)] == [{"traceparent": header}] * count
            with pytest.raises(ServerError, match="headers: the function does not allow it"):
                client.submit("bare", b"w", headers={"a": "b"})
            client.submit("tell", b"w", headers={"traceparent": "mine", "a": "b"})
            assert told.get(timeout=DEADLINE_S) == {"traceparent": "mine", "a": "b"}
            client.submit("tell", b"w", headers={"a": "b"})
            assert told.get(timeout=DEADLINE_S) == {"traceparent": header, "a": "b"}


def test_a_foreign_server_gets_the_job_without_it(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    start_worker(gearmand.address, {"tell": lambda job: job.workload})
    with Client(gearmand.address, timeout_s=DEADLINE_S) as client, active_span():
        assert client.submit("tell", b"w") == b"w"
        assert list(client.map("tell", [b"w"])) == [b"w"]
        client.submit_background("tell", b"w")


def test_the_state_of_the_trace_goes_along_once_and_what_has_no_room_does_not() -> None:
    state = TraceState([("vendor", "x")])
    with use_span(NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(0), state))):
        wanted = {"traceparent": f"00-{1:032x}-{2:016x}-00", "tracestate": "vendor=x"}
        assert trace_context() == wanted
        full = to_pairs({"headers": {f"h{number}": "x" for number in range(MAX_HEADERS)}}, None, background=True)
        assert full is not None
        assert b"traceparent" not in full.encoded
        own = to_pairs({"headers": {"tracestate": "mine=1"}}, None, background=True)
        assert own is not None
        assert sorted(pair for pair in own.encoded.split(b"\0") if pair.startswith(b"header:")) == [
            b"header:traceparent=" + wanted["traceparent"].encode(),
            b"header:tracestate=mine=1",
        ]
    assert trace_context() == {}
    assert to_pairs({}, None, background=True) is None


def test_options_that_fit_without_a_span_fit_with_one() -> None:
    def chain() -> list[FollowUp]:
        return [FollowUp("f", b"w" * 16_300, headers={"own": "x"}) for _ in range(4)]

    def encoded(**options: Any) -> bytes:
        pairs = to_pairs(options, None, background=True)
        assert pairs is not None
        assert len(pairs.encoded) <= MAX_PAIRS_BYTES
        return pairs.encoded

    def opened(workload_bytes: int) -> bytes:
        _, packet = open_packet("b", {"on_complete": FollowUp("f", b"w" * workload_bytes), "on_success": "f"})
        return packet

    outside, untraced = chain(), encoded(then=chain(), key="k" * 150)
    with active_span() as header:
        assert encoded(then=outside, key="k").count(header.encode()) == 1
        assert encoded(then=outside, key="k" * 150) == untraced  # without room for the job's own headers
        # Those that are to follow, if they are made within the span, have its headers too.
        assert encoded(then=chain()[:2], on_failure=FollowUp("f")).count(header.encode()) == 4
        assert encoded(then=chain(), key="k" * 150) == untraced
        assert opened(1).count(header.encode()) == 1
        assert opened(MAX_PAIRS_BYTES - 100).count(header.encode()) == 0


def test_a_program_without_it_does_not_import_it() -> None:
    program = (
        "import sys\nfrom gearman_client.client.job_options import trace_context\n"
        "assert trace_context() == {}\nassert not [name for name in sys.modules if 'opentelemetry' in name]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
