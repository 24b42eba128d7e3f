"""Pages of `/metrics` as metrics of OpenTelemetry."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.resources import Resource

from gearman_manager.telemetry.conversion import Conversion

PAGE = """\
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{{outcome="done",pool="a\\"b\\n"}} {done}
# HELP load Load.
# TYPE load gauge
load 0.5
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{{le="0.1"}} 3
wait_seconds_bucket{{le="1"}} 5
wait_seconds_bucket{{le="+Inf"}} 6
wait_seconds_count 6
wait_seconds_sum 2.5
"""


def metrics(conversion: Conversion, done: float, now_ns: int) -> dict[str, Any]:
    (of_resource,) = conversion.metrics(PAGE.format(done=done), now_ns).resource_metrics
    (scope,) = of_resource.scope_metrics
    return {metric.name: metric.data for metric in scope.metrics}


def test_each_kind_keeps_its_name_labels_and_value() -> None:
    found = metrics(Conversion(Resource({}), "1", 100), 7, 200)
    assert found.keys() == {"jobs", "load", "wait_seconds"}
    (jobs,), (load,), (waits,) = (found[name].data_points for name in found)
    assert (jobs.value, jobs.attributes) == (7, {"outcome": "done", "pool": 'a"b\n'})
    assert (found["jobs"].is_monotonic, load.value) == (True, 0.5)
    assert (waits.bucket_counts, waits.explicit_bounds, waits.count, waits.sum) == ([3, 2, 1], [0.1, 1.0], 6, 2.5)
    assert (jobs.start_time_unix_nano, jobs.time_unix_nano) == (100, 200)


def test_a_counter_that_falls_has_begun_anew() -> None:
    conversion = Conversion(Resource({}), "1", 100)
    began = [
        metrics(conversion, done, now_ns)["jobs"].data_points[0].start_time_unix_nano
        for done, now_ns in ((7, 200), (9, 300), (2, 400), (2, 500))
    ]
    assert began == [100, 100, 300, 300]
