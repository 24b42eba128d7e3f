"""The keys of functions: how a function's jobs are treated. Pure."""

from __future__ import annotations

from pydantic import Field

from gearman_manager.config import values as v
from gearman_manager.config.section import Section, shown_default


class FunctionKeys(Section):
    """The keys that functions and `defaults` share: how a job is treated."""

    timeout: v.Duration | None = Field(
        default=None,
        description="Longest time a job may run.",
        examples=["30s"],
        json_schema_extra=shown_default("0: no limit"),
    )
    retries: v.Natural | None = Field(
        default=None, description="Further attempts after one that failed or took too long."
    )
    crash_retries: v.Natural | None = Field(
        default=None,
        description=(
            "Further attempts after the worker was lost under the job. The job server that the manager "
            "starts enforces it."
        ),
    )
    backoff: v.Duration | None = Field(
        default=None, description="Wait before the first retry, give or take a fifth; doubled for each further one."
    )
    max_backoff: v.Duration | None = Field(default=None, description="Longest wait before a retry.")
    keep_result: v.Duration | None = Field(
        default=None,
        description="How long the result of a background job can be asked for.",
        examples=["1d"],
        json_schema_extra=shown_default("0: not at all"),
    )
    max_queue: v.Natural | None = Field(
        default=None,
        description="Refuse further jobs while so many wait.",
        json_schema_extra=shown_default("0: no limit"),
    )
    max_running: v.Natural | None = Field(
        default=None,
        description="Most jobs that run at once, on all workers of all machines together.",
        json_schema_extra=shown_default("0: no limit"),
    )
    rate: v.Rate | None = Field(
        default=None,
        description=(
            "Most jobs started within a second, minute, hour or day, wherever it begins; after a pause all of them "
            "may start at once."
        ),
        examples=["100/m"],
        json_schema_extra=shown_default("0: no limit"),
    )
    settings: v.FreeMapping | None = Field(
        default=None,
        description="Handed to the function's code as `job.settings`; merged key by key.",
        examples=[{"smtp_host": "127.0.0.1"}],
    )


class Function(FunctionKeys):
    """How the jobs of one function are treated."""
