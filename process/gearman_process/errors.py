"""The package's exceptions. `ProcessError` is the base; server and manager translate it into errors of their own."""

from __future__ import annotations


class ProcessError(Exception):
    """Base of the package's errors; the text is one line that says what would be right."""


class UnitError(ProcessError, ValueError):
    """A duration, a size or a rate can't be understood; the text says what is allowed."""


class UnitMissing(UnitError):
    """A number has no unit, and is unclear without one."""


class PidFileError(ProcessError):
    """A pid file can't be written, or belongs to a living process."""


class SocketError(ProcessError):
    """The service manager handed over something other than a listening stream socket."""
