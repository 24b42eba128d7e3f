"""Reads our children's output from their pipes, and logs it line by line with its pool and pid.

A line of our own Python children that starts with the record mark is a log record (see `child_log`); all other lines
were printed by user code. A line's length is bounded. Each pipe has an event-loop callback, and needs no greenlet.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any, Final

from gearman_manager.ipc.child_log import RECORD_MARK
from gearman_manager.logs.lost_lines import LOST
from gearman_manager.logs.output_budget import WINDOW_S, OutputBudget
from gearman_manager.logs.redaction import REDACTION
from gearman_manager.logs.uncaught import watch_readable

_READ_BYTES: Final = 65536
#: At once, while lines have to be redacted: about two milliseconds.
_READ_TO_REDACT_BYTES: Final = 4096
MAX_LINE_BYTES: Final = 65536
LAST_LINES: Final = 10
#: Characters of each of the last lines.
MAX_REMEMBERED: Final = 1000
#: Reads at the end; a pipe holds 64 KiB.
LAST_READS: Final = 4
_MARK: Final = RECORD_MARK.encode()
_LEVELS: Final = logging.getLevelNamesMapping()

Extra = dict[str, Any]


class ChildOutput:
    """The reading end of one child's output."""

    def __init__(
        self, loop: Any, logger: str, extra: Extra, budget: OutputBudget | None = None, *, logs_json: bool = False
    ) -> None:
        """`logs_json`: every JSON line is a log record, as the bundled server writes them."""
        self._loop = loop
        self._budget = budget or OutputBudget()
        self._account_timer: Any = None
        self._log = logging.getLogger(logger)
        self.extra = extra
        self._starts = (_MARK, b"{") if logs_json else (_MARK,)
        self._pending = b""
        #: With the time (monotonic) at which each was read.
        self._last_lines: list[tuple[float, str]] = []
        self._read_at = 0.0
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        self._watcher: Any = None

    def follow(self, pid: int | None = None) -> None:
        """Log the child's lines from now on, with its pid. What it wrote before that is known waits in the pipe."""
        if pid is not None:
            self.extra["pid"] = pid
        if self._read_end >= 0:
            self._watcher = watch_readable(self._loop, self._read_end, self._readable)

    @property
    def last_lines(self) -> list[str]:
        """The last lines that the child wrote."""
        return [line for _, line in self._last_lines]

    def lines_since(self, moment: float) -> list[str]:
        """Those of the last lines that were read at that time (monotonic) or later."""
        return [line for read_at, line in self._last_lines if read_at >= moment]

    def handed_over(self) -> None:
        """Close our writing end now that the child has it, so that the child's death ends the pipe."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Read what is left, then stop reading."""
        self.handed_over()
        # Not to the end: processes that the child has started may write into the pipe for ever.
        for _ in range(LAST_READS):
            if not self._read_once():
                break
        if self._pending:
            self._line(self._pending)
            self._pending = b""
        self._give_account()
        self._close_read_end()

    def _readable(self) -> None:
        self._budget.begin(time.monotonic())
        is_quick = self._budget.is_spent or not REDACTION.privacy.of_all.hides
        self._read_once(_READ_BYTES if is_quick else _READ_TO_REDACT_BYTES)

    def _read_once(self, most_bytes: int = _READ_BYTES) -> bool:
        """Read once; returns False if there was nothing to read."""
        if self._read_end < 0:
            return False
        try:
            data = os.read(self._read_end, most_bytes)
        except BlockingIOError:
            return False
        if not data:
            self._close_read_end()
            return False
        self._read_at = time.monotonic()
        self._budget.begin(self._read_at)
        if self._budget.is_spent:
            self._drop(data)
        else:
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                self._line(line)
        if len(self._pending) > MAX_LINE_BYTES:
            self._line(self._pending)
            self._pending = b""
        return True

    def _drop(self, data: bytes) -> None:
        """Count whole lines without looking at each; remember the last one, which may be the child's very last."""
        complete, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._pending += rest
            return
        self._count_dropped(complete.count(b"\n") + 1, len(self._pending) + len(complete) + 1)
        self._pending = rest
        self._remember_dropped(complete[complete.rfind(b"\n") + 1 :])

    def _count_dropped(self, lines: int, size_bytes: int) -> None:
        LOST.over_budget += lines
        if self._budget.drop(lines, size_bytes):
            self._account_timer = self._loop.timer(WINDOW_S)
            self._account_timer.start(self._give_account)

    def _give_account(self) -> None:
        """Log how much was dropped; once a second while it goes on."""
        if self._account_timer is not None:
            self._account_timer.stop()
            self._account_timer.close()
            self._account_timer = None
        if account := self._budget.account():
            self._log.warning("%s", account, extra=self.extra)

    def _close_read_end(self) -> None:
        if self._read_end < 0:
            return
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
        os.close(self._read_end)
        self._read_end = -1

    def _line(self, line: bytes) -> None:
        if not self._budget.take(len(line)):
            self._count_dropped(1, len(line) + 1)
            self._remember_dropped(line)
            return
        record = _record(line) if line.startswith(self._starts) else None
        if record is None:
            text = self._redacted(line.decode(errors="backslashreplace").rstrip("\r"))
            self._log.info("%s", text, extra=self.extra)
        else:
            fields = {name: record[name] for name in ("function", "handle") if name in record}
            # A function may have the name of a private key, and then it would take the rest of the line with it.
            begin = f"job {fields['handle']} of {fields['function']}: " if len(fields) == 2 else ""
            text = self._redacted(str(record["message"]), begin)
            level = _LEVELS.get(str(record["level"]), logging.INFO)
            self._log.log(level, "%s", text, extra=self.extra | fields)
        self._remember(text)

    def _redacted(self, text: str, begin: str = "") -> str:
        """A text of the log; the time that it takes is limited as the bytes are."""
        if not REDACTION.privacy.of_all.hides:
            return text
        began = time.thread_time()
        shown = REDACTION.text(text, begin)
        self._budget.charge(time.thread_time() - began)
        return shown

    def _remember_dropped(self, line: bytes) -> None:
        """Keep the begin of a line for which there was no room in the log."""
        self._remember(REDACTION.text(line[:MAX_REMEMBERED].decode(errors="backslashreplace")))

    def _remember(self, text: str) -> None:
        """Keep the last lines, also of a single record: a process's reason for ending is the end of its traceback."""
        lines = [(self._read_at, line[:MAX_REMEMBERED]) for line in text.splitlines()[-LAST_LINES:]]
        self._last_lines = [*self._last_lines, *lines][-LAST_LINES:]


def _record(line: bytes) -> Extra | None:
    """The record in a line that should hold one; None if it holds none."""
    try:
        record = json.loads(line.removeprefix(_MARK))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or "level" not in record or "message" not in record:
        return None
    return record
