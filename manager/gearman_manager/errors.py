"""The manager's errors, with the base `ManagerError`. Users see their texts, never their tracebacks."""

from __future__ import annotations


class ManagerError(Exception):
    """The base of the manager's errors; the text names the place and the remedy."""


class StartError(ManagerError):
    """The manager can't start: a port, a socket, a folder or a permission stands in the way."""


class ModuleError(ManagerError):
    """A worker module can't be loaded."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file = file
        self.line = line
        self.message = message


class UnexpectedEvent(ManagerError):
    """A state machine was given an event that its state does not allow."""


class JobTimeout(BaseException):
    """Raised inside a worker function when its time is up.

    A BaseException, so that an `except Exception` in the function does not swallow it. The function may catch it to
    clean up, and has one second for that.
    """
