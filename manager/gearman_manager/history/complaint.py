"""A complaint in the log: of failures in a row only the first is told."""

from __future__ import annotations

import logging


class Complaint:
    """One trouble, which comes again and again until it is over. Each trouble has its own: the end of one says nothing
    of another."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._is_made = False

    def make(self, text: str, error: Exception | None = None) -> None:
        """It has failed. If it had not failed before, the text is logged: as a warning, or as an error with the
        traceback of an exception."""
        if not self._is_made:
            self._log.log(logging.ERROR if error else logging.WARNING, "%s", text, exc_info=error)
        self._is_made = True

    def end(self) -> None:
        """It has succeeded: a failure is new again."""
        self._is_made = False
