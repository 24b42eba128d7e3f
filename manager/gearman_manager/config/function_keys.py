"""The keys of functions: the rules for a function's jobs. Pure."""

from __future__ import annotations

from pydantic import Field

from gearman_manager.config import values as v
from gearman_manager.config.section import Section, shown_default


class FunctionKeys(Section):
    """The keys that functions and `defaults` share: the rules for a job."""

    timeout: v.Duration | None = Field(
        default=None,
        description="The longest time that a job may run.",
        examples=["30s"],
        json_schema_extra=shown_default("0: no limit"),
    )
    retries: v.Natural | None = Field(
        default=None, description="The number of further attempts after one that failed or took too long."
    )
    crash_retries: v.Natural | None = Field(
        default=None,
        description=(
            "The number of further attempts after a worker was lost during the job. The job server that the manager "
            "starts enforces it."
        ),
    )
    backoff: v.Duration | None = Field(
        default=None,
        description="The wait before the first retry, plus or minus a fifth; doubled for each further retry.",
    )
    max_backoff: v.Duration | None = Field(default=None, description="The longest wait before a retry.")
    keep_result: v.Duration | None = Field(
        default=None,
        description="Keep the result of a background job for this long, for clients to ask for.",
        examples=["1d"],
        json_schema_extra=shown_default("0: not at all"),
    )
    max_queue: v.Natural | None = Field(
        default=None,
        description="Refuse further jobs while this many wait.",
        json_schema_extra=shown_default("0: no limit"),
    )
    max_running: v.Natural | None = Field(
        default=None,
        description="The largest number of jobs that run at once, on all workers of all machines together.",
        json_schema_extra=shown_default("0: no limit"),
    )
    rate: v.Rate | None = Field(
        default=None,
        description=(
            "The largest number of jobs that start within any second, minute, hour or day; after a pause all of them "
            "may start at once."
        ),
        examples=["100/m"],
        json_schema_extra=shown_default("0: no limit"),
    )
    settings: v.FreeMapping | None = Field(
        default=None,
        description="Values that the function's code finds in `job.settings`; merged key by key.",
        examples=[{"smtp_host": "127.0.0.1"}],
    )


class Function(FunctionKeys):
    """The rules for the jobs of one function."""

    batch: v.JobsAtOnce | None = Field(
        default=None,
        description=(
            "The largest number of jobs for one call of a function that takes a list of them: only for one that is "
            "written so, with `@function(batch=100)`. See [many small jobs](writing-functions.md#many-small-jobs)."
        ),
        examples=[100],
        json_schema_extra=shown_default("the decorator's"),
    )
    linger: v.Linger | None = Field(
        default=None,
        description="Only with `batch`: wait this long after a job's arrival for more, unless the list is full before.",
        examples=["50ms"],
        json_schema_extra=shown_default("0: take what is there"),
    )
