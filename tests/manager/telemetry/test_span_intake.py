"""Spans on their way from a worker to the collector, and messages that are none."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from gearman_manager.telemetry import span_intake
from gearman_manager.telemetry.span_intake import MAX_BYTES, SpanIntake, spans_of


def a_span() -> ReadableSpan:
    tracer = TracerProvider(resource=Resource({"service.name": "x"}), shutdown_on_exit=False).get_tracer("scope", "1")
    other = SpanContext(1, 2, True, TraceFlags(1), TraceState([("a", "b")]))
    attributes: dict[str, Any] = {"text": "é", "count": 3, "share": 0.5, "flag": True, "list": ["a", "b"]}
    span = tracer.start_span("name", kind=SpanKind.CONSUMER, attributes=attributes, links=[Link(other, {"x": 1})])
    span.add_event("exception", {"exception.type": "E"})
    span.set_status(Status(StatusCode.ERROR, "why"))
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def test_a_span_arrives_as_it_was_made() -> None:
    message = encode_spans([a_span()])
    (span,) = spans_of(message.SerializeToString())
    assert encode_spans([span]) == message


def test_what_is_no_span_is_dropped_and_the_next_one_is_taken(tmp_path: Path) -> None:
    taken: list[ReadableSpan] = []
    path = str(tmp_path / "spans")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    intake = SpanIntake(listener, taken.append)
    ends, end = os.pipe()
    intake.watch(ends)
    thread = threading.Thread(target=intake.serve)
    thread.start()
    good = encode_spans([a_span()]).SerializeToString()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_BYTES)
        worker.connect(path)
        for message in (b"\xff" * 100, good[:-3], good + good[:5], b"x" * (MAX_BYTES + 1), good):
            worker.send(message)
    while len(taken) < 1:
        thread.join(0.01)
    os.close(end)
    thread.join()
    os.close(ends)
    listener.close()
    assert [span.name for span in taken] == ["name"]


class FullListener(socket.socket):
    """A listener without a descriptor for its next connections."""

    fails = 0
    asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.parametrize(("pause_s", "fails", "asked"), [(3600.0, 99, 2), (0.01, 3, 5)])
def test_without_descriptors_the_intake_waits_and_reads_on(
    pause_s: float, fails: int, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_intake, "PAUSE_S", pause_s)
    taken = threading.Semaphore(0)
    path, good = str(tmp_path / "spans"), encode_spans([a_span()]).SerializeToString()
    ends, end = os.pipe()
    with FullListener(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        intake = SpanIntake(listener, lambda _span: taken.release())
        intake.watch(ends)
        thread = threading.Thread(target=intake.serve)
        thread.start()
        workers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        workers[0].connect(path)
        workers[0].send(good)
        assert taken.acquire(timeout=10)
        listener.fails = fails
        workers[1].connect(path)
        for _ in range(20):  # one that is there is read, and the one that can't be taken turns no circles
            workers[0].send(good)
            assert taken.acquire(timeout=10)
        if fails < asked:  # it is taken once there are descriptors again
            workers[1].send(good)
            assert taken.acquire(timeout=10)
        os.close(end)
        thread.join()
        assert listener.asked == asked
        for worker in workers:
            worker.close()
    os.close(ends)


def test_of_too_many_connections_the_one_that_was_silent_the_longest_is_closed(tmp_path: Path) -> None:
    taken = threading.Semaphore(0)
    path, good = str(tmp_path / "spans"), encode_spans([a_span()]).SerializeToString()
    ends, end = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        intake = SpanIntake(listener, lambda _span: taken.release(), most=2)
        intake.watch(ends)
        thread = threading.Thread(target=intake.serve)
        thread.start()
        first, second, third = workers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]

        def send(worker: socket.socket) -> None:
            worker.send(good)
            assert taken.acquire(timeout=10)

        try:
            for worker in workers:
                worker.settimeout(10)
            first.connect(path)
            send(first)
            second.connect(path)
            send(second)
            send(first)
            third.connect(path)
            assert second.recv(1) == b""
            send(third)
            send(first)
        finally:
            os.close(end)
            thread.join()
            for worker in workers:
                worker.close()
    os.close(ends)
