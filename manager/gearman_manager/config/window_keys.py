"""The keys of windows: other bounds for a pool's number of workers by the time of day. Pure."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, PlainValidator, model_validator

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
