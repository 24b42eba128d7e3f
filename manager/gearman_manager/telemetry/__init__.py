"""Metrics and traces for an OpenTelemetry collector (OTLP over HTTP), with the section `otel` of the configuration.

In: the page of `/metrics`, and spans of workers. Out: requests to the collector, by a process of its own, which is
started by exec: `sender.py`, with `metrics_page.py` and `conversion.py` for metrics, `span_intake.py` for spans, which
`worker/job_spans.py` makes, and `collector.py`, which says once that the collector is away. So no thread and no library
of OpenTelemetry is in the supervisor, and nobody but the sender waits for the collector. `sender_process.py` is the
supervisor's side, which keeps it alive; `order.py` is what it is told. Open `sender_process.py` first.
"""
