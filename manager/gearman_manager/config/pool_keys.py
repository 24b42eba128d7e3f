"""The keys of pools: processes, their number, their scaling and their limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from gearman_manager.config import values as v
from gearman_manager.config.section import Section, shown_default


class Scale(Section):
    """How a pool's number of workers follows its queue, between `min` and `max`."""

    target_wait: v.PositiveDuration | None = Field(
        default=None,
        description="Run enough workers that a job queued now starts within this time.",
        json_schema_extra=shown_default("`2s`"),
    )
    backlog_per_worker: v.Positive | None = Field(
        default=None, description="Run one worker for each so many waiting jobs."
    )
    utilisation: v.Share | None = Field(
        default=None, description="Run so many workers that this share of them is busy.", examples=[0.7]
    )
    cooldown: v.Duration | None = Field(
        default=None, description="Shrink only after fewer workers were enough for this long."
    )
    idle: v.Duration | None = Field(
        default=None,
        description=(
            "Only with `min: 0`: stop the last worker after so long without a job; the next job brings it back."
        ),
        json_schema_extra=shown_default("`1m`"),
    )

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        written = [key for key in POLICIES if getattr(self, key) is not None]
        if len(written) > 1:
            raise ValueError(f"only one of {', '.join(POLICIES)} is allowed, not {' and '.join(written)}")
        return self


POLICIES: Final = ("target_wait", "backlog_per_worker", "utilisation")


class PoolKeys(Section):
    """The keys that pools and `defaults` share: processes, their number and their limits."""

    min: v.MinimumWorkers | None = Field(default=None, description="Workers that always run.", examples=["2/core"])
    max: v.MaximumWorkers | None = Field(
        default=None,
        description="Workers that may run at most.",
        json_schema_extra=shown_default("4, or `min` where that is more"),
    )
    scale: Annotated[Scale | None, v.is_mapping] = Field(
        default=None,
        description="How the number of workers follows the queue.",
        json_schema_extra=shown_default("`target_wait: 2s`"),
    )
    max_jobs: v.Natural | None = Field(
        default=None, description="Replace a worker after so many jobs.", json_schema_extra=shown_default("0: never")
    )
    max_lifetime: v.Duration | None = Field(
        default=None,
        description=(
            "Replace a worker after this time, or up to a fifth earlier, so that the workers of a pool do "
            "not go together."
        ),
        examples=["1h"],
        json_schema_extra=shown_default("0: never"),
    )
    max_memory: v.Size | None = Field(
        default=None,
        description=(
            "Replace a worker that has more private memory, after its job; with one and a half times as much "
            "it is killed in the job, which another worker runs again."
        ),
        examples=["300MB"],
        json_schema_extra=shown_default("0: no limit"),
    )
    stop_timeout: v.Duration | None = Field(
        default=None,
        description=(
            "How long a worker may finish its job when the manager stops, before it is killed; a program "
            "also when it is replaced."
        ),
    )
    nice: v.Niceness | None = Field(
        default=None, description="Scheduling priority: 19 is the most modest, below 0 needs root."
    )
    preload: v.Flag | None = Field(
        default=None, description="Import the modules once, before the fork; `false`: in each worker, after it."
    )
    concurrency: v.Concurrency | None = Field(
        default=None,
        description=(
            "Jobs that one worker runs at once, in greenlets; above 1 only for code that waits a lot, "
            "or for great numbers of jobs of well below a millisecond."
        ),
    )
    watch: Annotated[tuple[v.Glob, ...] | None, v.one_or_several] = Field(
        default=None, description="Further files whose change restarts the workers.", examples=[["templates/*.html"]]
    )
    env: Annotated[Mapping[str, v.Variable], v.is_mapping] | None = Field(
        default=None,
        description="Only with `command`: variables added to the program's environment.",
        examples=[{"MODE": "production"}],
    )
    cwd: v.FilePath | None = Field(
        default=None,
        description="Only with `command`: the folder in which the program runs.",
        json_schema_extra=shown_default("that of the manager"),
    )
    user: v.NameOrId | None = Field(
        default=None,
        description="Only with `command`: the user as whom the program runs.",
        json_schema_extra=shown_default("that of the manager"),
    )
    stop_signal: v.StopSignal | None = Field(
        default=None, description="Only with `command`: the signal that asks the program to finish its job and end."
    )


class Pool(PoolKeys):
    """One pool of worker processes."""

    functions: Annotated[tuple[v.FunctionName, ...] | None, v.at_least_one] = Field(
        default=None,
        description='Functions that the pool serves; `"*"` is all that no other pool names.',
        examples=[["send_email"]],
        json_schema_extra=shown_default("the one of the pool's name"),
    )
    command: v.Command | None = Field(
        default=None,
        description="A program that is a Gearman worker, in any language, run instead of Python functions.",
        examples=["php worker.php"],
    )
