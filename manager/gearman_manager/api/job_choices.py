"""The jobs that a request means: their handles, or conditions that select them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import NAME, SECONDS, Schema, list_of, or_null
from gearman_manager.api.pages import PAGING, cursor_of, position_of
from gearman_manager.control.server_jobs import ServerJobs, conditions_of
from gearman_manager.errors import ManagerError

#: The conditions that have texts: those of each change by the job server's own commands, and all.
NAMES: Final = ("function", "tag", "key")
TEXTS: Final = (*NAMES, "unique", "text")
#: The conditions that have moments or ages, in seconds.
_TIMES: Final = ("older", "since", "until")
#: Characters of a text that is looked for.
MOST_TEXT: Final = 200
_WANTED: Final[Schema] = {
    **NAME,
    "maxLength": MOST_TEXT,
    "description": "a part of the workload, or of the last failure's error or traceback, as far as these are shown",
}
_SINCE: Final[Schema] = {
    **SECONDS,
    "description": "those that were submitted, or that died, at this time or later, in seconds since 1970",
}
_UNTIL: Final[Schema] = {**SECONDS, "description": "those that were submitted, or that died, at this time or earlier"}
#: The states of jobs.
STATES: Final = ("waiting", "delayed", "running", "stopping", "cancelled", "ended")
#: In a query.
SELECTION: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(TEXTS, NAME),
    "text": _WANTED,
    "older": SECONDS,
    "since": _SINCE,
    "until": _UNTIL,
}
CONDITIONS: Final[Mapping[str, Schema]] = {**SELECTION, **PAGING}
_HANDLE: Final = "[!-<>-~]{1,64}"
HANDLES: Final[Schema] = {**list_of({"type": "string", "pattern": f"^{_HANDLE}$"}), "minItems": 1}
#: In a body: of a change by the job server's own commands, and of one of all that match.
CHOICE: Final[Mapping[str, Schema]] = {**dict.fromkeys(NAMES, or_null(NAME)), "older": or_null(SECONDS)}
WIDE_CHOICE: Final[Mapping[str, Schema]] = {name: or_null(schema) for name, schema in SELECTION.items()}


def page(jobs: ServerJobs, family: str) -> ResponseReturnValue:
    """The page of a list for which the request asks."""
    conditions = {name: value for name, value in request.args.items() if name != "cursor"}
    position = position_of(request.args.get("cursor"), "server", "after")
    found = jobs.page(family, {**conditions, **position})
    return jsonify(found | {"next": cursor_of(found["next"])})


def handles_of(body: Mapping[str, Any]) -> list[str]:
    """The handles in a body.

    Raises:
        ManagerError: there is none, or something else.
    """
    handles = body.get("handles")
    if not isinstance(handles, list) or not handles or not all(_is_handle(handle) for handle in handles):
        raise ManagerError("handles: a list of job handles is expected")
    return handles


def chosen_by(body: Mapping[str, Any]) -> list[str]:
    """The conditions in a body, as words of a text command.

    Raises:
        ManagerError: one has another form.
    """
    given = {name: body[name] for name in (*TEXTS, *_TIMES) if body.get(name) is not None}
    for name, value in given.items():
        if name in TEXTS and (not isinstance(value, str) or not value):
            raise ManagerError(f"{name}: text is expected, not {value!r}")
        if name in _TIMES and not is_seconds(value):
            raise ManagerError(f"{name}: a number of seconds from 0 up is expected, not {value!r}")
    if len(given.get("text", "")) > MOST_TEXT:
        raise ManagerError(f"text: at most {MOST_TEXT} characters are looked for")
    return conditions_of(given)


def _is_handle(handle: object) -> bool:
    return isinstance(handle, str) and re.fullmatch(_HANDLE, handle) is not None


def is_seconds(value: object) -> bool:
    """Whether it is a number from 0 up."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0
