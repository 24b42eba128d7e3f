"""How attempts ended, without what is not to be shown: so neither the file nor anybody who is told has it. Pure."""

from __future__ import annotations

from dataclasses import replace

from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.privacy import Privacy


def shown_attempt(attempt: FinishedAttempt, privacy: Privacy) -> FinishedAttempt:
    """The attempt as it may be kept. Of a private workload only its size is left."""
    rules = privacy.of(attempt.function)
    if not rules.hides:
        return attempt
    workload = attempt.workload
    return replace(
        attempt,
        workload=rules.workload(workload) or "",
        result=rules.workload(attempt.result) or "",
        error=rules.text(attempt.error, workload),
        traceback=rules.text(attempt.traceback, workload),
        unique=rules.text(attempt.unique, workload),
        progress=rules.text(attempt.progress, workload),
        tags=tuple(rules.text(tag, workload) for tag in attempt.tags),
    )
