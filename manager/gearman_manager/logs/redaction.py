"""Leaves out of the log what is not to be shown: of the manager's own lines, its workers', and its job servers'."""

from __future__ import annotations

import logging
from typing import Final

from gearman_manager.privacy import Privacy

_PLAIN: Final = logging.Formatter()
#: The mark of a record whose text is clean.
IS_CLEAN: Final = {"is_clean": True}


class Redaction(logging.Filter):
    """A filter of the log's handlers; the first that a record meets does the work."""

    def __init__(self) -> None:
        super().__init__()
        #: Lines belong to no function, so the rules of all functions hold for each.
        self.privacy = Privacy()

    def text(self, text: str) -> str:
        """A text without what is not to be shown."""
        return self.privacy.of_all.text(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record; it is never dropped."""
        if self.privacy.of_all.hides and not hasattr(record, "is_clean"):
            try:
                text = record.getMessage()
            except Exception:  # noqa: BLE001 (a call that does not fit its message: the handler tells of it)
                return True
            if record.exc_info:
                text += "\n" + _PLAIN.formatException(record.exc_info)
            record.msg, record.args, record.exc_info, record.is_clean = self.text(text), (), None, True
        return True


#: The one of this process.
REDACTION: Final = Redaction()
