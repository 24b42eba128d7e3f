"""Arrivals from an export of Prometheus: counters that restart, pauses, new functions, run times, and bad files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.simulation.prometheus_export import ARRIVALS, RAN, Export, ExportError, is_export, read_exports
from gearman_manager.simulation.recording import RecordingError, read_recording

START = 1_767_225_600  # 2026

Samples = Sequence[tuple[float, float]]


def series(samples: Samples, name: str = ARRIVALS, **labels: str) -> dict[str, Any]:
    labels = {"__name__": name, "function": "mail", "priority": "normal", "instance": "a:1"} | labels
    return {"metric": labels, "values": [[at_s, str(value)] for at_s, value in samples]}


def every(step_s: float, *values: float | None, start: float = START) -> list[tuple[float, float]]:
    """Samples at regular times; None for one that is missing."""
    return [(start + step_s * number, value) for number, value in enumerate(values) if value is not None]


def answer(*several: Mapping[str, Any]) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": several}})


def read(folder: Path, *several: Mapping[str, Any], function: str | None = None, mean_s: float | None = 1.0) -> Export:
    file = folder / "export.json"
    file.write_text(answer(*several))
    functions = None if function is None else frozenset((function,))
    return read_exports([file], functions=functions, service_mean_s=mean_s, max_jobs=100_000)


def by_minute(export: Export) -> dict[int, int]:
    minutes = [int((at_s - START) // 60) for at_s in export.jobs.at_s]
    return {minute: minutes.count(minute) for minute in minutes}


# --- arrivals


def test_jobs_come_at_random_moments_between_the_samples_that_count_them(tmp_path: Path) -> None:
    export = read(tmp_path, series(every(60, 1000, 1005, 1005, 1105)))
    assert by_minute(export) == {0: 5, 2: 100}
    assert list(export.jobs.at_s) == sorted(export.jobs.at_s)
    assert max(export.jobs.at_s) - min(at_s for at_s in export.jobs.at_s if at_s > START + 120) > 45
    assert (export.start_s, export.end_s, export.step_s, export.lost) == (START, START + 180, 60, 0)
    again = read(tmp_path, series(every(60, 1000, 1005, 1005, 1105)))
    assert again.jobs == export.jobs


def test_a_counter_that_fell_began_at_zero(tmp_path: Path) -> None:
    assert by_minute(read(tmp_path, series(every(60, 1000, 1005, 3, 4)))) == {0: 5, 1: 3, 2: 1}


def test_a_function_that_appears_later_began_at_zero(tmp_path: Path) -> None:
    late = series(every(60, 7, 9, start=START + 120), function="sms")
    export = read(tmp_path, series(every(60, 10, 10, 10, 10)), late)
    assert by_minute(export) == {1: 7, 2: 2}
    other_server = series(every(60, 7, 9, start=START + 120), function="sms", instance="b:1")
    assert by_minute(read(tmp_path, series(every(60, 10, 10, 10, 10)), other_server)) == {2: 2}


def test_jobs_of_a_pause_are_left_out_but_not_those_since_a_restart(tmp_path: Path) -> None:
    pause: list[float | None] = [None] * 8
    export = read(tmp_path, series(every(60, 10, 12, *pause, 500, 501)))
    assert (by_minute(export), export.lost) == ({0: 2, 10: 1}, 488)
    export = read(tmp_path, series(every(60, 10, 12, *pause, 5, 6)))
    assert (by_minute(export), export.lost) == ({0: 2, 9: 5, 10: 1}, 0)


def test_priorities_and_servers_are_added_up_and_functions_can_be_chosen(tmp_path: Path) -> None:
    several = [
        series(every(60, 0, 1)),
        series(every(60, 0, 2), priority="high"),
        series(every(60, 0, 4), instance="b:1"),
        series(every(60, 0, 8), function="sms"),
        series(every(60, 0, 99), name="gearman_jobs_failed_total"),
    ]
    assert len(read(tmp_path, *several).jobs.at_s) == 15
    assert len(read(tmp_path, *several, function="mail").jobs.at_s) == 7


def test_files_that_overlap_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(answer(series(every(60, 0, 1, 3))))
    (tmp_path / "2.json").write_text(answer(series(every(60, 3, 7, 15, start=START + 120))))
    files = [tmp_path / "2.json", tmp_path / "1.json"]
    export = read_exports(files, functions=None, service_mean_s=1.0, max_jobs=100)
    assert by_minute(export) == {0: 1, 1: 2, 2: 4, 3: 8}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.sets(st.integers(1, 29)))
def test_no_job_is_lost_or_counted_twice_whenever_the_server_restarts(jobs: list[int], restarts: set[int]) -> None:
    total, values = 5, [5]
    for number, count in enumerate(jobs, 1):
        # A restart that leaves the counter no lower than it was can't be seen.
        total = count if number in restarts and count < total else total + count
        values.append(total)
    file = Path("/dev/shm") / f"export-{id(jobs)}.json"
    try:
        file.write_text(answer(series(every(60, *values))))
        if not sum(jobs):
            with pytest.raises(ExportError, match="no jobs"):
                read_exports([file], functions=None, service_mean_s=1.0, max_jobs=10_000)
            return
        export = read_exports([file], functions=None, service_mean_s=1.0, max_jobs=10_000)
    finally:
        file.unlink()
    assert by_minute(export) == {number: count for number, count in enumerate(jobs) if count}


# --- run times


def test_run_times_come_from_the_histogram_with_its_mean(tmp_path: Path) -> None:
    buckets = [
        series(every(60, 0, count), name=f"{RAN}_bucket", le=bound)
        for bound, count in (("0.1", 0), ("0.5", 90), ("5.0", 90), ("15.0", 100), ("+Inf", 100))
    ]
    figures = [series(every(60, 0, 129.6), name=f"{RAN}_sum"), series(every(60, 0, 100), name=f"{RAN}_count")]
    export = read(tmp_path, series(every(60, 0, 10_000)), *buckets, *figures, mean_s=None)
    times = list(export.jobs.service_s)
    assert sum(times) / len(times) == pytest.approx(1.296, rel=0.05)
    assert sum(one > 4 for one in times) / len(times) == pytest.approx(0.1, abs=0.02)
    only_mean = read(tmp_path, series(every(60, 0, 10_000)), *figures, mean_s=None)
    assert sum(only_mean.jobs.service_s) / 10_000 == pytest.approx(1.296, rel=0.05)
    given_mean = read(tmp_path, series(every(60, 0, 10_000)), *figures, mean_s=0.2)
    assert sum(given_mean.jobs.service_s) / 10_000 == pytest.approx(0.2, rel=0.05)


def test_each_function_has_its_own_run_times(tmp_path: Path) -> None:
    several = [
        one
        for function, mean_s in (("mail", 0.1), ("report", 60.0))
        for one in (
            series(every(60, 0, 500), function=function),
            series(every(60, 0, mean_s * 10), name=f"{RAN}_sum", function=function),
            series(every(60, 0, 10), name=f"{RAN}_count", function=function),
        )
    ]
    times = sorted(read(tmp_path, *several, mean_s=None).jobs.service_s)
    assert sum(times[:500]) / 500 == pytest.approx(0.1, rel=0.2)
    assert sum(times[500:]) / 500 == pytest.approx(60, rel=0.2)


# --- bad files


def vector() -> str:
    result = [{"metric": {"__name__": ARRIVALS}, "value": [START, "1"]}]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"status": "success",,\n', r"export\.json:2:21: it is no JSON"),
        ("[1, 2]", "the JSON of Prometheus' /api/v1/query_range is expected"),
        ("{}", "the JSON of Prometheus' /api/v1/query_range is expected"),
        ('{"status": "error", "error": "bad_data"}', "Prometheus has answered with an error: 'bad_data'"),
        (answer(), "the answer is empty"),
        (vector(), "ask /api/v1/query_range"),
        (answer({"metric": {"function": "a"}, "values": []}), r"series 1 has no name: rate\(\) and sum\(\) lose"),
        (answer({"metric": 5, "values": []}), "series 1: metric: a mapping of labels is expected"),
        (answer(series([(START, 1.0)], name="up")), f"no series of {ARRIVALS}: export query="),
        (answer(series([(START, 1.0)])), "one sample says nothing"),
        (answer(series(every(60, 1, 1, 1))), "no jobs"),
        (answer(series(every(60, 1, 1e6))), "999,999 jobs are more than 100,000: export fewer days"),
        (
            answer({**series([]), "values": [[START, "1"], [START, "many"]]}),
            r"sample 2: .* not \[1767225600, \"many\"\]",
        ),
        (answer({**series([]), "values": [[START, "NaN"]]}), "sample 1: "),
        (answer({**series([]), "values": [7]}), "sample 1: .* not 7"),
        ("[" * 100_000, "export.json"),
    ],
)
def test_a_file_that_is_no_export_is_an_error_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(text)
    with pytest.raises(ExportError, match=message):
        read_exports([file], functions=None, service_mean_s=1.0, max_jobs=100_000)


def test_without_run_times_the_error_says_what_to_export_or_give(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"no run times of the function mail: export {RAN} too.* or give --service"):
        read(tmp_path, series(every(60, 0, 5)), mean_s=None)


def test_traces_and_exports_are_told_apart_and_not_mixed(tmp_path: Path) -> None:
    assert is_export("\ufeff\n {")
    assert not is_export("arrival_s,service_s\n")
    (tmp_path / "a.json").write_text(answer(series(every(60, 0, 5))))
    (tmp_path / "b.csv").write_text(f"{START},1\n")
    with pytest.raises(RecordingError, match="not both"):
        read_recording([tmp_path / "a.json", tmp_path / "b.csv"], function=None, service_mean_s=1.0)
    recording = read_recording([tmp_path / "a.json"], function="mail", service_mean_s=1.0)
    assert len(recording.load.jobs.at_s) == 5
    assert recording.notes == ("bursts shorter than the step of the samples, 60 s, are spread over it",)
