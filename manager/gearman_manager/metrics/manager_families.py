"""The families of the manager as a whole: its code, its log, its budgets, and the job servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gearman_manager.metrics.exposition import AnyFamily, Family, LabelledFamily


@dataclass(slots=True)
class ManagerFigures:
    """The only row of its families."""

    version: str
    generation: int
    code_errors: int
    unwritten: int
    over_budget: int
    missed_ends: int
    labels: str = ""


@dataclass(slots=True)
class ServerFigures:
    """A row: one job server."""

    labels: str
    is_up: bool
    is_in_trouble: bool
    restarts: int | None  #: None: it is not ours
    is_scraped: bool | None  #: None: it has no metrics port


@dataclass(slots=True)
class BudgetFigures:
    """A row: one budget."""

    labels: str
    units: int
    used: int


MANAGER_FAMILIES: Final[tuple[AnyFamily[ManagerFigures], ...]] = (
    LabelledFamily(
        "gearman_manager_build_info", "gauge", "1, with the version.", "version", lambda row: [(row.version, 1)]
    ),
    Family("gearman_manager_code_generation", "gauge", "The number of the code that runs.", lambda row: row.generation),
    Family(
        "gearman_manager_code_errors",
        "gauge",
        "Problems of modules and configuration, as the status report lists them.",
        lambda row: row.code_errors,
    ),
    LabelledFamily(
        "gearman_manager_log_lines_lost",
        "counter",
        "Log lines that are lost: the log's destination did not take them, or a worker wrote more than log.max_output.",
        "reason",
        lambda row: [("unwritten", row.unwritten), ("max_output", row.over_budget)],
    ),
    Family(
        "gearman_manager_finished_jobs_missed",
        "counter",
        "Ends of jobs and attempts that are not kept, because they came faster than they are read.",
        lambda row: row.missed_ends,
    ),
)

SERVER_FAMILIES: Final[tuple[AnyFamily[ServerFigures], ...]] = (
    Family("gearman_manager_job_server_up", "gauge", "Whether the job server answers.", lambda row: int(row.is_up)),
    Family(
        "gearman_manager_job_server_in_trouble",
        "gauge",
        "Whether it says that it can't do all of its work: its store can't be written, for instance.",
        lambda row: int(row.is_in_trouble),
    ),
    Family(
        "gearman_manager_job_server_restarts",
        "counter",
        "How often the bundled job server was started again.",
        lambda row: row.restarts,
    ),
    Family(
        "gearman_manager_job_server_scraped",
        "gauge",
        "Whether the metrics of the bundled job server are on this page; only with server.metrics_listen.",
        lambda row: None if row.is_scraped is None else int(row.is_scraped),
    ),
)

BUDGET_FAMILIES: Final[tuple[AnyFamily[BudgetFigures], ...]] = (
    Family("gearman_manager_budget_units", "gauge", "The units of the budget.", lambda row: row.units),
    Family("gearman_manager_budget_used", "gauge", "The units that workers use.", lambda row: row.used),
)
