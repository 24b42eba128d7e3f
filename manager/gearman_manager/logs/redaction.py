"""Leaves out of the log what is not to be shown: of the manager's own lines, its workers', and its job servers'."""

from __future__ import annotations

import logging
from typing import Final

from gearman_manager.privacy import Privacy

_PLAIN: Final = logging.Formatter()


class Redaction(logging.Filter):
    """A filter of the log's handlers; the first that a record meets does the work."""

    def __init__(self) -> None:
        super().__init__()
        #: Lines belong to no function, so the rules of all functions hold for each.
        self.privacy = Privacy()

    def text(self, text: str, begin: str = "") -> str:
        """A text without what is not to be shown. If it begins so, that stays."""
        if not begin or not text.startswith(begin):
            return self.privacy.of_all.text(text)
        return begin + self.privacy.of_all.text(text.removeprefix(begin))

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record of ours; it is never dropped. Of our own lines only tracebacks have words of others: in the
        sentences names of pools and functions stand before colons, and rules for keys would take them for keys."""
        if record.exc_info and self.privacy.of_all.hides:
            error = self.text(_PLAIN.formatException(record.exc_info))
            if record.args:  # then the message is a format
                error = error.replace("%", "%%")
            record.msg, record.exc_info = f"{record.msg}\n{error}", None
        return True


#: The one of this process.
REDACTION: Final = Redaction()
