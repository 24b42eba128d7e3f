"""The metrics port: its counts in Prometheus' format, and its refusal of jobs."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPMessage
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH, WORK_FAILURE
from gearman_client.job_pairs import MAX_HANDED_ON_BYTES
from gearman_client.packet import PacketType
from gearman_manager.simulation.prometheus_export import read_exports

from ...scraped import OPENMETRICS, parsed, value_of
from ..server_process import ServerProcess

DEADLINE_S = 20


class Page:
    """An answer of the metrics port."""

    def __init__(self, server: ServerProcess) -> None:
        self._base = f"http://{server.announced['metrics'][0]}"

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, str]:
        request = urllib.request.Request(self._base + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return response.status, response.headers, response.read().decode()

    def samples(
        self,
    ) -> dict[tuple[str, ...], float]:
        """Every sample's value, by name and labels' values."""
        families = text_string_to_metric_families(self.get("/metrics")[2])
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }


@pytest.fixture
def measured(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with a metrics port."""
    return start_server("--metrics-listen", "127.0.0.1:0", "--job-retries", "2")


@pytest.fixture
def page(measured: ServerProcess) -> Page:
    """Its metrics."""
    return Page(measured)


def counted(samples: dict[tuple[str, ...], float], function: str, priority: str = "normal") -> dict[str, float]:
    """The counters of a function that are not zero."""
    names = ("submitted", "coalesced", "started", "completed", "failed", "timed_out", "retried", "dropped", "stopped")
    found = {name: samples.get((f"gearman_jobs_{name}_total", function, priority), 0) for name in names}
    return {name: count for name, count in found.items() if count}


def test_each_step_of_a_job_is_counted_by_function_and_priority(measured: ServerProcess, page: Page) -> None:
    client, worker = measured.peer(), measured.peer()
    for kind in (PacketType.SUBMIT_JOB_HIGH, PacketType.SUBMIT_JOB_HIGH, PacketType.SUBMIT_JOB):
        client.ask(kind, b"f", b"u" if kind == PacketType.SUBMIT_JOB_HIGH else b"", b"w")
    worker.send(PacketType.CAN_DO, b"f")
    worker.sync()
    samples = page.samples()
    assert counted(samples, "f", "high") == {"submitted": 1, "coalesced": 1}
    assert samples["gearman_jobs_queued", "f", "high"] == 1
    assert samples["gearman_oldest_queued_job_age_seconds", "f", "high"] > 0
    assert samples["gearman_oldest_queued_job_age_seconds", "f", "low"] == 0
    assert samples["gearman_workers", "f"] == 1
    assert samples["gearman_connections",] == 2
    handle = worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0]
    assert page.samples()["gearman_jobs_running", "f"] == 1
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    worker.send(PacketType.WORK_FAIL, worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0])
    worker.sync()
    samples = page.samples()
    assert counted(samples, "f", "high") == {"submitted": 1, "coalesced": 1, "started": 1, "completed": 1}
    assert counted(samples, "f") == {"submitted": 1, "started": 1, "failed": 1}
    assert samples["gearman_job_waited_seconds_count", "f", "high"] == 1
    assert samples["gearman_job_ran_seconds_count", "f", "normal"] == 1
    assert 0 < samples["gearman_job_waited_seconds_sum", "f", "high"] < DEADLINE_S
    assert samples["gearman_jobs_queued", "f", "high"] == samples["gearman_jobs_running", "f"] == 0
    client.ask(PacketType.SUBMIT_JOB_LOW, b"f", b"", b"w")
    handle = worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0]
    assert measured.text(b"stop job " + handle) == b"OK 1\n"
    samples = page.samples()
    assert counted(samples, "f", "low") == {"submitted": 1, "started": 1, "stopped": 1}
    assert (samples["gearman_stops_total", "untold"], samples["gearman_stops_total", "answered"]) == (1, 0)


def test_batches_and_broken_chains_are_counted(measured: ServerProcess, page: Page) -> None:
    client = measured.peer()
    for option in (b"job-batches", b"job-options"):
        assert client.ask(PacketType.OPTION_REQ, option)[0] == PacketType.OPTION_RES
    for name in (b"open", b"good", b"bad"):
        assert client.ask(OPEN_BATCH, name)[0] == BATCH
    client.ask(CLOSE_BATCH, b"good")
    client.ask(END_BATCH, b"bad", b"cancel")
    client.send(PacketType.CAN_DO, b"f")
    client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"then=function=g", b"", b"w")
    handle = client.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0]
    client.send(PacketType.WORK_COMPLETE, handle, b"x" * (MAX_HANDED_ON_BYTES + 1))
    client.sync()
    samples = page.samples()
    assert samples["gearman_batches",] == 1
    assert (samples["gearman_batches_ended_total", "success"], samples["gearman_batches_ended_total", "failure"]) == (
        1,
        1,
    )
    assert (samples["gearman_chains_broken_total",], samples["gearman_batches_forgotten_total",]) == (1, 0)


def test_held_keys_are_counted_with_their_jobs(measured: ServerProcess, page: Page) -> None:
    client, worker = measured.peer(), measured.peer()
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
    assert page.samples()["gearman_jobs_startable", "f"] == 0
    worker.send(WORK_FAILURE, handle, b"throttle", b"60000", b"key", b"", b"")
    worker.sync()
    samples = page.samples()
    assert samples["gearman_jobs_throttled_total", "f", "normal"] == samples["gearman_keys", "f"] == 1
    assert (samples["gearman_jobs_queued", "f", "normal"], samples["gearman_jobs_startable", "f"]) == (1, 0)
    assert samples["gearman_oldest_queued_job_age_seconds", "f", "normal"] > 0


def test_simulate_reads_arrivals_and_run_times_from_what_prometheus_makes_of_the_page(
    measured: ServerProcess, page: Page, tmp_path: Path
) -> None:
    client, worker = measured.peer(), measured.peer()
    worker.send(PacketType.CAN_DO, b"f")
    scrapes = []
    for number in range(2):
        for unique in (b"", b""):
            client.ask(PacketType.SUBMIT_JOB, b"f", unique, b"w")
            handle = worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0]
            worker.send(PacketType.WORK_COMPLETE, handle, b"r")
        worker.sync()
        families = text_string_to_metric_families(page.get("/metrics")[2])
        scrapes.append((1_767_225_600 + 60 * number, [sample for family in families for sample in family.samples]))
    series: dict[tuple[tuple[str, str], ...], list[list[object]]] = {}
    for at_s, samples in scrapes:
        for sample in samples:
            labels = {"__name__": sample.name, "instance": "a", **sample.labels}
            series.setdefault(tuple(labels.items()), []).append([at_s, str(sample.value)])
    result = [{"metric": dict(labels), "values": values} for labels, values in series.items()]
    export = tmp_path / "export.json"
    export.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    jobs = read_exports([export], functions=frozenset("f"), service_mean_s=None, max_jobs=9).jobs
    assert len(jobs.at_s) == 2
    assert all(1_767_225_600 <= at_s <= 1_767_225_660 for at_s in jobs.at_s)
    assert all(0 < service_s < DEADLINE_S for service_s in jobs.service_s)


def test_a_lost_worker_counts_as_a_retry_and_the_last_one_as_a_failure(
    measured: ServerProcess, page: Page, until: Callable[[Callable[[], bool]], None]
) -> None:
    def is_counted(name: str) -> bool:
        return name in counted(page.samples(), "f")

    client = measured.peer()
    client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")
    for name in ("retried", "failed"):
        worker = measured.peer()
        worker.send(PacketType.CAN_DO, b"f")
        worker.ask(PacketType.GRAB_JOB)
        worker.close()
        until(partial(is_counted, name))
    assert counted(page.samples(), "f") == {"submitted": 1, "started": 2, "retried": 1, "failed": 1}


def test_a_timeout_is_counted(measured: ServerProcess, page: Page, until: Callable[[Callable[[], bool]], None]) -> None:
    client, worker = measured.peer(), measured.peer()
    client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    worker.ask(PacketType.GRAB_JOB)
    until(lambda: counted(page.samples(), "f").get("timed_out") == 1)


def test_a_dropped_function_takes_its_counts_with_it(measured: ServerProcess, page: Page) -> None:
    measured.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert counted(page.samples(), "f") == {"submitted": 1}
    measured.text(b"drop function f")
    assert not any("f" in labels for labels in page.samples())


def test_a_function_name_of_any_bytes_gives_a_page_that_can_be_parsed(measured: ServerProcess, page: Page) -> None:
    measured.peer().ask(PacketType.SUBMIT_JOB_BG, b'a"b\\c\xff', b"", b"w")
    assert page.samples()["gearman_jobs_submitted_total", 'a"b\\c\\xff', "normal"] == 1


def test_the_page_has_figures_of_the_process(page: Page) -> None:
    assert page.samples()["process_resident_memory_bytes",] > 1_000_000


def test_healthz_shows_that_the_server_answers(page: Page) -> None:
    assert page.get("/healthz")[::2] == (200, "ok\n")
    assert page.get("/healthz", "HEAD")[::2] == (200, "")


def run_jobs(server: ServerProcess, *functions: bytes) -> list[bytes]:
    """Have a job of each of these functions done; returns the handles."""
    client, worker, handles = server.peer(), server.peer(), []
    for function in functions:
        worker.send(PacketType.CAN_DO, function)
        client.ask(PacketType.SUBMIT_JOB, function, b"", b"w")
        handle = worker.ask(PacketType.GRAB_JOB)[1].partition(b"\0")[0]
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        assert client.receive()[0] == PacketType.WORK_COMPLETE
        handles.append(handle)
    worker.close()
    return handles


def test_a_scraper_that_asks_for_openmetrics_gets_histograms_with_handles(measured: ServerProcess, page: Page) -> None:
    [handle] = run_jobs(measured, b"f")
    before, (_, headers, text) = time.time(), page.get("/metrics", Accept=OPENMETRICS)
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    families = parsed(text, is_openmetrics=True)
    for name in ("waited", "ran"):
        [exemplar] = [s.exemplar for s in families[f"gearman_job_{name}_seconds"].samples if s.exemplar is not None]
        assert exemplar.labels == {"handle": handle.decode()}
        assert 0 <= exemplar.value < DEADLINE_S
        assert abs(float(exemplar.timestamp or 0) - before) < DEADLINE_S
    plain = page.get("/metrics")[2]
    assert handle.decode() not in plain
    assert value_of(parsed(plain, is_openmetrics=False), "gearman_job_ran_seconds_count", function="f") == 1


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_beyond_the_wanted_number_functions_are_shown_as_one_and_the_first_ones_stay(
    measured: ServerProcess, page: Page, accept: str
) -> None:
    def shown() -> dict[str, Metric]:
        text = page.get("/metrics?functions=2&server=10.0.0.1:4730", Accept=accept)[2]
        return parsed(text, is_openmetrics=bool(accept))

    run_jobs(measured, b"c", b"d", b"a", b"b", b"a")
    first = shown()
    samples = [sample for family in first.values() for sample in family.samples]
    assert {sample.labels["server"] for sample in samples} == {"10.0.0.1:4730"}
    assert {sample.labels["function"] for sample in samples if "function" in sample.labels} == {"c", "d", "other"}
    assert value_of(first, "gearman_jobs_completed_total", function="c") == 1
    assert value_of(first, "gearman_jobs_completed_total", function="other") == 3
    assert value_of(first, "gearman_job_ran_seconds_count", function="other") == 3
    assert value_of(first, "gearman_job_ran_seconds_bucket", function="other", le="+Inf") == 3

    measured.text(b"drop function c")
    labels = [sample.labels for family in shown().values() for sample in family.samples]
    assert {each["function"] for each in labels if "function" in each} == {"d", "a", "other"}


@pytest.mark.parametrize("query", ["functions=0", "functions=x", "functions=1000000", "server=" + "s" * 201])
def test_a_page_that_makes_no_sense_is_refused(page: Page, query: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        page.get(f"/metrics?{query}")
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/f", 404), ("POST", "/f", 404), ("POST", "/metrics", 405)]
)
def test_the_metrics_port_accepts_no_jobs(
    measured: ServerProcess, page: Page, method: str, path: str, status: int
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        page.get(path, method)
    assert refused.value.code == status
    assert measured.text(b"status") == b".\n"


def test_the_metrics_address_needs_a_port(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    refused = run_command("-p", "0", "--metrics-listen", "127.0.0.1")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--metrics-listen" in refused.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_the_message_for_an_address_of_another_machine_names_its_option(
    run_command: Callable[..., subprocess.CompletedProcess[str]], host: str
) -> None:
    refused = run_command("-p", "0", "--metrics-listen", f"{host}:0")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"can't listen on {host}" in refused.stderr
    assert "with --metrics-listen" in refused.stderr
