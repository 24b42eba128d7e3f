"""What the search forms for jobs and failed jobs ask for, and what that means to the job servers; the jobs that a
form has chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from werkzeug.datastructures import MultiDict

from gearman_manager.errors import ManagerError
from gearman_manager.finished.keeper import MOST_TEXT

#: How far a search goes back, by its words: seconds.
WITHIN_S: Final[Mapping[str, int]] = {"15 min": 900, "1 h": 3600, "24 h": 86400, "7 d": 7 * 86400}
#: Handles of one form.
MOST_HANDLES: Final = 1000
#: No word that a text command takes for a condition, or for all jobs.
_HANDLE: Final = re.compile(r"[^\s=]+:\d+")
STATES: Final = ("waiting", "delayed", "running", "stopping")
_OF_ALL: Final = ("function", "tag", "key", "unique", "text", "within")
#: The conditions of each list.
CONDITIONS: Final = {"jobs": (*_OF_ALL, "state"), "dead": _OF_ALL}


def conditions(family: str, given: Mapping[str, str]) -> dict[str, str]:
    """The conditions of a list in a query or a form.

    Raises:
        ManagerError: there is no such state or time, or too long a text is looked for.
    """
    chosen = {name: value for name in CONDITIONS[family] if (value := given.get(name, "").strip())}
    if chosen.get("state", STATES[0]) not in STATES:
        raise ManagerError(f"state: one of {', '.join(STATES)} is expected")
    check_search(chosen)
    return chosen


def check_search(chosen: Mapping[str, str]) -> None:
    """Refuse a time or a text that no list takes.

    Raises:
        ManagerError: there is no such time, or too long a text is looked for.
    """
    if chosen.get("within", "1 h") not in WITHIN_S:
        raise ManagerError(f"within: one of {', '.join(WITHIN_S)} is expected")
    if len(chosen.get("text", "")) > MOST_TEXT:
        raise ManagerError(f"text: at most {MOST_TEXT} characters are looked for")


def asked(chosen: Mapping[str, str], seen_at: float) -> dict[str, str]:
    """What the job servers are asked for by one who looks at that moment (Unix seconds)."""
    words = {name: value for name, value in chosen.items() if name != "within"}
    if "within" in chosen:
        words["since"] = f"{max(0.0, seen_at - WITHIN_S[chosen['within']]):.6f}"
    return words


def chosen_handles(form: MultiDict[str, str]) -> list[str]:
    """The handles that a form has brought: as many as it may."""
    return [handle for handle in form.getlist("handle") if _HANDLE.fullmatch(handle)][:MOST_HANDLES]
