"""Why a job that has ended can't be run again as it was. One answer for the count, the boxes, the page and the change.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from gearman_manager.finished.private_attempts import shown_row
from gearman_manager.privacy import MARK, Privacy

#: Stands for bytes of a name that are no UTF-8: with it the name would be another one.
_NO_CHARACTER: Final = "\ufffd"


class Obstacle(StrEnum):
    """In words that follow `it can't be run again:`."""

    NOT_OVER = "it is not over"
    PRIVATE_WORKLOAD = "its workload, or a part of it, is private"
    CUT = "only the beginning of its workload is kept"
    PRIVATE_UNIQUE = "its unique key, or a part of it, is private"
    NO_TEXT = "its function or its unique key is no UTF-8 text"


def workload_obstacle(row: Mapping[str, Any]) -> Obstacle | None:
    """Why the workload of an end, as it may be shown, is not that of the job; None: it is."""
    if row["is_whole"]:
        return None
    is_private = MARK in row["workload"] or (not row["workload"] and row["workload_bytes"])
    return Obstacle.PRIVATE_WORKLOAD if is_private else Obstacle.CUT


def obstacle(row: Mapping[str, Any]) -> Obstacle | None:
    """Why a job can't be run again by an end of it, as that may be shown; None: it can."""
    if row["follows"] == "retry":
        return Obstacle.NOT_OVER
    found = workload_obstacle(row)
    if found is None and MARK in row["unique"]:
        return Obstacle.PRIVATE_UNIQUE
    if found is None and _NO_CHARACTER in row["function"] + row["unique"]:
        return Obstacle.NO_TEXT
    return found


def obstacle_of_job(attempts: Sequence[Mapping[str, Any]]) -> Obstacle | None:
    """The same of a job, by all ends of it that are kept, of which there is one at least: any will do."""
    if attempts[-1]["follows"] == "retry":
        return Obstacle.NOT_OVER
    found = [obstacle(row) for row in attempts]
    return None if None in found else found[-1]


def can_run(
    privacy: Privacy, function: str, workload: str, workload_bytes: int, unique: str, is_whole: object, /
) -> bool:
    """Whether a job that is over can be run again by a row of the file, under the rules of now."""
    row = {"function": function, "workload": workload, "workload_bytes": workload_bytes, "unique": unique}
    return obstacle(shown_row({**row, "is_whole": bool(is_whole), "follows": "", "tags": ()}, privacy)) is None
