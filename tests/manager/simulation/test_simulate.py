"""The simulation: its traces, its virtual clock, its policies, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.config import ResolvedScale, ResolvedWindow
from gearman_manager.scaling.steps import Field
from gearman_manager.simulation.engine import SPAWN_DELAY_S, Decision, Outcome, SimulatedPool, simulate
from gearman_manager.simulation.scaling_policies import DatedWindows, FixedCount, OneStep, OurScaler
from gearman_manager.simulation.trace import Arrival, TraceError, read_trace

from .command_line import command

ROOT = Path(__file__).parents[3]
TRACES = ROOT / "benchmarks" / "traces"
WAIT_2S = ResolvedScale(2.0, None, None, cooldown_s=30.0, idle_s=None)


def ours(minimum: int = 1, maximum: int = 10, scale: ResolvedScale = WAIT_2S, *, concurrency: int = 1) -> OurScaler:
    return OurScaler(Field(minimum, maximum), scale, "ours", concurrency)


def write(folder: Path, text: str) -> Path:
    file = folder / "trace.csv"
    file.write_text(text)
    return file


# --- traces


def test_a_trace_is_put_in_order_and_starts_at_zero(tmp_path: Path) -> None:
    file = write(tmp_path, "arrival_s,service_s,function\n1700000005.5,2,mail\n\n1700000004,0.5,sms\n")
    assert read_trace(file) == [Arrival(0.0, 0.5), Arrival(1.5, 2.0)]
    assert read_trace(file, function="mail") == [Arrival(0.0, 2.0)]


def test_a_trace_needs_no_header(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, "3,1\n4, 2\n")) == [Arrival(0.0, 1.0), Arrival(1.0, 2.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1\nx,1\n", r"trace\.csv:2: arrival_s: a number of seconds from 0 is expected, not 'x'"),
        ("1,1\n-1,1\n", r"trace\.csv:2: arrival_s: .* not '-1'"),
        ("arrival_s,service_s\n1,nan\n", r"trace\.csv:2: service_s: .* not 'nan'"),
        ("1,\n", r"trace\.csv:1: service_s: .*--service-mean.* not ''"),
        ("1,1e9\n", r"trace\.csv:1: service_s"),
        ("1\n", r"trace\.csv:1: 1 columns"),
        ("1,2,mail,4\n", r"trace\.csv:1: 4 columns"),
        ("", r"no jobs"),
        ("x,1\n" * 30, r"30 bad rows:\n.*:1: (.*\n)*.*:20: .*\nand 10 more$"),
    ],
)
def test_bad_rows_are_named_by_their_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read_trace(write(tmp_path, text))


def test_a_trace_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(TraceError, match="not UTF-8"):
        read_trace(tmp_path / "binary")


def test_missing_service_times_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    file = write(tmp_path, "".join(f"{second},\n" for second in range(2000)))
    trace = read_trace(file, service_mean_s=0.5)
    assert trace == read_trace(file, service_mean_s=0.5)
    assert sum(job.service_s for job in trace) / len(trace) == pytest.approx(0.5, rel=0.1)


# --- the virtual clock


@dataclass
class Script:
    """A policy that wants another size at each of these moments."""

    sizes: dict[float, int]
    name: str = "script"

    def start(self) -> int:
        return self.sizes[0.0]

    def decide(self, now_s: float, _state: SimulatedPool) -> Decision:
        later = [moment for moment in self.sizes if moment > now_s]
        now = max(moment for moment in self.sizes if moment <= now_s)
        return Decision(self.sizes[now], min(later, default=None))


def test_one_worker_serves_in_order() -> None:
    outcome = simulate([Arrival(0.0, 2.0), Arrival(1.0, 2.0), Arrival(1.5, 1.0)], FixedCount(1, "one"))
    assert outcome.waits_s == [0.0, 1.0, 2.5]
    assert outcome.worker_seconds == pytest.approx(61.5)
    assert (outcome.changes, outcome.started, outcome.peak) == (0, 0, 1)
    assert outcome.wait_s(0.5) == 1.0
    assert outcome.wait_s(1.0) == 2.5


def test_a_new_worker_serves_after_its_start_time_and_costs_from_the_beginning() -> None:
    trace = [Arrival(0.0, 100.0), Arrival(0.0, 1.0)]
    outcome = simulate(trace, Script({0.0: 1, 10.0: 2}), spawn_delay_s=0.5)
    assert outcome.waits_s == [0.0, 10.5]
    assert outcome.worker_seconds == pytest.approx(2 * 100.0 - 10.0)
    assert (outcome.changes, outcome.started, outcome.peak) == (1, 1, 2)


def test_a_busy_worker_is_never_retired() -> None:
    outcome = simulate([Arrival(0.0, 20.0), Arrival(0.0, 30.0)], Script({0.0: 3, 5.0: 1}))
    assert outcome.waits_s == [0.0, 0.0]
    # The third left at 5, the second when its job was done at 20.
    assert outcome.worker_seconds == pytest.approx(5 + 20 + 60)


def test_a_starting_worker_that_is_no_longer_wanted_never_serves() -> None:
    trace = [Arrival(0.0, 10.0), Arrival(0.0, 1.0)]
    outcome = simulate(trace, Script({0.0: 1, 1.0: 2, 1.5: 1}), spawn_delay_s=1.0)
    assert outcome.waits_s == [0.0, 10.0]
    assert outcome.worker_seconds == pytest.approx(60.5)


def test_a_worker_of_several_places_serves_as_many_jobs_at_once_and_leaves_when_they_are_done() -> None:
    trace = [Arrival(0.0, 20.0), Arrival(0.0, 10.0), Arrival(0.0, 10.0), Arrival(0.0, 10.0), Arrival(0.0, 1.0)]
    outcome = simulate(trace, Script({0.0: 2, 5.0: 1}), concurrency=2)
    assert outcome.waits_s == [0.0, 0.0, 0.0, 0.0, 1.0]  # the longest took the place of the shortest
    assert (outcome.peak, outcome.started, outcome.changes) == (2, 0, 1)
    # Two of the four places went with their jobs at 10.
    assert outcome.worker_seconds == pytest.approx(2 * 10 + 50)


TRACE = st.lists(st.builds(Arrival, st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=60).map(sorted)


@given(TRACE, st.integers(0, 3), st.integers(0, 8), st.sampled_from([0.0, SPAWN_DELAY_S, 2.0]), st.sampled_from([1, 3]))
def test_every_job_is_served_within_the_bounds_and_a_second_run_gives_the_same(
    trace: list[Arrival], minimum: int, more: int, spawn_delay_s: float, concurrency: int
) -> None:
    maximum = max(1, minimum + more)
    scale = ResolvedScale(2.0, None, None, cooldown_s=5.0, idle_s=10.0 if minimum == 0 else None)

    def run() -> Outcome:
        policy = ours(minimum, maximum, scale, concurrency=concurrency)
        return simulate(trace, policy, spawn_delay_s, concurrency=concurrency)

    outcome = run()
    assert outcome == run()
    assert len(outcome.waits_s) == len(trace)
    assert minimum <= outcome.peak <= maximum
    assert all(first.at_s <= second.at_s for first, second in pairwise(outcome.samples))
    assert outcome.samples[-1].workers == minimum
    assert outcome.worker_seconds * concurrency >= sum(job.service_s for job in trace) - 1e-6


# --- policies


def test_one_step_adds_a_worker_every_three_seconds() -> None:
    outcome = simulate([Arrival(0.0, 10.0) for _ in range(6)], OneStep(1, 3))
    assert outcome.waits_s == [0.0, 3.05, 6.05, 10.0, 13.05, 16.05]
    assert outcome.changes == 4


def test_our_policy_keeps_the_target_wait_with_fewer_worker_seconds_than_its_peak_size_held_all_the_time() -> None:
    for name in ("steady", "burst", "daily_wave", "spiky"):
        trace = read_trace(TRACES / f"{name}.csv")
        outcome = simulate(trace, ours(1, 40))
        fixed = simulate(trace, FixedCount(outcome.peak, "as many as ours at most"))
        assert outcome.wait_s(0.95) < 2.0, name
        assert outcome.worker_seconds < 0.85 * fixed.worker_seconds, name


@pytest.mark.parametrize("target_wait_s", [0.5, 2.0, 10.0])
def test_a_longer_target_wait_is_used_and_kept(target_wait_s: float) -> None:
    trace = read_trace(TRACES / "daily_wave.csv")
    outcome = simulate(trace, ours(1, 40, ResolvedScale(target_wait_s, None, None, 30.0, None)))
    assert outcome.wait_s(1.0) < target_wait_s
    shorter = simulate(trace, ours(1, 40, ResolvedScale(target_wait_s / 4, None, None, 30.0, None)))
    assert outcome.worker_seconds < shorter.worker_seconds


def test_a_steady_load_makes_no_pool_flap() -> None:
    """Ten minutes of four jobs a second at random intervals; after the first at most one worker comes or goes."""
    outcome = simulate(read_trace(TRACES / "steady.csv"), ours())
    sizes = [sample.workers for sample in outcome.samples if 60 <= sample.at_s <= 600]
    assert max(sizes) - min(sizes) <= 1
    assert outcome.changes <= 6


def test_under_regular_arrivals_no_worker_comes_or_goes() -> None:
    trace = [Arrival(second / 4, 0.5) for second in range(4 * 600)]
    outcome = simulate(trace, ours(minimum=2))
    assert outcome.changes == 0
    assert outcome.wait_s(1.0) < 2.0


def test_a_burst_gets_the_whole_pool_within_a_second() -> None:
    outcome = simulate(read_trace(TRACES / "burst.csv"), ours())
    sizes = {round(sample.at_s, 3): sample.workers for sample in outcome.samples}
    first_burst = min(sample.at_s for sample in outcome.samples if sample.queued > 5)
    assert any(first_burst <= moment <= first_burst + 1 and count == 10 for moment, count in sizes.items())


def test_the_sample_traces_are_the_output_of_their_script(tmp_path: Path) -> None:
    script = (TRACES / "generate.py").read_text()
    copy = tmp_path / "generate.py"
    copy.write_text(script)
    subprocess.run([sys.executable, copy], check=True, timeout=60)
    made = {file.name: file.read_bytes() for file in tmp_path.glob("*.csv")}
    assert made == {file.name: file.read_bytes() for file in TRACES.glob("*.csv")}


# --- the command


def test_the_command_compares_the_policies_in_a_table() -> None:
    result = command("simulate", "--trace", str(TRACES / "burst.csv"))
    assert result.returncode == 0, result.stderr
    rows = {line.split("  ")[0].strip(): line for line in result.stdout.splitlines()}
    assert {"fixed: 10", "one step per 3 s", "ours"} <= rows.keys()
    assert "worker-seconds" in result.stdout
    assert "863 jobs" in result.stdout
    assert "target_wait: 2s, cooldown: 30s" in result.stdout


def test_the_policy_comes_from_a_pool_of_the_configuration_and_options_change_it(tmp_path: Path) -> None:
    pools = {
        "a": {"functions": ["a"], "min": 0, "max": 7, "scale": {"backlog_per_worker": 5, "idle": "5m"}},
        "b": {"functions": ["b"], "max": 3, "concurrency": 20},
    }
    (tmp_path / "config.yaml").write_text(json.dumps({"servers": ["127.0.0.1:1"], "pools": pools}))
    (tmp_path / "workers").mkdir()
    write(tmp_path, "0,1\n")
    simulation = ("simulate", "--trace", "trace.csv")
    chosen = command(*simulation, "-c", "config.yaml", "--pool", "a", folder=tmp_path)
    assert "min: 0, max: 7, backlog_per_worker: 5, cooldown: 30s, idle: 5m" in chosen.stdout
    before = command("-c", "config.yaml", *simulation, "--pool", "b", "--utilisation", "0.5", folder=tmp_path)
    assert "min: 1, max: 3, concurrency: 20, utilisation: 0.5, cooldown: 30s" in before.stdout
    unnamed = command(*simulation, "-c", "config.yaml", folder=tmp_path)
    assert (unnamed.returncode, unnamed.stderr) == (
        1,
        "gearman-manager: name a pool with --pool; the configuration has: a, b\n",
    )


def test_a_pool_has_the_room_that_the_limits_for_all_pools_leave(tmp_path: Path) -> None:
    uses = {"uses": {"db": 2}, "max": 50}
    pools = {"a": uses | {"weight": 3}, "b": uses | {"min": 2}, "c": {"max_everywhere": 4, "max": 9}, "d": {"max": 9}}
    limits = {"max_workers": 90, "budgets": {"db": 33}}
    content = {"servers": ["127.0.0.1:1"], "pools": pools, "limits": limits}
    (tmp_path / "config.yaml").write_text(json.dumps(content))
    (tmp_path / "workers").mkdir()
    write(tmp_path, "0,1\n")
    simulation = ("simulate", "--trace", "trace.csv", "-c", "config.yaml", "--pool")
    held = "limits.budgets.db holds"
    room = f"14 workers at most: {held}; 12 while every other pool wants its max: {held}\n"
    alone = command(*simulation, "a", folder=tmp_path).stdout
    assert "min: 1, max: 14, target_wait: 2s" in alone
    assert room in alone
    assert "min: 1, max: 12, target_wait: 2s" in command(*simulation, "a", "--crowded", folder=tmp_path).stdout
    assert "4 workers at most: max_everywhere holds\n" in command(*simulation, "c", folder=tmp_path).stdout
    assert "workers at most" not in command(*simulation, "d", folder=tmp_path).stdout
    assert "min: 1, max: 40, target_wait: 2s" in command(*simulation, "a", "--max", "40", folder=tmp_path).stdout


WINDOW = {"cron": "0 8 * * mon-fri", "for": "1m", "min": 6, "time_zone": "Europe/Berlin"}


def windowed(folder: Path, first_arrival_s: float) -> Path:
    """A configuration whose pool has a window, and a trace: one job, and two minutes later eight at once."""
    pools = {"a": {"functions": ["a"], "max": 4, "scale": {"cooldown": "5s"}, "windows": WINDOW | {"max": 9}}}
    (folder / "config.yaml").write_text(json.dumps({"servers": ["127.0.0.1:1"], "pools": pools}))
    (folder / "workers").mkdir()
    arrivals = [first_arrival_s, *[first_arrival_s + 120] * 6]
    return write(folder, "".join(f"{arrival},1,a\n" for arrival in arrivals))


@pytest.mark.parametrize(
    ("start", "longest_s"),
    [
        (("--start", "2026-03-30T07:59:30"), "1.05"),  # the window is over when they come; four workers for six jobs
        (("--start", "2026-03-30T07:58:30"), "0.00"),
        (("--start", "2026-03-30T05:58:30+00:00"), "0.00"),
        (("--start", "2026-03-29T07:58:30"), "1.05"),  # a Sunday
        ((), "0.00"),  # its own times are Unix seconds
    ],
)
def test_a_window_holds_at_its_time_of_day(tmp_path: Path, start: tuple[str, ...], longest_s: str) -> None:
    windowed(tmp_path, 1774850310)
    result = command("simulate", "--trace", "trace.csv", "-c", "config.yaml", *start, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = {line[:24].strip(): line.split() for line in result.stdout.splitlines()}
    longest = {name: row[-5] for name, row in rows.items() if name.startswith("ours")}
    assert longest == {"ours": longest_s, "ours, without windows": "1.05"}
    assert "window: min 6, max 9 for 1m from 0 8 * * mon-fri Europe/Berlin\nbegins " in result.stdout
    if not start:
        assert "begins Mon 2026-03-30 07:58:30 +0200" in result.stdout


def test_our_policy_follows_a_window_of_minutes_without_any_job() -> None:
    windows = (ResolvedWindow("0 8 * * *", "UTC", 600.0, 5, None), ResolvedWindow("30 8 * * *", "UTC", 600.0, 0, 1))
    scale = ResolvedScale(2.0, None, None, cooldown_s=30.0, idle_s=60.0)
    policy = OurScaler(Field(2, 9), scale, "ours", dated=DatedWindows(windows, 7.5 * 3600))
    outcome = simulate([Arrival(0.0, 0.0), Arrival(5400.0, 0.0)], policy)
    changes = [(sample.at_s, sample.workers) for sample in outcome.samples]
    sizes = [first for first, second in zip(changes[1:], changes, strict=False) if first[1] != second[1]]
    assert sizes == [(1800.0, 5), (2430.0, 2), (3600.0, 1), (3660.0, 0), (4200.0, 2)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            (),
            1,
            "the pool has windows, so the time of day counts: say when the trace begins, as --start 2026-03-30T07:50",
        ),
        (("--start", "now"), 2, "a time such as 2026-03-30T07:50 is expected, not 'now'"),
        (("--min", "10", "--max", "10"), 1, "a window of the pool: max 9 is less"),
    ],
)
def test_a_mistake_with_windows_gives_a_message(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    pools = {"a": {"functions": ["a"], "windows": {"cron": "0 8 * * *", "for": "1h", "max": 9}}}
    (tmp_path / "config.yaml").write_text(json.dumps({"servers": ["127.0.0.1:1"], "pools": pools}))
    (tmp_path / "workers").mkdir()
    write(tmp_path, "0,1\n")
    result = command("simulate", "--trace", "trace.csv", "-c", "config.yaml", *arguments, folder=tmp_path)
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--start", "2026-03-30"), 1, "--start is for the windows of a pool"),
        (("--min", "5", "--max", "2"), 1, "--min 5 is more than --max 2"),
        (("--target-wait", "2s", "--utilisation", "0.5"), 1, "only one of"),
        (("--target-wait", "fast"), 2, "a duration such as"),
        (("--pool", "a"), 1, "-c config.yaml"),
        (("--crowded",), 1, "-c config.yaml"),
        (("--function", "none"), 1, "no jobs of the function none"),
        (("--plot", "/nowhere/x.png"), 1, "the picture /nowhere/x.png can't be written"),
    ],
)
def test_a_mistake_gives_a_message(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    trace = write(tmp_path, "0,1\n")
    result = command("simulate", "--trace", str(trace), *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "burst.png"
    result = command("simulate", "--trace", str(TRACES / "burst.csv"), "--plot", str(picture))
    assert result.returncode == 0, result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_plot_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from gearman_manager.command.command_line import main; main()"
    )
    arguments = ("simulate", "--trace", str(TRACES / "burst.csv"), "--plot", str(tmp_path / "x.png"))
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "gearman-manager: --plot needs matplotlib: pip install 'gearman-manager[plot]'\n"
