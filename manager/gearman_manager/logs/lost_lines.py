"""Counts the log lines that are lost, since the process began and over all changes of the log's destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class LostLines:
    """The counters. They never fall."""

    unwritten: int = 0  #: the destination did not take them: a full disk, a reader that is too slow
    over_budget: int = 0  #: of children that wrote more than `log.max_output`


#: Of this process, which has one log.
LOST: Final = LostLines()
