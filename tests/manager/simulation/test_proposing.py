"""Windows are proposed where a higher `min` keeps the goal, with the smallest one, and told in words, YAML and JSON."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_manager.command.command_line import main
from gearman_manager.config import ResolvedScale, ResolvedWindow
from gearman_manager.scaling.steps import Field
from gearman_manager.scaling.windows import bounds_between, next_start, opening
from gearman_manager.simulation.patterns import Goal, span
from gearman_manager.simulation.proposal_words import Setting, as_json, sentences, yaml_of
from gearman_manager.simulation.proposed_windows import Window, cron_days, part_of, raised
from gearman_manager.simulation.proposing import Load, Report, propose
from gearman_manager.simulation.replay import ReplaySettings, replay
from gearman_manager.simulation.scaling_policies import Bounded
from gearman_manager.simulation.trace import Jobs

from .command_line import command

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 9, tzinfo=BERLIN)  # the clocks change on the 29th
SCALE = ResolvedScale(2.0, None, None, cooldown_s=30.0, idle_s=None)
SETTINGS = ReplaySettings(SCALE, spawn_delay_s=10.0)
GOAL = Goal(2.0)


def peaks(weekdays: Iterable[int] = (), *, weeks: int = 3, jobs: int = 20, start: str = "07:50", seed: int = 1) -> Load:
    """Little work at all times, and every three minutes for half an hour a crowd of jobs of half a second."""
    numbers = random.Random(seed)
    end = MONDAY + timedelta(weeks=weeks)
    at_s, moment = [], MONDAY.timestamp()
    while (moment := moment + numbers.expovariate(1 / 300)) < end.timestamp():
        at_s.append(moment)
    hour, minute = map(int, start.split(":"))
    for day in (MONDAY + timedelta(days=number) for number in range(7 * weeks)):
        if day.weekday() in set(weekdays):
            first_s = day.replace(hour=hour, minute=minute).timestamp()
            at_s += [first_s + 180 * crowd + numbers.random() for crowd in range(10) for _ in range(jobs)]
    at_s.sort()
    service_s = array("d", (numbers.expovariate(2) for _ in at_s))
    return Load(Jobs(array("d", at_s), service_s), MONDAY.timestamp(), end.timestamp())


def proposed(load: Load, maximum: int = 30, goal: Goal = GOAL) -> Report:
    return propose(load, [(load.start_s, Field(1, maximum))], SETTINGS, goal, BERLIN)


def setting(load: Load, maximum: int = 30, *, has_windows: bool = False) -> Setting:
    jobs = len(load.jobs.at_s)
    return Setting(["a.csv"], "min: 1", maximum, GOAL, BERLIN, jobs, sum(load.jobs.service_s), has_windows=has_windows)


def late_share(load: Load, window: Window) -> float:
    """The share of the jobs within a window's times that wait too long when the window is there."""
    times = list(window.times(span(load.start_s, load.end_s, BERLIN), BERLIN))
    bounds = raised([(load.start_s, Field(1, 30))], [(*time, window.minimum) for time in times])
    exact = replace(SETTINGS, calm_s=0.0)
    waits_s = replay(load.jobs.at_s, load.jobs.service_s, bounds, exact).waits_s
    within = [
        wait_s
        for at_s, wait_s in zip(load.jobs.at_s, waits_s, strict=True)
        if any(start_s <= at_s < end_s for start_s, end_s in times)
    ]
    return sum(wait_s > GOAL.wait_s for wait_s in within) / len(within)


# --- the search


def test_a_planted_peak_gets_a_window_with_the_smallest_min_that_keeps_the_goal() -> None:
    load = peaks([0])
    report = proposed(load)
    (one,) = report.proposals
    assert (one.window.cron, one.window.minutes) == ("45 7 * * mon", 35)
    assert (one.pattern.late_days, one.pattern.days) == (3, 3)
    assert one.before.p95_s > GOAL.wait_s >= one.after.p95_s == one.after.goal_s
    assert late_share(load, one.window) <= 0.05
    assert late_share(load, replace(one.window, minimum=one.window.minimum - 1)) > 0.05
    # So many workers more, but for those that the scaler alone would have started, for three times 35 minutes.
    assert 0 < one.worker_s <= (one.window.minimum - 1) * 3 * 36 * 60
    assert report.more_worker_s == pytest.approx(one.worker_s, rel=0.05)
    assert (report.hopeless, report.left_out, report.rare_weekdays) == ([], 0, frozenset())


def test_days_with_the_same_peak_share_a_window() -> None:
    assert [one.window.cron for one in proposed(peaks(range(5), weeks=2)).proposals] == ["45 7 * * mon-fri"]
    assert [one.window.cron for one in proposed(peaks([1, 3])).proposals] == ["45 7 * * tue,thu"]


def test_a_window_for_a_peak_at_midnight_begins_the_day_before() -> None:
    (one,) = proposed(peaks([2], start="00:00")).proposals
    assert (one.window.cron, one.window.minutes) == ("55 23 * * tue", 35)
    assert one.after.p95_s <= GOAL.wait_s


def test_another_goal_needs_more_workers() -> None:
    load = peaks([0])
    (usual,) = proposed(load).proposals
    (strict,) = proposed(load, goal=Goal(1.0, 0.99)).proposals
    assert strict.window.minimum > usual.window.minimum
    assert strict.after.p99_s <= 1.0


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(0, 6), st.integers(0, 23), st.integers(12, 40))
def test_what_is_proposed_keeps_the_goal_when_it_is_simulated(seed: int, weekday: int, hour: int, jobs: int) -> None:
    load = peaks([weekday], weeks=2, jobs=jobs, start=f"{hour:02}:00", seed=seed)
    (one,) = proposed(load).proposals
    assert late_share(load, one.window) <= 0.05


# --- nothing to propose


@pytest.mark.parametrize("seed", range(3))
def test_white_noise_gets_no_window(seed: int) -> None:
    """Crowds of jobs at any time, each of which waits for workers to start."""
    numbers = random.Random(seed)
    start_s, end_s = MONDAY.timestamp(), MONDAY.timestamp() + 14 * 86_400
    crowds = [start_s + numbers.random() * (end_s - start_s) for _ in range(150)]
    at_s = array("d", sorted(crowd + numbers.random() for crowd in crowds for _ in range(20)))
    load = Load(Jobs(at_s, array("d", [0.5] * len(at_s))), start_s, end_s)
    report = proposed(load)
    assert report.late_bins > 100
    assert report.proposals == []
    # With crowds and nothing else, jobs are late whenever there are some.
    assert report.is_always_late
    (told,) = sentences(report, setting(load))
    assert "it is no matter of the calendar" in told


def test_rare_lateness_at_no_time_of_the_week_is_told() -> None:
    load = peaks([0], weeks=1)
    report = proposed(load)
    assert report.proposals == []
    nothing, rare = sentences(report, setting(load))
    assert nothing.startswith("Nothing to propose: jobs waited too long in ")
    assert "on 1 day, but at no time of the week again and again" in nothing
    assert rare.startswith("No weekday is there twice in full: what comes back weekly can't be seen")


def test_a_goal_that_the_scaler_keeps_alone_is_told() -> None:
    load = peaks([])
    assert sentences(proposed(load), setting(load)) == [
        "Nothing to propose: the scaler alone keeps the goal, p95 of waiting is 0.00 s."
    ]


def test_a_time_that_no_min_within_max_helps_is_told_with_what_would() -> None:
    load = peaks([0], jobs=60)
    report = proposed(load, maximum=5)
    assert report.proposals == []
    (one,) = report.hopeless
    assert one.needed is not None
    assert one.needed > 5
    (told,) = sentences(report, setting(load, 5))
    assert told.startswith("Mondays 07:50-08:20: p95 of waiting was ")
    assert (
        f"no min up to max, 5, keeps the goal; with min {one.needed} and as high a max it would have been kept." in told
    )


def test_too_few_days_and_thin_evidence_are_told() -> None:
    load = peaks([0], weeks=2)
    short = Load(load.jobs, load.start_s, load.end_s - 5 * 86_400)
    at_s = array("d", [moment for moment in load.jobs.at_s if moment < short.end_s])
    short = replace(short, jobs=Jobs(at_s, load.jobs.service_s[: len(at_s)]))
    proposal, rare = sentences(proposed(short), setting(short))
    assert "It was late on 2 of 2 days;" in proposal
    assert proposal.endswith("Only 2 days speak for it: look again with more.")
    assert rare.startswith("There are fewer than two full Wednesdays to Sundays:")


# --- bounds and words


def test_bounds_are_raised_within_the_windows() -> None:
    bounds = [(0.0, Field(1, 10)), (100.0, Field(2, 4))]
    times = [(-50.0, -10.0, 9), (-5.0, 20.0, 3), (10.0, 30.0, 5), (90.0, 110.0, 6)]
    found = [(moment, one.minimum, one.maximum) for moment, one in raised(bounds, times)]
    assert found == [
        (0.0, 3, 10), (10.0, 5, 10), (30.0, 1, 10), (90.0, 6, 10), (100.0, 4, 4), (110.0, 2, 4),
    ]  # fmt: skip
    lifted = raised(bounds, times, lifts_max=True)
    assert [(moment, one.minimum, one.maximum) for moment, one in lifted][4] == (100.0, 6, 6)
    part = [(moment, one.minimum) for moment, one in part_of(raised(bounds, times), 15.0, 95.0)]
    assert part == [(15.0, 5), (30.0, 1), (90.0, 6)]


@pytest.mark.parametrize(
    ("weekdays", "text"),
    [
        ([0], "mon"),
        ([5, 6], "sat,sun"),
        ([0, 2, 4], "mon,wed,fri"),
        ([0, 1, 2, 3, 4], "mon-fri"),
        ([4, 5, 6], "fri,sat,sun"),
        (range(7), "*"),
    ],
)
def test_weekdays_are_written_as_cron_has_them(weekdays: Iterable[int], text: str) -> None:
    assert cron_days(frozenset(weekdays)) == text


def test_windows_keep_their_time_when_the_clocks_change() -> None:
    window = Window(frozenset((0,)), 450, 60, 5)
    covered = span(MONDAY.timestamp(), MONDAY.timestamp() + 27 * 86_400, BERLIN)
    starts = [datetime.fromtimestamp(start_s, BERLIN) for start_s, _ in window.times(covered, BERLIN)]
    assert [f"{start:%a %H:%M %Z}" for start in starts] == ["Mon 07:30 CET"] * 3 + ["Mon 07:30 CEST"]


@given(
    st.sets(st.integers(0, 6), min_size=1), st.integers(3 * 60, 24 * 60 - 1), st.sampled_from(["Europe/Berlin", "UTC"])
)
@settings(max_examples=25, deadline=None)
def test_windows_are_open_when_the_scaler_opens_them(weekdays: set[int], start_minute: int, name: str) -> None:
    zone = ZoneInfo(name)
    window = Window(frozenset(weekdays), start_minute, 60, 5)
    start_s, end_s = MONDAY.timestamp(), MONDAY.timestamp() + 27 * 86_400
    times = [time for time in window.times(span(start_s, end_s, zone), zone) if start_s < time[0] < end_s]
    assert times
    moment = start_s
    configured = ResolvedWindow(window.cron, name, 3600.0, 5, None)
    for time in times:
        moment = next_start(configured, moment)
        opened = opening(configured, moment)
        assert opened is not None
        assert time == (moment, opened.until)
    assert next_start(configured, moment) >= end_s


def test_the_proposal_is_told_in_words_yaml_and_json() -> None:
    load = peaks([0])
    report = proposed(load)
    (one,) = report.proposals
    (told,) = sentences(report, setting(load))
    assert told == (
        f"Mondays 07:45-08:20: min {one.window.minimum} would have kept p95 of waiting at {one.after.p95_s:.2f} s, "
        f"which was {one.before.p95_s:.2f} s. It was late on 3 of 3 days; "
        f"the price is {one.worker_s / 3600:+.1f} worker-hours in 21 days."
    )
    window = {"cron": "45 7 * * mon", "for": "35m", "min": one.window.minimum, "time_zone": "Europe/Berlin"}
    assert yaml.safe_load(yaml_of(report, setting(load))) == {"windows": [window]}
    assert "added to those that it has" in yaml_of(report, setting(load, has_windows=True))
    found = json.loads(as_json(report, setting(load)))
    assert found["windows"][0].items() >= window.items()
    assert found["windows"][0]["more_worker_hours"] == pytest.approx(one.worker_s / 3600, abs=0.001)
    assert found["after"]["p95_s"] <= found["before"]["p95_s"]
    assert (found["first_day"], found["last_day"]) == ("2026-03-09", "2026-03-29")


# --- the command


def test_the_command_proposes_windows_for_a_pool(tmp_path: Path) -> None:
    load = peaks([0])
    rows = [
        f"{at_s:.3f},{service_s:.3f}\n" for at_s, service_s in zip(load.jobs.at_s, load.jobs.service_s, strict=True)
    ]
    (tmp_path / "1.csv").write_text("".join(rows[:1000]))
    (tmp_path / "2.csv").write_text("".join(rows[1000:]))
    (tmp_path / "workers").mkdir()
    pool = {"functions": ["mail"], "max": 30}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.dump({"servers": ["127.0.0.1:1"], "pools": {"mail": pool}}))
    arguments = ("--propose", "--trace", "1.csv", "--trace", "2.csv", "-c", "config.yaml", "--spawn-delay", "10s")
    result = command("simulate", *arguments, "--time-zone", "Europe/Berlin", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"1.csv, 2.csv: {len(rows):,} jobs from 2026-03-09 to 2026-03-29 (Europe/Berlin)" in result.stdout
    assert "min: 1, max: 30, target_wait: 2s, cooldown: 30s; a worker starts within 10s" in result.stdout
    assert "goal: p95 of waiting is 2s or less" in result.stdout
    assert "Mondays 07:45-08:20: min " in result.stdout
    pasted = yaml.safe_load(result.stdout[result.stdout.index("windows:") :])
    assert [window["cron"] for window in pasted["windows"]] == ["45 7 * * mon"]
    file.write_text(yaml.dump({"servers": ["127.0.0.1:1"], "pools": {"mail": {**pool, **pasted}}}))
    with_window = command("simulate", *arguments, "--time-zone", "Europe/Berlin", "--json", folder=tmp_path)
    assert with_window.returncode == 0, with_window.stderr
    assert "the scaler alone keeps the goal" in json.loads(with_window.stdout)["sentences"][0]


def test_the_windows_that_a_pool_has_count() -> None:
    load = peaks([0])
    (missing,) = proposed(load).proposals
    cron, hour = missing.window.cron, 3600.0
    weak, enough = (
        ResolvedWindow(cron, "Europe/Berlin", hour, minimum, None) for minimum in (2, missing.window.minimum)
    )

    def with_windows(*windows: ResolvedWindow) -> Report:
        bounds = bounds_between(Bounded(1, 30, windows), load.start_s, load.end_s)
        fields = [(moment, Field(one.minimum, one.maximum)) for moment, one in bounds]
        return propose(load, fields, SETTINGS, GOAL, BERLIN)

    assert with_windows(enough).proposals == []
    (more,) = with_windows(weak).proposals
    assert more.window.minimum == missing.window.minimum
    assert more.worker_s < missing.worker_s
    # Where a window's max is lower than the proposed min, that max holds, so the min would be of no use.
    report = with_windows(ResolvedWindow(cron, "Europe/Berlin", hour, None, 3))
    assert report.proposals == []
    assert len(report.hopeless) == 1


def test_a_trace_of_another_clock_begins_when_the_option_says(tmp_path: Path) -> None:
    load = peaks([0])
    jobs = zip(load.jobs.at_s, load.jobs.service_s, strict=True)
    file = tmp_path / "trace.csv"
    file.write_text("".join(f"{at_s - load.jobs.at_s[0]:.3f},{service_s:.3f}\n" for at_s, service_s in jobs))
    start = datetime.fromtimestamp(load.jobs.at_s[0], BERLIN).replace(tzinfo=None).isoformat()
    arguments = ["--trace", str(file), "--propose", "--start", start, "--time-zone", "Europe/Berlin", "--max", "30"]
    result = CliRunner().invoke(main, ["simulate", *arguments, "--spawn-delay", "10s"])
    assert '{cron: "45 7 * * mon", for: 35m, min: ' in result.output


@pytest.mark.parametrize(
    ("trace", "arguments", "code", "message"),
    [
        (
            "0,1\n",
            ("--propose",),
            1,
            "the day of the week is unknown: write arrival_s in Unix seconds (`date +%s`)",
        ),
        ("1e300,1\n", ("--propose",), 1, "1e+300 is after the year 9999"),
        ("1700000000,1\n1800000000,1\n", ("--propose",), 1, "more than 400"),
        ("1700000000,x\n", ("--propose",), 1, "trace.csv:1: service_s"),
        ("{", ("--propose",), 1, "trace.csv:1:2: it is no JSON"),
        ("1700000000,1\n", ("--propose", "--goal", "soon"), 2, "a duration such as"),
        ("1700000000,1\n", ("--propose", "--goal", "p99="), 2, "p99=500ms"),
        ("1700000000,1\n", ("--propose", "--time-zone", "Mars"), 2, "there is no time zone 'Mars'"),
        ("1700000000,1\n", ("--propose", "--plot", "x.png"), 1, "--plot can't be used with --propose"),
        ("1700000000,1\n", ("--goal", "2s"), 1, "--goal and --json are for --propose"),
        ("1700000000,1\n", ("--trace", "trace.csv"), 1, "several files are for --propose"),
        (
            "1,1\n",
            ("--propose", "--trace", "trace.csv", "--start", "2026-03-30"),
            1,
            "--start says when one trace begins",
        ),
    ],
)
def test_a_mistake_gives_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "trace.csv").write_text(trace)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["simulate", "--trace", "trace.csv", *arguments])
    assert result.exit_code == code, result.output
    assert message in result.output
    assert isinstance(result.exception, SystemExit)


def test_one_job_is_enough_to_be_told_that_there_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("1700000000,1\n")
    result = CliRunner().invoke(main, ["simulate", "--trace", str(file), "--propose"])
    assert "Nothing to propose: the scaler alone keeps the goal" in result.output
