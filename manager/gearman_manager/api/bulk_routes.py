"""The API's routes for all jobs that match: their number, changes of all of them, and how far these have come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.answers import followed
from gearman_manager.api.description import (
    COUNT,
    FLAG,
    MOMENT,
    PRESENT,
    SECONDS,
    TEXT,
    Operation,
    list_of,
    only,
    or_null,
    record,
)
from gearman_manager.api.job_choices import SELECTION, STATES, WIDE_CHOICE, chosen_by, is_seconds
from gearman_manager.api.requests import count_of, json_body
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import BulkChanges
from gearman_manager.control.matching_jobs import Matching
from gearman_manager.errors import ManagerError

_SEEN: Final = {**SECONDS, "description": "Unix seconds: only those that were there then; the default is now"}
_QUERY: Final = {**SELECTION, "seen_at": _SEEN}
_BODY: Final = {**WIDE_CHOICE, "seen_at": or_null(_SEEN), "expected": or_null(COUNT)}
_COUNTED: Final = record(count=COUNT, seen_at=MOMENT, missing=list_of(TEXT))
REPORT: Final = record(
    id=TEXT,
    what=TEXT,
    target=TEXT,
    began=MOMENT,
    ended=or_null(MOMENT),
    over=FLAG,
    expected=COUNT,
    done=COUNT,
    left=COUNT,
    gone=COUNT,
    problems=list_of(TEXT),
)


@dataclass(frozen=True, slots=True)
class _One:
    """One change, as `followed` wants it."""

    changes: BulkChanges
    name: str

    def report(self) -> Mapping[str, Any] | None:
        return self.changes.report(self.name)

    def follow(self) -> Iterator[Mapping[str, Any]]:
        return self.changes.follow(self.name)


def bulk_routes(every: AllThatMatch) -> Blueprint:
    """The routes."""
    routes = Blueprint("bulk", __name__)

    @routes.get("/jobs/count")
    @Operation(
        "How many queued and running jobs there are, in all and by state.",
        {200: {**_COUNTED, "properties": {**_COUNTED["properties"], **dict.fromkeys(STATES, COUNT)}}},
        query={**_QUERY, "state": {"enum": [*STATES], "type": "string"}},
        refusals=(409, 502),
    )
    def count_jobs() -> ResponseReturnValue:
        return _count(every, "jobs")

    @routes.get("/dead/count")
    @Operation("How many dead letters there are.", {200: _COUNTED}, query=_QUERY, refusals=(409, 502))
    def count_dead() -> ResponseReturnValue:
        return _count(every, "dead")

    @routes.post("/jobs/all/<any(cancel, stop):what>")
    @Operation(
        "Cancel all jobs that wait, or stop those that run too: all, or all that match, that were there at `seen_at`.",
        {202: REPORT},
        body=only(**_BODY, state=or_null({"enum": [*STATES], "type": "string"})),
        refusals=(409, 502),
    )
    def change_jobs(what: str) -> ResponseReturnValue:
        return _change(every, "jobs", what)

    @routes.post("/dead/all/<any(retry, drop):what>")
    @Operation(
        "Queue dead letters again, or forget them: all, or all that match, that were there at `seen_at`.",
        {202: REPORT},
        body=only(**_BODY),
        refusals=(409, 502),
    )
    def change_dead(what: str) -> ResponseReturnValue:
        return _change(every, "dead", what)

    @routes.get("/changes")
    @Operation("The last changes of many jobs, the newest first.", {200: record(changes=list_of(REPORT))})
    def changes() -> ResponseReturnValue:
        return jsonify(changes=every.changes.reports())

    @routes.get("/changes/<name>")
    @Operation(
        "How far a change of many jobs has come; with `follow` a line of JSON at each change, until its end.",
        {200: REPORT},
        query={"follow": PRESENT},
        refusals=(404,),
    )
    def show(name: str) -> ResponseReturnValue:
        return followed(_One(every.changes, name), "")

    return routes


def _count(every: AllThatMatch, family: str) -> ResponseReturnValue:
    given: dict[str, Any] = dict(request.args)
    for number in ("older", "since", "until", "seen_at"):
        if number in given:
            given[number] = float(given[number])
    matching = _matching(family, given)
    counts = every.count(matching)
    by_state = counts.by_state if family == "jobs" else {}
    total = sum(counts.by_state.values())
    return jsonify({**by_state, "count": total, "seen_at": matching.seen_at, "missing": counts.missing})


def _change(every: AllThatMatch, family: str, what: str) -> ResponseReturnValue:
    body = json_body()
    return jsonify(every.begin(what, _matching(family, body), count_of(body, "expected")).report()), 202


def _matching(family: str, given: Mapping[str, Any]) -> Matching:
    """The jobs that are meant. What is still to come is not: a moment in the future is now.

    Raises:
        ManagerError: a condition has another form.
    """
    state, seen_at, now = given.get("state"), given.get("seen_at"), time.time()
    if state is not None and state not in STATES:
        raise ManagerError(f"state: one of {', '.join(STATES)} is expected")
    if seen_at is None:
        seen_at = now
    elif not is_seconds(seen_at):
        raise ManagerError(f"seen_at: Unix seconds are expected, not {seen_at!r}")
    return Matching(family, tuple(chosen_by(given)), min(float(seen_at), now), state or "")
