"""What is said of the collector: once that it is away, with the reason, and once that it is back."""

from __future__ import annotations

import logging
import threading
from typing import Final

_log = logging.getLogger("otel")
_LIBRARY: Final = "opentelemetry"
_EXPORTERS: Final = "opentelemetry.exporter"


class _FirstWord(logging.Handler):
    """Keeps the first reason that the library gives in an attempt; the further ones only say that it tries again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage().partition("\n")[0].partition(" encountered while")[0]


class Collector:
    """The collector, as the last attempts found it. Metrics and spans are sent by two threads."""

    def __init__(self) -> None:
        self._said = _FirstWord()
        library = logging.getLogger(_LIBRARY)
        library.handlers, library.propagate = [logging.NullHandler()], False
        logging.getLogger(_EXPORTERS).addHandler(self._said)
        self._lock = threading.Lock()
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether the last attempt has failed."""
        return self._is_away

    def note(self, is_taken: bool, what: str) -> None:
        """Note how an attempt to send `what` has ended."""
        with self._lock:
            has_changed, self._is_away = self._is_away == is_taken, not is_taken
            reason, self._said.text = self._said.text, ""
        if not has_changed:
            return
        if is_taken:
            _log.info("the collector takes %s again", what)
        else:
            _log.warning("the collector does not take %s: %s", what, reason or "no reason is known")
