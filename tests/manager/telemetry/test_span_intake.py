"""Spans on their way from a worker to the collector, and messages that are none."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

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
