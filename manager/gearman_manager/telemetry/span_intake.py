"""Takes the spans that workers send, each as a message on a socket, and hands them to the batches for the collector.

A message is a request of OTLP with one span or some. Any other is dropped: user code can reach the socket.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

#: A larger message is dropped by the worker's system already.
MAX_BYTES: Final = 256 * 1024
#: Of workers at once, unless the process may have few descriptors.
MOST_CONNECTIONS: Final = 10_000
#: Resources that are kept, so that spans of one worker share theirs.
MOST_RESOURCES: Final = 64
#: How long no connection is taken once no descriptor is left for it: a listener stays ready meanwhile.
PAUSE_S: Final = 1.0
#: In the flags of OTLP: the parent, or the linked span, is another process's.
_IS_REMOTE: Final = 0x200


class SpanIntake:
    """Reads from the connections of all workers."""

    def __init__(
        self, listener: socket.socket, take: Callable[[ReadableSpan], None], most: int = MOST_CONNECTIONS
    ) -> None:
        """`listener` is of the kind SOCK_SEQPACKET; `take` must not block. Of more than `most` connections the one that
        was silent the longest is closed: its worker makes another with its next span."""
        self._listener = listener
        self._listener.setblocking(False)
        self._take = take
        self._most = most
        #: Those that were silent the longest come first.
        self._connections: dict[socket.socket, None] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        #: When connections are taken again (monotonic seconds); None: they are.
        self._listens_at: float | None = None

    def watch(self, descriptor: int) -> None:
        """Have `serve` return once this descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, data=True)

    def serve(self) -> None:
        """Take spans until a watched descriptor is readable."""
        while True:
            ready = [key for key, _ in self._selector.select(self._listen())]
            sockets = [key.fileobj for key in ready if isinstance(key.fileobj, socket.socket)]
            for each in sockets:
                if each is not self._listener:
                    self._read(each)
            if any(key.data is not None for key in ready):
                return
            if self._listener in sockets:  # last: a connection that it closes has been read
                self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it is gone
        except OSError:
            self._selector.unregister(self._listener)
            self._listens_at = monotonic() + PAUSE_S
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)
        self._connections[connection] = None
        if len(self._connections) > self._most:
            self._close(next(iter(self._connections)))

    def _close(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._selector.unregister(connection)
        connection.close()

    def _listen(self) -> float | None:
        """Listen again if it is time. Returns the seconds until then; None: it listens."""
        if self._listens_at is not None:
            left_s = self._listens_at - monotonic()
            if left_s > 0:
                return left_s
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._listens_at = None
        return None

    def _read(self, connection: socket.socket) -> None:
        try:
            message, _, flags, _ = connection.recvmsg(MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message, flags = b"", 0
        if not message:
            self._close(connection)
            return
        del self._connections[connection]
        self._connections[connection] = None
        if not flags & socket.MSG_TRUNC:
            for span in spans_of(message):
                self._take(span)


def spans_of(message: bytes) -> Iterator[ReadableSpan]:
    """The spans of a message; none if it is no request of OTLP, or one that makes no sense."""
    with suppress(DecodeError, ValueError, TypeError):
        request = ExportTraceServiceRequest.FromString(message)
        for of_resource in request.resource_spans:
            resource = Resource(_attributes(of_resource.resource.attributes), of_resource.schema_url)
            for of_scope in of_resource.scope_spans:
                scope = InstrumentationScope(of_scope.scope.name, of_scope.scope.version, of_scope.schema_url)
                for span in of_scope.spans:
                    yield _span(span, resource, scope)


def _span(span: Any, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    parent = _context(span.trace_id, span.parent_span_id, "", span.flags) if span.parent_span_id else None
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, span.trace_state, span.flags),
        parent=parent,
        resource=resource,
        attributes=_attributes(span.attributes),
        events=[Event(each.name, _attributes(each.attributes), each.time_unix_nano) for each in span.events],
        links=[
            Link(_context(each.trace_id, each.span_id, each.trace_state, each.flags), _attributes(each.attributes))
            for each in span.links
        ],
        kind=SpanKind(max(0, span.kind - 1)),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _context(trace_id: bytes, span_id: bytes, state: str, flags: int) -> SpanContext:
    """Of a span that was brought, so it is one that is wanted; OTLP's `flags` do not tell that of each span."""
    number, span_number = int.from_bytes(trace_id), int.from_bytes(span_id)
    is_remote = bool(flags & _IS_REMOTE)
    return SpanContext(number, span_number, is_remote, TraceFlags(TraceFlags.SAMPLED), TraceState.from_header([state]))


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind in ("string_value", "bool_value", "int_value", "double_value", "bytes_value"):
        return getattr(value, kind)
    return ""
