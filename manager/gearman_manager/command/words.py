"""The words of the commands for numbers, times, and texts that others chose. Without rich, so that what prints no table
starts without it.
"""

from __future__ import annotations

import time
from typing import Any

from gearman_process.values.counting import counted


def left_of(drain: dict[str, Any]) -> str:
    """What is left of a drain: `2 jobs and 1 program still run, until 12:01:07`."""
    programs = f" and {counted(drain['programs'], 'program')}" if drain["programs"] else ""
    runs = "still runs" if drain["running"] + drain["programs"] == 1 else "still run"
    until = "" if drain["until"] is None else f", until {clock(drain['until'])}"
    if drain["server"] is not None and drain["server"]["finishing"]:
        several = drain["server"]["instances"] > 1
        return f"the job server{'s finish' if several else ' finishes'} the jobs of other workers{until}"
    return f"{counted(drain['running'], 'job')}{programs} {runs}{until}"


def clock(unix_time: float) -> str:
    """The local time, with its date if it is not today's."""
    at = time.localtime(unix_time)
    day = "" if at[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", at)
    return day + time.strftime("%H:%M:%S", at)


def printed(text: str) -> str:
    """A text that others chose, with control characters escaped, so that it can't move the reader's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
