"""How attempts ended, without what is not to be shown: so neither the file nor anybody who is told has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.privacy import Privacy

#: The texts of a row that may hold something of the workload.
_TEXTS: Final = ("error", "traceback", "unique", "progress")


def shown_attempt(attempt: FinishedAttempt, privacy: Privacy) -> FinishedAttempt:
    """The attempt as it may be kept. Of a private workload only its size is left."""
    rules = privacy.of(attempt.function)
    if not rules.hides:
        return attempt
    workload = attempt.workload
    shown = rules.workload(workload) or ""
    return replace(
        attempt,
        workload=shown,
        is_whole=attempt.is_whole and shown == workload,
        result=rules.workload(attempt.result) or "",
        error=rules.text(attempt.error, workload),
        traceback=rules.text(attempt.traceback, workload),
        unique=rules.text(attempt.unique, workload),
        progress=rules.text(attempt.progress, workload),
        tags=tuple(rules.text(tag, workload) for tag in attempt.tags),
    )


def shows_text(privacy: Privacy, looked_for: str, function: str, workload: str, error: str, traceback: str, /) -> bool:
    """Whether a text stands in what may be shown of a row in which it was found. Else a search, letter by letter, would
    tell what is private."""
    rules = privacy.of(function)
    return not rules.hides or rules.shows(looked_for, workload, error, traceback)


def shown_row(row: Mapping[str, Any], privacy: Privacy) -> dict[str, Any]:
    """A row of the file as it may be shown now: it may have been kept before the rules were made. Some texts may not be
    in it."""
    rules = privacy.of(row["function"])
    if not rules.hides:
        return dict(row)
    workload = row["workload"]
    shown = {name: rules.text(row[name], workload) for name in _TEXTS if name in row}
    shown |= {name: rules.workload(row[name]) or "" for name in ("workload", "result") if name in row}
    is_whole = row["is_whole"] and shown["workload"] == workload
    return {**row, **shown, "is_whole": is_whole, "tags": [rules.text(tag, workload) for tag in row["tags"]]}
