"""The keys of pools: processes, their number, their scaling by load and by the time of day, and their limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from gearman_manager.config import values as v
from gearman_manager.config.schedule_keys import Cron, TimeZone
from gearman_manager.config.section import Section, shown_default
from gearman_process.values.durations import PATTERN, format_duration, parse_duration_s
from gearman_process.values.quoting import shown

MAX_WINDOWS: Final = 100
_SHORTEST_S: Final = 1.0
_LONGEST_S: Final = 366 * 86400.0


def _length_s(value: object) -> float:
    seconds = parse_duration_s(value)
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        allowed = f"from {format_duration(_SHORTEST_S)} to {format_duration(_LONGEST_S)}"
        raise ValueError(f"a duration {allowed} is expected, not {shown(value)}")
    return seconds


Length = Annotated[float, PlainValidator(_length_s), v.schema("duration", {"type": "string", "pattern": PATTERN})]


class Window(Section):
    """Other bounds for a pool, from each time of a cron expression on for a while."""

    cron: Cron = Field(
        description="The times at which it opens: minute, hour, day of the month, month, day of the week.",
        examples=["0 8 * * mon-fri"],
    )
    length: Length = Field(
        alias="for",
        description="How long it stays open. Whole days are days of the calendar, so it closes at the time of day at "
        "which it opened; a window of hours is open for so many hours also when the clocks change.",
        examples=["2h"],
    )
    min: v.MinimumWorkers | None = Field(
        default=None,
        description="The pool's `min` while it is open. This, `max` or both are needed.",
        json_schema_extra=shown_default("the pool's"),
    )
    max: v.MaximumWorkers | None = Field(
        default=None,
        description="The pool's `max` while it is open.",
        json_schema_extra=shown_default("the pool's"),
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="The time zone of `cron`. A time that is skipped in spring comes right after the gap, one that is "
        "repeated in autumn counts once.",
        examples=["Europe/Berlin"],
    )

    @model_validator(mode="after")
    def _changes_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("min, max or both are expected: what the window changes")
        return self


class Scale(Section):
    """The rules by which a pool's number of workers follows its queue, between `min` and `max`."""

    target_wait: v.PositiveDuration | None = Field(
        default=None,
        description="Run enough workers to start a job that is queued now within this time.",
        json_schema_extra=shown_default("`2s`"),
    )
    backlog_per_worker: v.Positive | None = Field(
        default=None, description="Run one worker per this number of waiting jobs."
    )
    utilisation: v.Share | None = Field(
        default=None, description="Run enough workers that only this share of them is busy.", examples=[0.7]
    )
    cooldown: v.Duration | None = Field(
        default=None, description="Shrink only after fewer workers have been enough for this long."
    )
    idle: v.Duration | None = Field(
        default=None,
        description=(
            "Only with `min: 0`: stop the last worker after this long without a job; the next job starts one again."
        ),
        json_schema_extra=shown_default("`1m`"),
    )

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        written = [key for key in POLICIES if getattr(self, key) is not None]
        if len(written) > 1:
            raise ValueError(f"only one of {', '.join(POLICIES)} is allowed, not {' and '.join(written)}")
        return self


def _not_too_many(windows: tuple[Window, ...] | None) -> tuple[Window, ...] | None:
    if windows is not None and len(windows) > MAX_WINDOWS:
        raise ValueError(f"at most {MAX_WINDOWS} windows are allowed, not {len(windows)}")
    return windows


POLICIES: Final = ("target_wait", "backlog_per_worker", "utilisation")


class PoolKeys(Section):
    """The keys that pools and `defaults` share: processes, their number and their limits."""

    min: v.MinimumWorkers | None = Field(
        default=None, description="The number of workers that always run.", examples=["2/core"]
    )
    max: v.MaximumWorkers | None = Field(
        default=None,
        description="The largest number of workers.",
        json_schema_extra=shown_default("4, or `min` if that is more"),
    )
    max_everywhere: v.Positive | None = Field(
        default=None,
        description="The largest number of workers on all managers that have a pool of this name and share a job "
        "server; each manager has its part.",
    )
    weight: v.Weight | None = Field(
        default=None,
        description="The pool's part when `limits.max_workers` or a budget has too little for all: twice the weight, "
        "twice the workers.",
    )
    uses: Annotated[Mapping[v.BudgetName, v.Natural], v.is_mapping] | None = Field(
        default=None,
        description="The units of each of `limits.budgets` that one worker uses, whatever its `concurrency`.",
        examples=[{"smtp": 1}],
    )
    scale: Annotated[Scale | None, v.is_mapping] = Field(
        default=None,
        description="The rules by which the number of workers follows the queue.",
        json_schema_extra=shown_default("`target_wait: 2s`"),
    )
    windows: Annotated[
        tuple[Annotated[Window, v.is_mapping], ...] | None, AfterValidator(_not_too_many), v.one_or_several
    ] = Field(
        default=None,
        description="Other values of `min` and `max` by the time of day.",
        examples=[[{"cron": "0 8 * * mon-fri", "for": "2h", "min": 20}]],
    )
    max_jobs: v.Natural | None = Field(
        default=None, description="Replace a worker after this many jobs.", json_schema_extra=shown_default("0: never")
    )
    max_lifetime: v.Duration | None = Field(
        default=None,
        description=(
            "Replace a worker after this time, or up to a fifth earlier, so that the workers of a pool do not all end "
            "at once."
        ),
        examples=["1h"],
        json_schema_extra=shown_default("0: never"),
    )
    max_memory: v.Size | None = Field(
        default=None,
        description=(
            "Replace a worker with more private memory than this, after its job. At one and a half times as much it is "
            "killed during the job, which another worker runs again."
        ),
        examples=["300MB"],
        json_schema_extra=shown_default("0: no limit"),
    )
    stop_timeout: v.Duration | None = Field(
        default=None,
        description=(
            "When the manager stops, kill a worker that has not finished its job within this time; a program also "
            "when it is replaced."
        ),
    )
    nice: v.Niceness | None = Field(
        default=None, description="The processes' niceness: 19 yields most to others, below 0 needs root."
    )
    preload: v.Flag | None = Field(
        default=None, description="Import the modules once, before the fork; with `false` each worker imports them."
    )
    concurrency: v.Concurrency | None = Field(
        default=None,
        description=(
            "The number of jobs that one worker runs at once, in greenlets, or on an asyncio loop if its functions are "
            "`async def`; above 1 only for code that waits a lot, or for great numbers of jobs that take well below a "
            "millisecond."
        ),
    )
    prefetch: v.JobsAtOnce | None = Field(
        default=None,
        description=(
            "The number of jobs that a worker fetches at once and runs one after the other; above 1 only for jobs of "
            "about a millisecond. See [many small jobs](writing-functions.md#many-small-jobs)."
        ),
    )
    watch: Annotated[tuple[v.Glob, ...] | None, v.one_or_several] = Field(
        default=None, description="Other files whose change restarts the workers.", examples=[["templates/*.html"]]
    )
    env: Annotated[Mapping[str, v.Variable], v.is_mapping] | None = Field(
        default=None,
        description="Only with `command`: variables that are added to the program's environment.",
        examples=[{"MODE": "production"}],
    )
    cwd: v.FilePath | None = Field(
        default=None,
        description="Only with `command`: the folder in which the program runs.",
        json_schema_extra=shown_default("that of the manager"),
    )
    user: v.NameOrId | None = Field(
        default=None,
        description="Only with `command`: the user under which the program runs.",
        json_schema_extra=shown_default("that of the manager"),
    )
    stop_signal: v.StopSignal | None = Field(
        default=None, description="Only with `command`: the signal that asks the program to finish its job and end."
    )


class Pool(PoolKeys):
    """One pool of worker processes."""

    functions: Annotated[tuple[v.FunctionName, ...] | None, v.at_least_one] = Field(
        default=None,
        description='The functions that the pool serves; `"*"` stands for all that no other pool names.',
        examples=[["send_email"]],
        json_schema_extra=shown_default("the function with the pool's name"),
    )
    command: v.Command | None = Field(
        default=None,
        description="A program that is a Gearman worker, in any language. It runs instead of Python functions.",
        examples=["php worker.php"],
    )
