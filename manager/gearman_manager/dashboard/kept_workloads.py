"""The workload of a job that is over, for a form that runs the function again with another one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from gearman_client.text import unescaped
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import NotFound
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.obstacles import Obstacle, workload_obstacle


class KeptWorkload(NamedTuple):
    """What a form can offer."""

    text: str
    #: Why it offers nothing; empty: it does, or the workload is empty.
    obstacle: str


_NONE = KeptWorkload("", "")
_PRIVATE = KeptWorkload(
    "",
    "A part of that job's workload is private, so it is not offered here: write it anew. To run a job that failed for "
    "good again as it was, queue it again on its page.",
)
_CUT = KeptWorkload("", "Of that job's workload only the beginning is kept, so it is not offered here: write it anew.")
_NO_TEXT = KeptWorkload("", "That job's workload is not offered here, since a form would change bytes of it.")


def kept_workload(jobs: ServerJobs, keeper: Keeper, handle: str) -> KeptWorkload:
    """The workload of a job that failed for good, or is over; empty without a handle.

    Raises:
        ManagerError: there is no such job, or it can't be looked for.
    """
    if not handle:
        return _NONE
    try:
        return _of_letter(jobs.show("dead", handle))
    except NotFound:
        attempts = keeper.attempts_of(handle)
        if not attempts:
            raise
        return _of_attempt(next((row for row in attempts if row["is_whole"]), attempts[-1]))


def _of_letter(row: Mapping[str, Any]) -> KeptWorkload:
    if row.get("is_redacted"):
        return _PRIVATE
    content = base64.b64decode(row["workload_base64"])
    return _offered(content) if len(content) == row["bytes"] else _CUT


def _of_attempt(row: Mapping[str, Any]) -> KeptWorkload:
    obstacle = workload_obstacle(row)
    if obstacle is None:
        return _offered(unescaped(row["workload"].encode()))
    return _PRIVATE if obstacle is Obstacle.PRIVATE_WORKLOAD else _CUT


def _offered(content: bytes) -> KeptWorkload:
    text = content.decode(errors="replace")
    is_same = text.encode() == content and not {"\r", "\0"} & {*text}
    return KeptWorkload(text, "") if is_same else _NO_TEXT
