"""The schemas of the larger answers."""

from __future__ import annotations

from typing import Final

from gearman_manager.api.description import (
    COUNT,
    FLAG,
    MOMENT,
    NUMBER,
    SECONDS,
    TEXT,
    WHOLE,
    Schema,
    by_name,
    list_of,
    or_null,
    record,
)

#: As `parse_duration_s` reads it.
DURATION: Final[Schema] = or_null(
    {"type": "string", "pattern": r"^[0-9]{1,4}(ms|s|m|h|d)$", "description": "such as 500ms, 30s, 5m, 1h"}
)

_JOB_IN_WORKER: Final = record(function=TEXT, handle=TEXT, for_s=SECONDS)
_WORKER: Final = record(
    name=TEXT,
    pid=or_null(WHOLE),
    state=TEXT,
    jobs=list_of(_JOB_IN_WORKER),
    fetched=COUNT,
    done=or_null(COUNT),
    failed=or_null(COUNT),
    private_bytes=or_null(COUNT),
    age_s=NUMBER,
)
_POOL: Final = record(
    min=COUNT,
    max=COUNT,
    target=COUNT,
    why=TEXT,
    state=TEXT,
    paused=FLAG,
    failing=FLAG,
    last_error=or_null(TEXT),
    workers=list_of(_WORKER),
)
FUNCTION: Final = record(
    pool=TEXT, file=or_null(TEXT), queued=or_null(COUNT), running=or_null(COUNT), workers=or_null(COUNT)
)
_SERVER: Final = record(up=or_null(FLAG), since=or_null(MOMENT), trouble=or_null(TEXT), notices=list_of(TEXT))
DRAIN: Final = record(
    until=or_null(MOMENT),
    running=COUNT,
    programs=COUNT,
    may_begin=list_of(TEXT),
    returned=COUNT,
    server=or_null({"type": "object"}),
    over=FLAG,
)
STATUS: Final = record(
    supervisor=record(pid=WHOLE, since=MOMENT),
    drain=or_null(DRAIN),
    pools=by_name(_POOL),
    budgets=by_name(record(units=COUNT, used=COUNT)),
    functions=by_name(FUNCTION),
    servers=by_name(_SERVER),
    errors=list_of(record(file=TEXT, line=WHOLE, message=TEXT)),
)

_DECISION: Final = record(
    at=MOMENT,
    sentence=TEXT,
    wanted=COUNT,
    rule=TEXT,
    late=FLAG,
    size=COUNT,
    limit=or_null(TEXT),
    steps=list_of(record(limit=TEXT, text=TEXT, size=COUNT, since=or_null(MOMENT), until=or_null(MOMENT))),
    inputs={"type": "object"},
)
DECISIONS: Final = record(
    pool=TEXT,
    now=or_null(_DECISION),
    decisions=list_of({"allOf": [record(since=MOMENT, until=or_null(MOMENT), times=COUNT), _DECISION]}),
)
SERVER_RESTART: Final = record(
    servers=list_of(
        record(
            name=TEXT,
            address=TEXT,
            state=TEXT,
            running=COUNT,
            pid_before=or_null(WHOLE),
            pid=or_null(WHOLE),
            took_s=or_null(SECONDS),
            error=TEXT,
        )
    ),
    within_s=SECONDS,
    over=FLAG,
)

JOB: Final = record(
    handle=TEXT,
    function=TEXT,
    state=TEXT,
    priority=TEXT,
    attempt=COUNT,
    age_s=or_null(NUMBER),
    for_s=or_null(NUMBER),
    bytes=COUNT,
    background=FLAG,
    unique=TEXT,
    preview=TEXT,
    server=TEXT,
)
JOB_DETAILS: Final = record(handle=TEXT, function=TEXT, state=TEXT, server=TEXT)
KEY: Final = record(
    key=TEXT, waiting=COUNT, running=COUNT, startable=COUNT, held_by=TEXT, opens_in_s=or_null(NUMBER), server=TEXT
)
BATCH: Final = record(
    batch=TEXT,
    state=TEXT,
    jobs=COUNT,
    waiting=COUNT,
    complete=COUNT,
    failed=COUNT,
    expired=COUNT,
    cancelled=COUNT,
    stopped=COUNT,
    is_cancelled=FLAG,
    opened=or_null(MOMENT),
    closed=or_null(MOMENT),
    ended=or_null(MOMENT),
    server=TEXT,
)
BATCH_DETAILS: Final = record(id=TEXT, state=TEXT, server=TEXT)
DEAD: Final = record(
    handle=TEXT,
    function=TEXT,
    priority=TEXT,
    attempts=COUNT,
    died=or_null(MOMENT),
    bytes=COUNT,
    unique=TEXT,
    error=TEXT,
    preview=TEXT,
    server=TEXT,
)
DEAD_DETAILS: Final = record(handle=TEXT, function=TEXT, server=TEXT)
SCHEDULE: Final = record(
    schedule=TEXT,
    function=TEXT,
    next=or_null(MOMENT),
    last_run=or_null(MOMENT),
    timing=TEXT,
    priority=TEXT,
    missed=TEXT,
    unique=TEXT,
    last_handle=TEXT,
    paused_at=or_null(MOMENT),
    server=TEXT,
    runs=list_of(record(handle=TEXT, outcome=TEXT, started=or_null(MOMENT), ended=MOMENT, error=TEXT)),
)
