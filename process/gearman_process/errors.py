"""What this package raises. `ProcessError` is the base; server and manager translate it into errors of their own."""

from __future__ import annotations


class ProcessError(Exception):
    """Base of the package's own errors; the text is one line that says what would be right."""


class UnitError(ProcessError, ValueError):
    """A duration, a size or a rate can't be understood; the text says what is allowed."""


class UnitMissing(UnitError):
    """A number is only clear with its unit."""


class PidFileError(ProcessError):
    """A pid file can't be written, or belongs to a process that lives."""


class SocketError(ProcessError):
    """What the service manager handed over is no listening stream socket."""
