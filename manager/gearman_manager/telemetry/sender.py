"""The process that sends metrics and spans to the collector: `python -m gearman_manager.telemetry.sender ORDER …`.

The arguments are descriptors: of a file with the order, of the lifeline, and of the socket on which workers bring
spans. It may have threads: it forks nothing. It ends on SIGTERM, or with the supervisor, after a last attempt.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from setproctitle import setproctitle

from gearman_manager.ipc.child_log import RECORD_MARK
from gearman_manager.telemetry.collector import Collector
from gearman_manager.telemetry.conversion import Conversion
from gearman_manager.telemetry.headers import read_headers
from gearman_manager.telemetry.metrics_page import NoPage, metrics_page
from gearman_manager.telemetry.order import SenderOrder
from gearman_manager.telemetry.span_intake import MOST_CONNECTIONS, SpanIntake

_log = logging.getLogger("otel")
#: For the last attempts at the end.
LAST_S: Final = 2.0


class _Lines(logging.Handler):
    """Writes lines that the supervisor puts into its log."""

    def emit(self, record: logging.LogRecord) -> None:
        print(RECORD_MARK + json.dumps({"level": record.levelname, "message": record.getMessage()}), flush=True)


class _Spans(SpanExporter):
    """Sends batches of spans, and tells how that went."""

    def __init__(self, exporter: SpanExporter, collector: Collector) -> None:
        self._exporter = exporter
        self._collector = collector

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._collector.note(result is SpanExportResult.SUCCESS, "spans")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Metrics(threading.Thread):
    """Asks for the page of metrics and sends it, again and again."""

    def __init__(self, order: SenderOrder, headers: Mapping[str, str] | None, collector: Collector) -> None:
        super().__init__(name="metrics", daemon=True)
        self._order = order
        self._collector = collector
        self._exporter = OTLPMetricExporter(_address(order.endpoint, "metrics"), headers=headers)
        resource = Resource.create(
            {"service.name": "gearman-manager", "service.instance.id": order.manager, "service.version": order.version}
        )
        self._conversion = Conversion(resource, order.version, time.time_ns())
        self.ends = threading.Event()
        self._has_failed = False

    def run(self) -> None:
        while True:
            is_last = self.ends.wait(self._order.interval_s)
            try:
                self._send()
            except NoPage as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001 (the loop's boundary: the next page may be sent)
                self._complain(f"unexpected: {error!r}")
            else:
                self._has_failed = False
            if is_last:
                return

    def _send(self) -> None:
        page = metrics_page(self._order.control_socket)
        result = self._exporter.export(self._conversion.metrics(page, time.time_ns()))
        self._collector.note(result is MetricExportResult.SUCCESS, "metrics")

    def _complain(self, reason: str) -> None:
        """Once for errors in a row, and not at the end, when the manager serves no pages any more."""
        if not self._has_failed and not self.ends.is_set():
            _log.warning("no metrics are sent: %s", reason)
        self._has_failed = True


def main(arguments: Sequence[int]) -> NoReturn:
    """Send until the end."""
    ordered, lifeline, listener = arguments
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the wake-up descriptor tells of it
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    setproctitle("gearman-manager: otel")
    logging.getLogger().addHandler(_Lines())
    _log.setLevel(logging.INFO)
    with os.fdopen(ordered, "rb") as file:
        order = SenderOrder.decode(file.read())
    collector = Collector()
    try:
        headers = read_headers(order.headers_file) if order.headers_file else None
    except (OSError, ValueError) as error:
        _log.error("otel.headers_file: %s: %s", order.headers_file, error)
        headers = None
    spans = BatchSpanProcessor(_Spans(OTLPSpanExporter(_address(order.endpoint, "traces"), headers=headers), collector))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=listener) as listening:
        intake = SpanIntake(listening, spans.on_end, _most_connections())
        intake.watch(wake_read)
        intake.watch(lifeline)
        metrics = _Metrics(order, headers, collector) if order.has_metrics else None
        if metrics is not None:
            metrics.start()
        intake.serve()
    # The manager waits for this, so there is a last attempt only if the one before has succeeded, and not for long.
    if not collector.is_away:
        flushing = threading.Thread(target=spans.force_flush, daemon=True)
        flushing.start()
        if metrics is not None:
            metrics.ends.set()
            metrics.join(LAST_S)
        flushing.join(LAST_S)
    os._exit(0)


def _most_connections() -> int:
    """Of workers; so many descriptors as those together are left for the collector and for what the process opens."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, most // 2)


def _address(endpoint: str, signal_name: str) -> str | None:
    """The address for one kind of data; None: the exporter reads the variables OTEL_…."""
    return f"{endpoint.rstrip('/')}/v1/{signal_name}" if endpoint else None


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
