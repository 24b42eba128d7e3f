"""Charts as pages draw them: the paths of lines, the scale, a table of the figures. Pure.

They are drawn here, as SVG, so that they need no script, and a page can have one table of all of their figures, for
those who do not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from gearman_manager.dashboard.words import UNKNOWN, duration, size

#: The plane on which paths are drawn; the browser stretches it.
WIDTH: Final = 1000
HEIGHT: Final = 100
#: Labels below a chart.
LABELS: Final = 3
_DAY_S: Final = 86_400
_DURATIONS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600),
    *(7200, 14_400, 43_200, 86_400),
)
Values = Sequence[float | None]


def number(value: float | None) -> str:
    """`0.3`, `12`, `1,250`; a dash if it is unknown."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 9.95 or value == round(value) else f"{value:.2g}"


def time_span(value: float | None) -> str:
    """`3 ms`, `2.5 s`, `12 s`, `5 min`; a dash if it is unknown."""
    if value is None or value >= 10:
        return duration(value)
    return f"{value:.2g} s" if value >= 0.9995 or value == 0 else f"{value * 1000:.3g} ms"


@dataclass(frozen=True, slots=True)
class Unit:
    """A kind of values: how one is written, and the top of a scale that has room for one."""

    words: Callable[[float | None], str]
    top: Callable[[float], float]


def _round_top(most: float) -> float:
    """The smallest of 1, 2, 4, 6, 8, 10, 20, 40 … that is not less."""
    step = 1.0
    while True:
        for factor in (1, 2, 4, 6, 8):
            if most <= factor * step:
                return factor * step
        step *= 10


COUNT: Final = Unit(number, _round_top)
SECONDS: Final = Unit(time_span, lambda most: next((top for top in _DURATIONS if most <= top), most))
BYTES: Final = Unit(size, lambda most: 1e6 * _round_top(most / 1e6))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: the figure, how it is called, and its look (`1` to `4`, `bad`)."""

    figure: str
    label: str
    look: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A chart as it is planned. `needs_counts`: its figures come from job servers. `ticks`: figures of which each time
    that is not 0 gets a small mark on the axis."""

    title: str
    unit: Unit
    lines: Sequence[Line]
    needs_counts: bool = False
    ticks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A line with its path, and its values in words: the last one that is known, and all of them, for the script."""

    line: Line
    path: str
    now: str
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as the template shows it: `top` and `half` are the labels of its scale, `ticks` is a path, `text` tells
    it in words."""

    plan: Plan
    lines: Sequence[DrawnLine]
    top: str
    half: str
    ticks: str
    text: str

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not any(line.path for line in self.lines)


def drawn(plans: Sequence[Plan], report: Mapping[str, Any]) -> list[Chart]:
    """The charts of a report."""
    return [_chart(plan, report["figures"]) for plan in plans]


def _chart(plan: Plan, figures: Mapping[str, Values]) -> Chart:
    values = [figures[line.figure] for line in plan.lines]
    most = max((value for each in values for value in each if value is not None), default=0.0)
    top = plan.unit.top(most)
    lines, texts = [], []
    for line, each in zip(plan.lines, values, strict=True):
        known = [value for value in each if value is not None]
        now = plan.unit.words(known[-1] if known else None)
        told = "|".join(map(plan.unit.words, each)) if known else ""
        lines.append(DrawnLine(line, path(each, top), now, told))
        texts.append(f"{line.label} {now}, highest {plan.unit.words(max(known, default=None))}")
    ticks = [figures[name] for name in plan.ticks]
    return Chart(plan, lines, plan.unit.words(top), plan.unit.words(top / 2), _ticks(ticks), "; ".join(texts))


def path(values: Values, top: float) -> str:
    """The path of a line, with gaps where nothing is known."""
    made, is_drawing = [], False
    for place, value in enumerate(values):
        if value is not None:
            at = f"{x_of(place, len(values))} {round(HEIGHT * (1 - value / top), 1):g}"
            made.append(f"{'L' if is_drawing else 'M'}{at}")
            if not is_drawing and (place + 1 == len(values) or values[place + 1] is None):
                made.append("h0")  # a point alone shows as a dot
        is_drawing = value is not None
    return "".join(made)


def x_of(place: int, count: int) -> int:
    """Where a value stands on the plane."""
    return round(WIDTH * place / max(1, count - 1))


def _ticks(figures: Sequence[Values]) -> str:
    changes = [sum(value or 0 for value in values) for values in zip(*figures, strict=True)]
    return "".join(f"M{x_of(place, len(changes))} {HEIGHT}v-7" for place, change in enumerate(changes) if change)


def marks_path(report: Mapping[str, Any], kinds: frozenset[str], *, are_these: bool) -> str:
    """The path of the marks of these kinds, or of all others: a line from top to bottom for each."""
    times = report["times"]
    begin, span_s = times[0], max(1, times[-1] - times[0])
    places = {
        min(WIDTH, max(0, round(WIDTH * (mark["at"] - begin) / span_s)))
        for mark in report["marks"]
        if (mark["kind"] in kinds) is are_these
    }
    return "".join(f"M{place} 0v{HEIGHT}" for place in sorted(places))


def labels(report: Mapping[str, Any]) -> list[Markup]:
    """The times below a chart, spread evenly."""
    times = report["times"]
    span_s = times[-1] - times[0]
    return [clock(times[0] + span_s * place // (LABELS - 1), span_s) for place in range(LABELS)]


def clock(unix_s: float, span_s: float) -> Markup:
    """A time of day, with the day if the span is longer than one; the script shows it in the reader's zone."""
    exact = datetime.fromtimestamp(unix_s, UTC)
    style, form = ("day", "%a %H:%M") if span_s >= _DAY_S else ("clock", "%H:%M")
    machine = exact.strftime("%Y-%m-%dT%H:%MZ")
    return Markup('<time datetime="%s" data-%s>%s</time>') % (machine, style, exact.strftime(form))


def rows(plans: Sequence[Plan], report: Mapping[str, Any]) -> Iterator[tuple[Markup, list[str]]]:
    """The rows of the table: the time, and the value of each line of each chart."""
    times, figures = report["times"], report["figures"]
    span_s = times[-1] - times[0]
    columns = [(plan.unit.words, figures[line.figure]) for plan in plans for line in plan.lines]
    for place, time in enumerate(times):
        yield clock(time, span_s), [words(values[place]) for words, values in columns]
