"""Spans of OpenTelemetry around the calls of jobs' functions, in the traces of the jobs' clients.

It is imported only where the configuration has a section `otel`, and set up in the worker, after the fork. No thread is
started, and nothing is waited for: each span goes at its end, as a message of OTLP, to the socket of the sender. While
that is away, or does not keep up, spans are lost.
"""

from __future__ import annotations

import functools
import inspect
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gearman_client.errors import JobInterrupted
from gearman_manager import __version__
from gearman_manager.privacy import FunctionPrivacy
from gearman_manager.verdict import Throttled
from gearman_manager.worker.failures import Failure, failure_of
from gearman_manager.worker.function_call import FunctionCall
from gearman_manager.worker.order import Order

#: Of each text in a span; a span with more than the socket takes would be lost.
MAX_TEXT: Final = 8192
MAX_EVENTS: Final = 32
#: As many as a list has jobs.
MAX_LINKS: Final = 1000
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def trace_calls(functions: Mapping[str, FunctionCall], order: Order) -> None:
    """Have each call of these functions make a span. User code that has a provider of its own gets the spans there."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        resource = Resource.create({"service.name": "gearman-manager", "service.instance.id": order.client_id})
        limits = SpanLimits(max_events=MAX_EVENTS, max_links=MAX_LINKS, max_attribute_length=MAX_TEXT)
        provider = TracerProvider(resource=resource, span_limits=limits, id_generator=_Ids(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(_ToSender(order.spans)))
        trace.set_tracer_provider(provider)
    calls = _Calls(trace.get_tracer("gearman_manager", __version__), order)
    for function in functions.values():
        function.call = calls.traced(function)


class _Ids(IdGenerator):
    """Ids that differ whatever seed user code gives the random numbers of its process."""

    def generate_span_id(self) -> int:
        return secrets.randbits(64) or 1

    def generate_trace_id(self) -> int:
        return secrets.randbits(128) or 1


class _ToSender(SpanExporter):
    """Sends each span to the sender, over a connection that is made again if the sender is another one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        message = encode_spans(spans).SerializeToString()
        for _ in range(2):
            try:
                self._connected().send(message)
            except BlockingIOError:
                return SpanExportResult.FAILURE  # it does not keep up
            except OSError:
                self.shutdown()
            else:
                return SpanExportResult.SUCCESS
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.setblocking(False)
            with suppress(OSError):  # else the message fails, and says why
                made.connect(self._path)
            self._socket = made
        return self._socket


class _Calls:
    """Makes the spans."""

    def __init__(self, tracer: trace.Tracer, order: Order) -> None:
        self._tracer = tracer
        self._always = {
            "messaging.system": "gearman",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.client.id": order.client_id,
            "gearman.pool": order.name.rpartition("/")[0],
        }

    def traced(self, function: FunctionCall) -> Callable[[Any], Any]:
        """The function's call with a span around it. It is of the same kind: async functions stay such."""
        call = function.call
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def awaited(jobs: Any) -> Any:
                with self._span(jobs, function.privacy):
                    return await call(jobs)

            return awaited

        @functools.wraps(call)
        def called(jobs: Any) -> Any:
            with self._span(jobs, function.privacy):
                return call(jobs)

        return called

    @contextmanager
    def _span(self, jobs: Any, privacy: FunctionPrivacy) -> Iterator[None]:
        """The span of a job, in its client's trace; or of a list of jobs, in a trace of its own with links to those."""
        is_list = isinstance(jobs, list)
        every = [*jobs] if is_list else [jobs]  # the function may take jobs from its list
        contexts = [_PROPAGATOR.extract(job.headers) for job in every]
        clients = [trace.get_current_span(context).get_span_context() for context in contexts]
        span = self._tracer.start_span(
            _encodable(f"process {every[0].function}"),
            trace.set_span_in_context(trace.INVALID_SPAN) if is_list else contexts[0],
            SpanKind.CONSUMER,
            self._attributes(every, is_list=is_list),
            [Link(_without_state(client) if is_list else client) for client in clients if client.is_valid],
        )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                _note(span, failure_of(error, privacy, *(job._assigned for job in every)))
                raise

    def _attributes(self, jobs: Sequence[Any], *, is_list: bool) -> dict[str, Any]:
        job = jobs[0]
        found = {**self._always, "messaging.destination.name": _encodable(job.function), "gearman.attempt": job.attempt}
        if is_list:
            found["messaging.batch.message_count"] = len(jobs)
        else:
            found["messaging.message.id"] = job.handle
            found["messaging.message.body.size"] = len(job.workload)
        return found


def _without_state(client: SpanContext) -> SpanContext:
    """A context without what a vendor has added: of a thousand of them a span would be larger than its socket takes."""
    return SpanContext(client.trace_id, client.span_id, client.is_remote, client.trace_flags)


def _note(span: Span, failure: Failure) -> None:
    """Note how the function has failed, as far as it may be told. A job that is only put back has not."""
    error = failure.error
    if not isinstance(error, (Throttled, JobInterrupted)):
        kind = _encodable(type(error).__qualname__)
        text, trace_text = _encodable(failure.text), _encodable(failure.trace)
        told = {"exception.type": kind, "exception.message": text, "exception.stacktrace": trace_text}
        span.add_event("exception", told)
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, text[:MAX_TEXT]))


def _encodable(text: str) -> str:
    """A text that OTLP can carry: names of files, for instance, can have halves of characters."""
    return text.encode(errors="replace").decode()
