"""Forms: what they bring, and the answer after them, which is a page again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.control.change_words import LEFT
from gearman_manager.errors import ManagerError

#: What a page says after a form, by the word in its address: fixed texts, since anybody can write an address.
NOTICES: Final[Mapping[str, str]] = {
    "scaled": "The pool has another size, until the next reload.",
    "paused": "The pool is paused: its workers finish their jobs and leave.",
    "resumed": "The pool goes on: its workers start.",
    "restarted": "The workers are replaced, one after the other; each finishes its job.",
    "worker-restarted": "The worker is replaced: it finishes its job first.",
    "reloaded": "Configuration and code are loaded anew.",
    "draining": "The manager drains: it begins no job any more, and ends when the running ones are finished.",
    "function-paused": "No job of the function starts until it is resumed.",
    "function-resumed": "Jobs of the function start again.",
    "submitted": "The job is queued.",
    "cancelled": "Cancelled.",
    "stopped": "The job is being stopped: the function is interrupted, and has some seconds to clean up.",
    "retried": "Queued again.",
    "dropped": "Forgotten.",
    "muted": "The group is muted: it causes no alerts.",
    "unmuted": "The group is no longer muted: it causes alerts again.",
    "schedule-paused": "The schedule is paused: no run of it is due.",
    "schedule-resumed": "The schedule goes on.",
    "triggered": "The schedule's job is queued.",
    "again": "Run again: new jobs are queued.",
    "again-some": f"Some are run again. The others are left: {LEFT['again']}; or the job server has refused them.",
    "again-none": f"None is run again: {LEFT['again']}.",
    "none": "Nothing was changed: it had ended already, or was gone.",
}


def done(path: str, notice: str) -> ResponseReturnValue:
    """The answer after a form: go to this page, which says so. `path` is one that `url_for` has made."""
    return redirect(f"{path}{'&' if '?' in path else '?'}{urlencode({'said': notice})}", 303)


def address_of(endpoint: str, query: Mapping[str, str], **parts: Any) -> str:
    """The address of a page of ours, with these conditions; `parts` are those of its path."""
    address = url_for(f"dashboard.{endpoint}", **parts)
    return f"{address}?{urlencode(query)}" if query else address


def notice() -> str:
    """What the page that is asked for says first; empty: nothing."""
    return NOTICES.get(request.args.get("said", ""), "")


def whole_number(field: str, what: str, most_digits: int = 9) -> int:
    """The whole number in a field of the form, of so many digits at most.

    Raises:
        ManagerError: it is none.
    """
    given = request.form.get(field, "").strip()
    if not (given.isascii() and given.isdecimal()) or len(given) > most_digits:
        raise ManagerError(f"{what}: a whole number is expected")
    return int(given)
