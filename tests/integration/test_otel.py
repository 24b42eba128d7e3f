"""Metrics and traces of a real manager, sent to a real collector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span

from ..otlp_collector import OtlpCollector, otlp_collector, values
from .conftest import RunningManager, eventually
from .scraping import scrape

CONSUMER, ERROR = 5, 2
MODULE = """
import random

from gearman_manager import Retry, function


@function
def fine(job):
    random.seed(1)  # ids of spans differ nevertheless
    return job.workload


@function(redact=["password"])
def fails(job):
    raise ValueError('{"password": "hunter2"} is wrong')


@function(show_workloads=False)
def secretive(job):
    raise ValueError("file \\udcff: " + job.workload.decode())


@function
def second_time(job):
    if job.attempt == 1:
        raise Retry("not yet", after="10ms")


@function
def parent(job):
    job.client.submit_background("fine", b"")


@function(batch=10, linger="10ms")
def sets(jobs):
    return None


@function(batch=1000, linger="30s")
def thousand(jobs):
    return None


@function(batch=2, linger="30s", redact=["password"])
def secretive_sets(jobs):
    raise ValueError("bad passwords: " + ", ".join(jobs.pop().json()["password"] for _ in range(2)))


@function
async def later(job):
    return b""


@function
def beside(job):
    return b""
"""
POOLS = """
pools:
  plain: {functions: [fine, fails, secretive, second_time, parent], min: 2, max: 2}
  sets: {functions: [sets, secretive_sets, thousand], min: 1, max: 1}
  later: {functions: [later], min: 1, max: 1}
  beside: {functions: [beside], concurrency: 2, min: 1, max: 1}
"""
#: Of the libraries that only the sender and the workers need.
LIBRARY = "google/_upb"


@dataclass
class Site:
    manager: RunningManager
    collector: OtlpCollector

    def traced(self, function: str, workload: bytes = b"") -> tuple[str, str]:
        """A background job that is submitted while a span is active; its handle, and the trace's id."""
        with self.manager.client() as client, use_span(TRACER.start_span("request")) as span:
            handle = client.submit_background(function, workload)
            return handle, f"{span.get_span_context().trace_id:032x}"

    def spans_of(self, trace: str, count: int = 1) -> list[Any]:
        """The spans of a trace, in their order, once there are so many."""

        def found() -> list[Any]:
            spans = [span for span in self.collector.spans if span.trace_id.hex() == trace]
            return spans if len(spans) == count else []

        spans = eventually(found, f"{count} spans of {trace}")
        return sorted(spans, key=lambda span: int(span.start_time_unix_nano))

    def linked_to(self, traces: set[str]) -> list[Any]:
        """The spans with a link into each of these traces, and none else, once there is one."""

        def found() -> list[Any]:
            return [span for span in self.collector.spans if {link.trace_id.hex() for link in span.links} == traces]

        spans: list[Any] = eventually(found, "the call with a list")
        return spans


TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("application")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    manager = RunningManager(tmp_path_factory.mktemp("otel"))
    manager.write_module("functions.py", MODULE)
    manager.environment = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_RESOURCE_ATTRIBUTES": "deployment=blue"}
    with otlp_collector() as collector:
        (manager.folder / "headers").write_text("# of the collector\nAuthorization: Bearer s3cret\n")
        otel = f"{{endpoint: 'http://127.0.0.1:{collector.port}', headers_file: headers, interval: 300ms}}"
        try:
            manager.start(f"otel: {otel}\nfunctions: {{second_time: {{retries: 3}}}}\n{POOLS}")
            yield Site(manager, collector)
        finally:
            manager.destroy()


def using(pid: int) -> bool:
    """Whether a process has loaded the library."""
    return LIBRARY in Path(f"/proc/{pid}/maps").read_text()


def test_a_job_is_a_span_in_the_trace_of_its_client(site: Site) -> None:
    handle, trace = site.traced("fine", b"workload")
    (span,) = site.spans_of(trace)
    assert (span.name, span.kind, span.status.code) == ("process fine", CONSUMER, 0)
    assert [link.span_id for link in span.links] == [span.parent_span_id]
    attributes = values(span.attributes)
    wanted = {
        "messaging.system": "gearman",
        "messaging.operation.type": "process",
        "messaging.destination.name": "fine",
        "messaging.message.id": handle,
        "messaging.message.body.size": 8,
        "gearman.attempt": 1,
        "gearman.pool": "plain",
    }
    assert attributes.items() >= wanted.items()
    assert site.collector.headers["authorization"] == "Bearer s3cret"


def test_an_error_is_told_without_what_the_rules_hide(site: Site) -> None:
    (span,) = site.spans_of(site.traced("fails")[1])
    assert (span.status.code, values(span.attributes)["error.type"]) == (ERROR, "ValueError")
    (event,) = span.events
    told = values(event.attributes)
    assert "in fails" in told["exception.stacktrace"]
    assert "hunter2" not in str(span)


def test_an_error_that_can_not_be_encoded_is_told_and_kept_private(site: Site) -> None:
    (span,) = site.spans_of(site.traced("secretive", b"SECRET88 of Mr Smith")[1])
    (event,) = span.events
    assert values(event.attributes)["exception.message"] == "ValueError: file ?: [redacted]"
    log = site.manager.log()
    assert "SECRET88" not in log
    assert "Failed to encode" not in log


def test_the_error_of_a_list_is_told_without_what_the_rules_hide_in_any_of_its_jobs(site: Site) -> None:
    traces = {site.traced("secretive_sets", b'{"password": "listSECRET%d"}' % number)[1] for number in (1, 2)}
    (span,) = site.linked_to(traces)
    (event,) = span.events
    assert values(event.attributes)["exception.message"] == "ValueError: bad passwords: [redacted], [redacted]"
    assert b"listSECRET" not in span.SerializeToString()


def test_each_attempt_is_a_span_of_the_same_trace_and_so_are_further_jobs(site: Site) -> None:
    first, second = site.spans_of(site.traced("second_time")[1], 2)
    assert [values(span.attributes)["gearman.attempt"] for span in (first, second)] == [1, 2]
    assert [span.status.code for span in (first, second)] == [ERROR, 0]
    assert first.parent_span_id == second.parent_span_id
    parent, child = site.spans_of(site.traced("parent")[1], 2)
    assert (parent.name, child.name, child.parent_span_id) == ("process parent", "process fine", parent.span_id)


def test_functions_of_other_kinds_have_spans_too(site: Site) -> None:
    for function in ("later", "beside"):
        (span,) = site.spans_of(site.traced(function)[1])
        assert span.name == f"process {function}"
    _, trace = site.traced("sets")
    (linked,) = site.linked_to({trace})
    assert values(linked.attributes)["messaging.batch.message_count"] == 1
    before = len(site.collector.spans)
    with site.manager.client() as client:
        for _ in range(2):
            client.submit_background("fine", b"")
    eventually(lambda: len(site.collector.spans) == before + 2, "jobs without a trace begin one")
    assert len({span.trace_id for span in site.collector.spans[before:]}) == 2


def test_a_list_of_jobs_has_links_to_all_of_their_clients(site: Site) -> None:
    traces = {f"{number:032x}" for number in range(1, 1001)}
    with site.manager.client() as client:
        for trace in traces:
            headers = {"traceparent": f"00-{trace}-00000000000000aa-01", "tracestate": f"vendor={'x' * 200}"}
            client.submit_background("thousand", b"", headers=headers)
    (span,) = site.linked_to(traces)
    assert values(span.attributes)["messaging.batch.message_count"] == 1000


def test_the_metrics_are_those_of_the_page(site: Site) -> None:
    sample = eventually(lambda: site.collector.metrics.get("gearman_manager_pool_jobs"), "metrics")
    assert site.collector.metrics.keys() == {name for name, family in scrape(site.manager).items() if family.samples}
    assert sample.sum.is_monotonic
    assert site.collector.resource.items() >= {"service.name": "gearman-manager", "deployment": "blue"}.items()
    workers = site.collector.metrics["gearman_manager_pool_workers"].gauge.data_points
    assert sum(point.as_int for point in workers if values(point.attributes)["pool"] == "plain") == 2


def test_no_library_is_in_the_supervisor_and_no_thread_in_the_zygote(site: Site) -> None:
    process = site.manager.process
    assert process is not None
    by_title = {" ".join(child.cmdline()): child for child in psutil.Process(process.pid).children(recursive=True)}
    (sender,) = [child for title, child in by_title.items() if title.startswith("gearman-manager: otel")]
    (zygote,) = [child for title, child in by_title.items() if title.startswith("gearman-manager: zygote")]
    workers = [child for title, child in by_title.items() if title.startswith("gearman-manager: worker plain")]
    assert len(workers) == 2
    assert (using(process.pid), using(sender.pid)) == (False, True)
    assert [child.num_threads() for child in (zygote, *workers)] == [1] * (1 + len(workers))
    sender.kill()
    eventually(lambda: "the sender has ended" in site.manager.log(), "it is noticed")
    _, trace = site.traced("fine")
    site.spans_of(trace)  # it waits at the socket for the next sender


def test_a_collector_that_is_down_is_told_once_and_nobody_waits(napping: RunningManager) -> None:
    with otlp_collector() as collector:
        port = collector.port
    napping.environment = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    napping.start("otel: {interval: 100ms}\npools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    said = "the collector does not take metrics"
    eventually(lambda: said in napping.log(), "it is told")
    with napping.client(timeout_s=10) as client:
        assert client.submit("nap", b"0")
    assert "refused" in napping.log()
    with otlp_collector(port) as collector:
        eventually(lambda: "the collector takes" in napping.log(), "it is back")
        assert napping.log().count(said) == 1
        napping.config_file.write_text(napping.config_file.read_text().replace("otel: {interval: 100ms}\n", ""))
        napping.command("reload")
        eventually(lambda: len(napping.family()) == 4 and napping.settled(), "no sender any more")
        assert not any(using(worker["pid"]) for worker in napping.workers("nap"))
    assert napping.stop(within_s=10) == 0


def test_a_file_without_headers_is_named_and_nothing_starts(napping: RunningManager) -> None:
    (napping.folder / "headers").write_text("Authorization Bearer s3cret\n")
    napping.config_file.write_text("server: {}\notel: {headers_file: headers}\n")
    for words in (("check",), ()):
        refused = napping.command(*words, check=False)
        assert refused.returncode == 78
        assert "config.yaml:2: otel.headers_file: no headers: line 1 is no header: write NAME: VALUE" in refused.stderr
        assert "s3cret" not in refused.stderr
