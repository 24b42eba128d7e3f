"""The manager's errors, with the base `ManagerError`. Users see their texts, never their tracebacks."""

from __future__ import annotations

from collections.abc import Mapping


class ManagerError(Exception):
    """The base of the manager's errors; the text names the place and the remedy."""


class NotFound(ManagerError):
    """There is nothing of that name."""


class Unauthorized(ManagerError):
    """Nobody has shown who makes this request."""


class Forbidden(ManagerError):
    """Whoever makes this request may not."""


class NotNow(ManagerError):
    """It makes sense, but can't be done as things are."""


class Unreachable(ManagerError):
    """What would know the answer can't be asked."""


class StartError(ManagerError):
    """The manager can't start: a port, a socket, a folder or a permission stands in the way."""


class ModuleError(ManagerError):
    """A worker module can't be loaded, because of the file and line that the error names.

    `importers` holds the modules that fail because they import that file, with their lines; often there are none.
    """

    def __init__(self, file: str, line: int, message: str, importers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.file = file
        self.line = line
        self.message = message
        self.importers = dict(importers or {})

    @property
    def modules(self) -> list[str]:
        """The files that can't be loaded."""
        return sorted({self.file, *self.importers})


class UnexpectedEvent(ManagerError):
    """A state machine was given an event that its state does not allow."""


class WaitsForItself(ManagerError):
    """A function would wait for a job that only its own pool can run."""


class JobTimeout(BaseException):
    """Raised inside a worker function when its time is up.

    A BaseException, so that an `except Exception` in the function does not swallow it. The function may catch it to
    clean up, and has one second for that.
    """
