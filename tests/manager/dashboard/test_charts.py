"""Charts: their lines, scales and times, the table of their figures, and what stands there instead of nothing."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask

from gearman_manager.access.caller import CALLER, Caller, Kind, Role
from gearman_manager.access.guards import guard
from gearman_manager.control.app import make_app
from gearman_manager.dashboard import chart_plans, charts
from gearman_manager.dashboard.chart_parts import held_words
from gearman_manager.dashboard.site import Sources, dashboard_routes
from gearman_manager.dashboard.words import UNKNOWN
from gearman_manager.history.history_file import HistoryError
from gearman_manager.privacy import Privacy
from gearman_manager.series.columns import FUNCTION_COLUMNS, POOL_COLUMNS
from gearman_manager.series.ranges import RANGES

NOW = 1_700_000_040.0


def report(wished: str = "1h", counted: bool | None = True, **figures: list[float | None]) -> dict[str, Any]:
    """A report in which only these figures are known, and end with these values."""
    times = [*RANGES[wished].times(NOW)]
    known = {name: [*[None] * (len(times) - len(values)), *values] for name, values in figures.items()}
    columns: dict[str, Any] = dict.fromkeys((*POOL_COLUMNS, *FUNCTION_COLUMNS), [None] * len(times)) | known
    return {"times": times, "step_s": RANGES[wished].step_s, "figures": columns, "marks": [], "counted": counted}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([0, 5, 10], "M0 100L500 50L1000 0"),
        ([None, 5, 10], "M500 50L1000 0"),
        ([10, None, 10], "M0 0h0M1000 0h0"),
        ([None, None, None], ""),
        ([2.5], "M0 75h0"),
    ],
)
def test_a_line_has_gaps_where_nothing_is_known(values: list[float | None], path: str) -> None:
    assert charts.path(values, 10) == path


def test_scales_end_at_round_values() -> None:
    assert [charts.COUNT.top(most) for most in (0, 1, 1.5, 3, 7, 9, 11, 380)] == [1, 1, 2, 4, 8, 10, 20, 400]
    assert [charts.SECONDS.top(most) for most in (0, 0.3, 45, 1e6)] == [0.001, 0.5, 60, 1e6]
    assert charts.BYTES.top(13e6) == 20e6


def test_values_in_words() -> None:
    assert [*map(charts.number, (None, 0, 0.33, 12, 12.4, 1250.4))] == [UNKNOWN, "0", "0.33", "12", "12", "1,250"]
    assert [*map(charts.number, (9.94, 9.96, 99.7))] == ["9.9", "10", "100"]
    assert [*map(charts.time_span, (0.9994, 0.9996))] == ["999 ms", "1 s"]
    words = [UNKNOWN, "0 s", "2.5 ms", "250 ms", "2.5 s", "12 s", "5 min"]
    assert [*map(charts.time_span, (None, 0, 0.0025, 0.25, 2.5, 12, 300))] == words


def test_marks_stand_where_they_happened_and_crashes_apart() -> None:
    told = report()
    begin, end = told["times"][0], told["times"][-1]
    for at, kind in ((begin, "start"), ((begin + end) / 2, "crash"), (end + 30, "action"), (end + 40, "action")):
        told["marks"].append({"at": at, "kind": kind, "subject": "", "text": ""})
    assert charts.marks_path(told, frozenset({"crash"}), are_these=True) == "M500 0v100"
    assert charts.marks_path(told, frozenset({"crash"}), are_these=False) == "M0 0v100M1000 0v100"


def test_labels_are_spread_over_the_range() -> None:
    labels = charts.labels(report())
    assert [re.sub("<.*?>", "", label) for label in labels] == ["21:15", "21:44", "22:14"]
    assert "data-day" in charts.labels(report("7d"))[0]


def test_the_limits_that_held_a_pool() -> None:
    told = {"figures": {"held": [None, 1, 0.5, 0, 0.5]}, "limits": [None, "max", "budget", None, "max"]}
    assert held_words(told) == [("max", 38), ("budget", 12)]


class Reader:
    """Somebody who looks at the charts of a manager whose reports are these."""

    def __init__(self, told: dict[str, Any] | HistoryError) -> None:
        app: Flask = make_app()
        guard(app)
        none = SimpleNamespace(cancel=None, stop=None, are_any=False)
        others = cast(Any, dict.fromkeys(Sources.__dataclass_fields__, none))

        def tell(*_of: Any) -> dict[str, Any]:
            if isinstance(told, HistoryError):
                raise told
            return told

        reports = SimpleNamespace(of_all=tell, of_pool=tell, of_function=tell)
        app.register_blueprint(
            dashboard_routes(Sources(**others | {"name": "m", "reports": reports, "privacy": Privacy()}))
        )
        self._client = app.test_client()

    def ask(self, path: str, **headers: str) -> Any:
        caller = Caller(Kind.USER, "alice", Role.VIEWER, "127.0.0.1", csrf="c", session="s")
        return self._client.get(path, environ_overrides={CALLER: caller}, headers=headers)

    def get(self, path: str = "/charts?range=1h") -> str:
        answer = self.ask(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return cast(str, answer.get_data(as_text=True))


def test_every_chart_of_a_pool_and_of_a_function_has_its_lines() -> None:
    figures = {name: [1.0, 2.0] for name in (*POOL_COLUMNS, *FUNCTION_COLUMNS)}
    reader = Reader(report(**cast(Any, figures)) | {"limits": ["max"] * 60})
    for path, plans in (("pools/a/b", chart_plans.POOL), ("functions/f", chart_plans.FUNCTION)):
        page = reader.get(f"/charts/{path}?range=1h")
        assert re.findall("<h3>(.*?)</h3>", page) == [plan.title for plan in plans]
        lines = re.findall(r'<path class="line look-\S+" d="M983[^"]+"', page)
        assert len(lines) == sum(len(plan.lines) for plan in plans)


def test_a_chart_tells_in_words_what_it_shows_and_each_value_on_hover() -> None:
    page = Reader(report(done=[3.0, 7.0, 5.0])).get()
    assert 'aria-label="Jobs per minute, 1 hour: done 5, highest 7"' in page
    assert re.search(f'data-told="({UNKNOWN}[|]){{57}}3[|]7[|]5"', page)


def test_the_table_has_a_row_for_each_time() -> None:
    reader = Reader(report(done=[3.0, 7.0], waited_p95_s=[0.25]))
    assert "<table" not in reader.get()
    page = reader.get("/charts?range=1h&table=1")
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", page, re.DOTALL)
    assert len(rows) == 60
    assert re.findall("<td>(.*?)</td>", rows[-1])[:1] == ["7"]
    assert "250 ms" in rows[-1]
    assert 'href="?range=24h&amp;table=1"' in page


@pytest.mark.parametrize(
    ("counted", "words"), [(None, "history.functions: true"), (False, "other ones count nothing"), (True, "once jobs")]
)
def test_a_chart_without_figures_tells_why(counted: bool | None, words: str) -> None:
    page = Reader(report(counted=counted, done=[1.0])).get()
    assert words in page
    assert "Nothing is known of this time yet" in page  # of the chart of workers
    assert page.count('<div class="plot">') == 1


def test_a_history_that_can_not_be_read_costs_the_charts_alone() -> None:
    page = Reader(HistoryError("/run/<history> is no database")).get()
    assert "The history can&#39;t be read" in page or "The history can't be read" in page
    assert "&lt;history&gt;" in page


def test_hostile_marks_are_texts() -> None:
    told = report(done=[1.0])
    told["marks"] = [{"at": NOW, "kind": "crash", "subject": "", "text": "<script>\u202e"}] * 30
    page = Reader(told).get()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "30 marks" in page
    assert "and 10 more" in page


def test_charts_that_have_not_changed_are_not_sent_again() -> None:
    reader = Reader(report(done=[1.0]))
    tag = reader.ask("/charts?range=1h").headers["ETag"]
    assert reader.ask("/charts?range=1h", **{"If-None-Match": tag}).status_code == 304


def test_a_range_that_there_is_not_is_refused_in_words() -> None:
    answer = Reader(report()).ask("/charts?range=1y")
    assert answer.status_code == 400
    assert "one of 15m, 1h, 24h, 7d is expected" in answer.get_data(as_text=True)
