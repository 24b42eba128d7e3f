"""The text of families, as the library of Prometheus reads it, and the bound on the values of a label."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from prometheus_client.metrics_core import Metric

from gearman_manager.metrics.bounded_names import BoundedNames
from gearman_manager.metrics.exposition import AnyFamily, Family, HistogramFamily, LabelledFamily, exposed, label

from ...scraped import parsed

HOSTILE = 'a"b\\c\nd{}=,é \x1b[31m'


@dataclass
class Animal:
    labels: str
    legs: int | None
    ages: list[int] = field(default_factory=list)


ANIMALS = [Animal(label("name", HOSTILE), 4, [1, 0, 2]), Animal(label("name", "eel"), None, [0, 0, 0])]
LEGS: AnyFamily[Animal] = Family("legs", "gauge", "Legs, \\ and\nfeet.", lambda row: row.legs)
STEPS: AnyFamily[Animal] = LabelledFamily(
    "steps", "counter", "Steps.", "foot", lambda row: [("left", 2), (HOSTILE, 3.5)]
)
AGES: AnyFamily[Animal] = HistogramFamily("age_seconds", "Ages.", (0.5, 10.0), lambda row: (row.ages, 7.25))


def read(family: AnyFamily[Animal], rows: list[Animal], *, is_openmetrics: bool) -> Metric:
    text = exposed(family, rows, is_openmetrics=is_openmetrics).decode()
    [metric] = parsed(text + "# EOF\n" * is_openmetrics, is_openmetrics=is_openmetrics).values()
    return metric


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_both_formats_say_the_same_of_any_name(is_openmetrics: bool) -> None:
    legs = read(LEGS, ANIMALS, is_openmetrics=is_openmetrics)
    assert (legs.type, legs.documentation) == ("gauge", "Legs, \\ and\nfeet.")
    assert [(sample.labels, sample.value) for sample in legs.samples] == [({"name": HOSTILE}, 4.0)]

    steps = read(STEPS, ANIMALS[:1], is_openmetrics=is_openmetrics)
    assert steps.type == "counter"
    assert [(s.name, s.labels, s.value) for s in steps.samples] == [
        ("steps_total", {"name": HOSTILE, "foot": "left"}, 2.0),
        ("steps_total", {"name": HOSTILE, "foot": HOSTILE}, 3.5),
    ]


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_the_buckets_of_a_histogram_are_cumulative(is_openmetrics: bool) -> None:
    ages = read(AGES, ANIMALS[:1], is_openmetrics=is_openmetrics)
    figures = {sample.labels.get("le", sample.name): sample.value for sample in ages.samples}
    assert ages.type == "histogram"
    assert figures == {"0.5": 1.0, "10.0": 1.0, "+Inf": 3.0, "age_seconds_count": 3.0, "age_seconds_sum": 7.25}


def test_a_row_without_labels_has_no_braces() -> None:
    family: AnyFamily[Animal] = Family("legs", "counter", "Legs.", lambda row: row.legs)
    assert exposed(family, [Animal("", 2)], is_openmetrics=False).splitlines()[-1] == b"legs_total 2"


def test_names_beyond_the_bound_are_not_shown_and_those_that_are_shown_stay() -> None:
    names = BoundedNames(2)
    assert list(names.shown(["b", "c", "d"])) == ["b", "c"]
    assert list(names.shown(["a", "b", "c", "d"])) == ["b", "c"]
    assert list(names.shown(["a", "c", "d"])) == ["c", "a"]
    assert list(names.shown([])) == []
