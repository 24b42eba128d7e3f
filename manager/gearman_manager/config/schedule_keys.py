"""The keys of schedules: jobs that the bundled job server submits by the clock. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, PlainValidator, WithJsonSchema

from gearman_manager.config import values as v
from gearman_manager.config.section import Section, shown_default
from gearman_process.values.durations import parse_duration_s
from gearman_process.values.quoting import shown

PRIORITIES: Final = ("high", "normal", "low")
MISSED: Final = ("run_once", "skip")
_MAX_UNIQUE_BYTES: Final = 64
#: The job server has the same limit.
_MAX_EXPRESSION_CHARACTERS: Final = 256


def _cron(value: object) -> str:
    if not isinstance(value, str) or len(value.split()) != 5 or len(value) > _MAX_EXPRESSION_CHARACTERS:
        raise ValueError(
            f"a cron expression has five fields (minute, hour, day, month, weekday), as 30 3 * * *, not {shown(value)}"
        )
    try:
        next(CronSim(value, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{shown(value)} is no cron expression: {str(error).lower()}") from error
    except StopIteration:
        raise ValueError(f"the cron expression {shown(value)} never fits: there is no such day") from None
    return value


def _interval_s(value: object) -> float:
    seconds = parse_duration_s(value)
    if seconds < 1:
        raise ValueError(f"at least 1s is expected, not {shown(value)}")
    return seconds


def _time_zone(value: object) -> str:
    try:
        return ZoneInfo(value if isinstance(value, str) else "").key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"there is no time zone {shown(value)}: a name such as Europe/Berlin or UTC is expected"
        ) from error


def _workload(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("text, or what JSON can hold, is expected") from error


def _unique(value: object) -> str:
    text = str(value) if isinstance(value, int) else v.parse_text(value)
    if len(text.encode()) > _MAX_UNIQUE_BYTES:
        raise ValueError(f"a unique key has at most {_MAX_UNIQUE_BYTES} bytes")
    return text


Cron = Annotated[str, PlainValidator(_cron), v.schema("cron expression", {"type": "string"})]
Interval = Annotated[float, PlainValidator(_interval_s), v.schema("duration", {"type": "string"})]
TimeZone = Annotated[str, PlainValidator(_time_zone), v.schema("time zone", {"type": "string"})]
Workload = Annotated[str, PlainValidator(_workload), WithJsonSchema({v.KIND: "text, mapping or list"})]
Unique = Annotated[str, PlainValidator(_unique), v.schema("text", {"type": ["string", "integer"]})]
Priority = Annotated[str, PlainValidator(v.choice(PRIORITIES)), v.schema("word", {"enum": list(PRIORITIES)})]
Missed = Annotated[str, PlainValidator(v.choice(MISSED)), v.schema("word", {"enum": list(MISSED)})]


class Schedule(Section):
    """A background job that the bundled job server submits again and again."""

    cron: Cron | None = Field(
        default=None,
        description="The times: minute, hour, day of the month, month, day of the week. This or `every` is needed.",
        examples=["30 3 * * *"],
    )
    every: Interval | None = Field(
        default=None,
        description="The interval, counted from 1970: `10m` is at :00, :10, :20 ….",
        examples=["10m"],
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone of `cron`. A run in the hour that is skipped in spring comes right after it.",
        examples=["Europe/Berlin"],
        json_schema_extra=shown_default("`UTC`"),
    )
    function: v.FunctionName = Field(description="The function's name, as workers register it.")
    workload: Workload | None = Field(
        default=None, description="The job's workload: text is passed as it is, any other value as JSON."
    )
    unique: Unique | None = Field(
        default=None, description="A unique key: while the job of an earlier run waits or runs, no other is added."
    )
    priority: Priority = Field(default="normal", description="`high`, `normal` or `low`.")
    missed: Missed = Field(
        default="run_once",
        description="If runs were missed, for example while the server was down: `run_once` makes up for all of them "
        "with one run, `skip` waits for the next.",
    )
