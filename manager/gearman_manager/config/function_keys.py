"""The keys of functions: the rules for a function's jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from gearman_client.job_pairs import MAX_KEY_BYTES
from gearman_manager.config import values as v
from gearman_manager.config.section import Section, shown_default
from gearman_manager.privacy.key_rules import MOST_RULES, checked_rule

#: What `brake.hold` is unless it is written.
DEFAULT_HOLD_S: Final = 30.0
#: As many keys of one function may have a weight.
_MAX_WEIGHTS: Final = 1000


def _key(value: object) -> str:
    """A job's key, which may be empty: that of jobs without one."""
    key = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(key, str) or "\0" in key or len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"a key is text of at most {MAX_KEY_BYTES} bytes without zero bytes")
    return key


def _not_too_many(weights: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if weights is not None and len(weights) > _MAX_WEIGHTS:
        raise ValueError(f"at most {_MAX_WEIGHTS} keys have a weight of their own")
    return weights


def _not_too_many_rules(rules: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if rules is not None and len(rules) > MOST_RULES:
        raise ValueError(f"at most {MOST_RULES} rules are possible")
    return rules


RedactRule = Annotated[
    str, PlainValidator(checked_rule), v.schema("keys", {"type": "string", "minLength": 1}, {"type": "integer"})
]


class PerKey(Section):
    """Limits that hold for the jobs of each key."""

    max_running: v.Natural | None = Field(
        default=None,
        description="The largest number of jobs with the same key that run at once, on all workers together.",
        json_schema_extra=shown_default("0: no limit"),
    )
    rate: v.Rate | None = Field(
        default=None,
        description="The largest number of jobs with the same key that start within any second, minute, hour or day.",
        examples=["100/m"],
        json_schema_extra=shown_default("0: no limit"),
    )


class Brake(Section):
    """Holds a function's jobs back after too many failures, until a job succeeds that is started as a probe."""

    failures: v.Rate = Field(
        description=(
            "More failed attempts than this put the brake on: failures, overrun time limits and lost workers. `20/1m` "
            "allows 20 within any minute. 0: no brake."
        ),
        examples=["20/1m"],
    )
    hold: v.PositiveDuration = Field(
        default=DEFAULT_HOLD_S,
        description="No job of the function starts for this long.",
        json_schema_extra=shown_default("`30s`"),
    )
    probe: v.Positive = Field(
        default=1,
        description=(
            "After that, this many jobs may run at once. The first that succeeds takes the brake off, and one that "
            "fails puts it on again."
        ),
    )


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
    allow_options: v.OptionNames | None = Field(
        default=None,
        description=(
            "The [options](job-server.md#options-of-a-job) that a job may bring along; one with another is refused. "
            "`[]` allows none."
        ),
        examples=[["retries", "timeout"]],
        json_schema_extra=shown_default("all"),
    )
    unique_scope: v.UniqueScope | None = Field(
        default=None,
        description=(
            "Where the unique key of a background job holds: at the job server that has the job, or, with `cluster`, "
            "at all [servers of a cluster](cluster.md#unique-keys)."
        ),
        examples=["cluster"],
        json_schema_extra=shown_default("`server`"),
    )
    per_key: Annotated[PerKey | None, v.is_mapping] = Field(
        default=None,
        description=(
            "Limits for the jobs of each key: a customer, a recipient's domain. A key at its limit holds up no other. "
            "See [keys](job-server.md#keys-fair-shares-and-limits)."
        ),
        examples=[{"max_running": 5, "rate": "100/m"}],
    )
    fair: v.Flag | None = Field(
        default=None,
        description="Let the keys of its jobs take turns, so that one with very many jobs does not delay the others.",
        json_schema_extra=shown_default("`false`"),
    )
    weights: (
        Annotated[Mapping[Annotated[str, PlainValidator(_key)], v.Weight], AfterValidator(_not_too_many), v.is_mapping]
        | None
    ) = Field(
        default=None,
        description="Only with `fair`: so many jobs of this key start in its turn. A key without a weight has 1.",
        examples=[{"bulk": 1, "transactional": 10}],
    )
    brake: Annotated[Brake | None, v.is_mapping] = Field(
        default=None,
        description="Start no jobs for a while after too many failures.",
        examples=[{"failures": "20/1m", "hold": "30s", "probe": 1}],
        json_schema_extra=shown_default("none"),
    )
    redact: Annotated[tuple[RedactRule, ...], AfterValidator(_not_too_many_rules), v.one_or_several] | None = Field(
        default=None,
        description=(
            "Keys whose values are shown nowhere: names, in any letter case, or expressions such as `/^auth/`. `[]` "
            "shows all. See [privacy](operations.md#privacy)."
        ),
        examples=[["password", "/^auth/"]],
        json_schema_extra=shown_default("none"),
    )
    show_workloads: v.Flag | None = Field(
        default=None,
        description="Show the workloads of its jobs. `false`: only their sizes.",
        json_schema_extra=shown_default("`true`"),
    )
    retention: v.PositiveDuration | None = Field(
        default=None,
        description=(
            "Forget its dead letters, and what is kept of its finished jobs, after this time, or before it if "
            "`server.dead_letters` says so."
        ),
        examples=["7d"],
        json_schema_extra=shown_default("as long as `server.dead_letters` allows"),
    )
    settings: v.FreeMapping | None = Field(
        default=None,
        description="Values that the function's code finds in `job.settings`; merged key by key.",
        examples=[{"smtp_host": "127.0.0.1"}],
    )

    @model_validator(mode="after")
    def _weights_are_for_turns(self) -> Self:
        if self.weights and not self.fair:
            raise ValueError("weights have no effect unless keys take turns: write fair: true beside them")
        return self


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
