"""docs/monitoring: the table of metrics, the alert rules, the dashboard, against a manager's page and with promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gearman_manager.metrics.reference import table, with_table

from ..scraped import OPENMETRICS
from .conftest import RunningManager, eventually
from .scraping import scrape

FOLDER = Path(__file__).parents[2] / "docs"
PAGE = FOLDER / "monitoring.md"
JOB_SERVER_PAGE = FOLDER / "job-server.md"
ALERTS = FOLDER / "monitoring" / "alerts.yml"
DASHBOARD = FOLDER / "monitoring" / "grafana.json"
NAME = re.compile(r"\b(?:gearman|process)_\w+")
#: Grafana puts them in.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$pool": ".*", "$function": ".*"}
MINUTES = 70

POOL = 'instance="a", pool="mail"'
FUNCTION = 'instance="a", function="mail"'
SERVER = 'instance="a", server="b:4730"'
_SINCE = "gearman_function_paused_since_seconds"
#: By alert, the series that fire it: for each its values in the form of promtool, one a minute.
SERIES: dict[str, dict[str, str]] = {
    "GearmanPoolFailing": {f"gearman_manager_pool_failing{{{POOL}}}": "1x70"},
    "GearmanWorkersCrash": {f'gearman_manager_pool_worker_ends_total{{{POOL}, reason="crashed"}}': "0+1x70"},
    "GearmanPoolLimited": {
        f"gearman_manager_pool_workers_wanted{{{POOL}}}": "9x70",
        f"gearman_manager_pool_workers_target{{{POOL}}}": "4x70",
    },
    "GearmanBudgetUsedUp": {
        'gearman_manager_budget_used{instance="a", budget="smtp"}': "50x70",
        'gearman_manager_budget_units{instance="a", budget="smtp"}': "50x70",
    },
    "GearmanJobsWait": {f'gearman_oldest_queued_job_age_seconds{{{FUNCTION}, priority="low"}}': "0+60x70"},
    "GearmanNoWorkers": {
        f"gearman_manager_function_jobs_startable{{{FUNCTION}}}": "1x70",
        f"gearman_manager_function_workers{{{FUNCTION}}}": "0x70",
    },
    "GearmanJobsFail": {f'gearman_jobs_failed_total{{{FUNCTION}, priority="normal"}}': "0+10x70"},
    "GearmanDeadLetters": {f"gearman_dead_letters{{{SERVER}}}": "0+1x70"},
    "GearmanChainBroken": {f"gearman_chains_broken_total{{{SERVER}}}": "0+1x70"},
    "GearmanFunctionHeld": {f"gearman_function_held_seconds{{{FUNCTION}}}": "30x70"},
    "GearmanFunctionPaused": {f"{_SINCE}{{{FUNCTION}}}": "1x70"},
    "GearmanManagerDown": {'up{instance="a", job="gearman"}': "0x70"},
    "GearmanJobServerDown": {f"gearman_manager_job_server_up{{{SERVER}}}": "0x70"},
    "GearmanJobServerInTrouble": {f"gearman_manager_job_server_in_trouble{{{SERVER}}}": "1x70"},
    "GearmanJobServerRestarts": {f"gearman_manager_job_server_restarts_total{{{SERVER}}}": "0+1x70"},
    "GearmanJobServerNotScraped": {f"gearman_manager_job_server_scraped{{{SERVER}}}": "0x70"},
    "GearmanStoreDown": {f"gearman_store_up{{{SERVER}}}": "0x70"},
    "GearmanCodeBroken": {'gearman_manager_code_errors{instance="a"}': "1x70"},
    "GearmanLogLinesLost": {'gearman_manager_log_lines_lost_total{instance="a", reason="unwritten"}': "0+1x70"},
}
#: The same series while all is well; where it is missing, the series is not there then.
QUIET = {
    f"gearman_manager_pool_failing{{{POOL}}}": "0x70",
    f'gearman_manager_pool_worker_ends_total{{{POOL}, reason="crashed"}}': "3x70",
    f'gearman_manager_pool_worker_ends_total{{{POOL}, reason="renewed"}}': "0+9x70",
    f"gearman_manager_pool_workers_wanted{{{POOL}}}": "4x70",
    f"gearman_manager_pool_workers_target{{{POOL}}}": "4x70",
    'gearman_manager_budget_used{instance="a", budget="smtp"}': "49x70",
    'gearman_manager_budget_units{instance="a", budget="smtp"}': "50x70",
    f'gearman_oldest_queued_job_age_seconds{{{FUNCTION}, priority="low"}}': "299x70",
    f"gearman_manager_function_jobs_startable{{{FUNCTION}}}": "1x70",
    f"gearman_manager_function_workers{{{FUNCTION}}}": "1x70",
    f'gearman_jobs_failed_total{{{FUNCTION}, priority="normal"}}': "0+1x70",
    f"gearman_dead_letters{{{SERVER}}}": "7x70",
    f"gearman_chains_broken_total{{{SERVER}}}": "2x70",
    f"gearman_function_held_seconds{{{FUNCTION}}}": "0x70",
    'up{instance="a", job="gearman"}': "1x70",
    f"gearman_manager_job_server_up{{{SERVER}}}": "1x70",
    f"gearman_manager_job_server_in_trouble{{{SERVER}}}": "0x70",
    f"gearman_manager_job_server_restarts_total{{{SERVER}}}": "1x70",
    f"gearman_manager_job_server_scraped{{{SERVER}}}": "1x70",
    f"gearman_store_up{{{SERVER}}}": "1x70",
    'gearman_manager_code_errors{instance="a"}': "0x70",
    'gearman_manager_log_lines_lost_total{instance="a", reason="unwritten"}': "3x70",
}


def promtool(*arguments: str | Path) -> str:
    """Run promtool, which must be content; returns what it says."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here: on Debian and Ubuntu it comes with the package prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def queries() -> list[str]:
    """The dashboard's queries, with values for its variables."""
    board = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for name, text in VARIABLES.items():
        found = [query.replace(name, text) for query in found]
    return found


def variable_queries() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    return [each["definition"] for each in board["templating"]["list"] if each["type"] == "query"]


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    page = PAGE.read_text()
    assert table() in page
    assert with_table(page) == page


def test_every_alert_is_explained_and_every_explained_alert_is_there() -> None:
    explained = re.findall(r"^\| `(Gearman\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert explained == [rule["alert"] for rule in rules()]


def case(series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """A test of promtool: whether all alerts fire at the end, each once; or none."""
    one = [{"labels": "{}", "value": 1}]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": one if fires else [],
            }
            for rule in rules()
        ],
    }


def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    assert list(SERIES) == [rule["alert"] for rule in rules()]
    cause = {name: values for series in SERIES.values() for name, values in series.items()}
    assert len(cause) == sum(map(len, SERIES.values()))  # no alert fires by the series of another
    file = tmp_path / "cases.yml"
    cases = [case(QUIET | cause, fires=True), case(QUIET, fires=False)]
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_the_dashboards_queries_are_valid(tmp_path: Path) -> None:
    found = queries()
    assert len(found) > 20
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(found)} rules found" in promtool("check", "rules", file)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_docs_name_the_metrics_that_a_manager_has_and_no_others(napping: RunningManager) -> None:
    napping.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0, metrics_listen: 127.0.0.1:0}\n"
        "limits: {budgets: {smtp: 5}}\npools: {nap: {functions: [nap], min: 1, max: 1, uses: {smtp: 1}}}\n"
    )
    napping.launch()
    eventually(napping.settled, "all workers registered")
    families = scrape(napping, OPENMETRICS)
    known = set(families)
    for name, family in families.items():
        known |= {name + suffix for suffix in _SUFFIXES[family.type]}
    asked = [*(rule["expr"] for rule in rules()), *queries(), *variable_queries()]
    named = {name for query in asked for name in NAME.findall(query)}
    assert len(named) > 30
    assert named - known == set()
    tables = PAGE.read_text() + JOB_SERVER_PAGE.read_text()
    # One row has several counters: `gearman_jobs_submitted_total`, `_coalesced_` ...
    shortened = (re.sub(r"^gearman_jobs(_\w+)", r"`\1_`", name) for name in families)
    pairs = zip(families, shortened, strict=True)
    ours = [(name, short) for name, short in pairs if name.startswith("gearman_")]
    assert [name for name, short in ours if name not in tables and short not in tables] == []


_SUFFIXES: dict[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": (),
}
