"""This manager's own summary, made anew at most every two seconds, however many peers and pages ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gearman_manager import __version__
from gearman_manager.control.kept_answer import KeptAnswer
from gearman_manager.peers.summary import Summary, summary_of

LASTS_S: Final = 2.0


class OwnSummary:
    """Makes the summary, and keeps it for a moment."""

    def __init__(
        self, overview: Callable[[], Mapping[str, Any]], facts: Callable[[], Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """`overview` is this manager's, `facts` tells of its job servers, by address."""
        self._overview = overview
        self._facts = facts
        self._kept = KeptAnswer(self._make, LASTS_S)

    def __call__(self) -> Summary:
        """The summary."""
        return self._kept()

    def _make(self) -> Summary:
        return summary_of(self._overview(), __version__, self._facts())
