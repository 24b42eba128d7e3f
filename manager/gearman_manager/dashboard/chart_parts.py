"""The charts of a page as a part of their own: it is asked for seldom, and made once for all who look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from gearman_manager.dashboard import chart_plans, charts
from gearman_manager.dashboard.rendering import PART_HEADER, answer_of_part
from gearman_manager.dashboard.shared_parts import SharedParts
from gearman_manager.errors import ManagerError
from gearman_manager.history.history_file import HistoryError
from gearman_manager.series.ranges import DEFAULT, RANGES, Range
from gearman_manager.series.recorder import EVERY_S
from gearman_manager.series.reports import Reports

#: Marks below the charts.
MOST_MARKS: Final = 20
#: The share of one processor that the making of one page's charts may take: they change when the recorder has looked.
_SHARE: Final = 0.001
#: Kinds of marks that stand out.
_BAD: Final = frozenset({"crash"})
Report = dict[str, Any]


class ChartParts:
    """Makes the charts of pages."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._shared = SharedParts(_SHARE, EVERY_S)

    def on_page(self, kind: str, name: str = "") -> dict[str, Any]:
        """What a page's template needs: the charts, unless only the part of it that changes is asked for, and the
        address at which the script asks for them.

        Raises:
            ManagerError: the query asks for a range that there is not.
        """
        wished, with_table = wished_range(), "table" in request.args
        endpoint = f"dashboard.charts_{kind}"
        values: dict[str, Any] = {"range": wished.name} | ({"name": name} if name else {})
        if with_table:
            values["table"] = "1"
        is_part = PART_HEADER in request.headers
        return {
            "charts": "" if is_part else Markup(self.text(kind, name, wished, with_table=with_table)),
            "charts_address": url_for(endpoint, **values),
        }

    def text(self, kind: str, name: str, wished: Range, *, with_table: bool) -> str:
        """The charts of all pools (`all`), of a pool, or of a function, as HTML, with a table of the figures or a link.

        Raises:
            NotFound: there is no such pool or function.
        """
        key = (current_app, request.root_path, kind, name, wished.name, with_table)
        return self._shared.get(key, lambda: self._made(kind, name, wished, with_table=with_table)).text

    def _made(self, kind: str, name: str, wished: Range, *, with_table: bool) -> str:
        read: dict[str, Callable[[], Report]] = {
            "all": lambda: self._reports.of_all(wished),
            "pool": lambda: self._reports.of_pool(name, wished),
            "function": lambda: self._reports.of_function(name, wished),
        }
        values: dict[str, Any] = {"ranges": RANGES.values(), "wished": wished, "trouble": ""}
        try:
            report = with_sums(read[kind]())
        except HistoryError as error:
            return render_template("charts.html", **values | {"trouble": str(error)})
        plans = {"all": chart_plans.ALL, "pool": chart_plans.POOL, "function": chart_plans.FUNCTION}[kind]
        if kind == "pool":
            values["held"] = held_words(report)
        return render_template(
            "charts.html",
            **values,
            charts=charts.drawn(plans, report),
            counted=report.get("counted"),
            labels=charts.labels(report),
            marks=report["marks"][:MOST_MARKS],
            more_marks=len(report["marks"][MOST_MARKS:]),
            crashes=charts.marks_path(report, _BAD, are_these=True),
            others=charts.marks_path(report, _BAD, are_these=False),
            heads=[f"{plan.title}: {line.label}" for plan in plans for line in plan.lines],
            begin=report["times"][0],
            rows=list(charts.rows(plans, report)) if with_table else [],
        )


def add_charts(routes: Blueprint, parts: ChartParts) -> None:
    """The routes at which the script asks for charts."""

    def part(kind: str, name: str = "") -> ResponseReturnValue:
        return answer_of_part(parts.text(kind, name, wished_range(), with_table="table" in request.args), 200)

    @routes.get("/charts")
    def charts_all() -> ResponseReturnValue:
        return part("all")

    @routes.get("/charts/pools/<path:name>")
    def charts_pool(name: str) -> ResponseReturnValue:
        return part("pool", name)

    @routes.get("/charts/functions/<path:name>")
    def charts_function(name: str) -> ResponseReturnValue:
        return part("function", name)


def wished_range() -> Range:
    """The range that the query asks for.

    Raises:
        ManagerError: there is no such range.
    """
    given = request.args.get("range", DEFAULT)
    if given not in RANGES:
        raise ManagerError(f"range: one of {', '.join(RANGES)} is expected")
    return RANGES[given]


def with_sums(report: Report) -> Report:
    """The report with figures that are sums of others."""
    figures = dict(report["figures"])
    for name, parts in (("ready", ("idle", "busy")), ("other", chart_plans.OTHERS)):
        if all(part in figures for part in parts):
            each = zip(*(figures[part] for part in parts), strict=True)
            figures[name] = [None if None in values else round(sum(values), 2) for values in each]
    return report | {"figures": figures}


def held_words(report: Report) -> list[tuple[str, int]]:
    """The limits that held a pool, each with the share of the known times in per cent, the longest first."""
    shares: dict[str, float] = {}
    known = [share for share in report["figures"]["held"] if share is not None]
    for limit, share in zip(report["limits"], report["figures"]["held"], strict=True):
        if limit and share:
            shares[limit] = shares.get(limit, 0.0) + share
    told = [(limit, round(100 * share / len(known))) for limit, share in shares.items()]
    return sorted((each for each in told if each[1]), key=lambda each: -each[1])
