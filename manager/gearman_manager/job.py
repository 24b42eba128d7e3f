"""The job that a worker function receives: the submitted data, and methods to report back while it runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from gearman_client import WorkerJob
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_body

#: A job server takes no longer packet: it would close the connection, and have the job run again and again.
MAX_RESULT_BYTES: Final = DEFAULT_MAX_BODY_BYTES - 1024
NOTHING_INTERRUPTS: Final = nullcontext()


class Job:
    """One call of a function.

    Attributes:
        settings: the `settings` of the function in the configuration.
    """

    __slots__ = ("_assigned", "_log", "_uninterrupted", "settings")

    def __init__(
        self,
        assigned: WorkerJob,
        settings: Mapping[str, Any],
        log: logging.Logger,
        uninterrupted: AbstractContextManager[None] = NOTHING_INTERRUPTS,
    ) -> None:
        self._assigned = assigned
        self._uninterrupted = uninterrupted  # inside it no time limit cuts a packet in two
        self.settings = settings
        self._log: logging.Logger | logging.LoggerAdapter[logging.Logger] = log

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the function and the handle; made at its first use."""
        if not isinstance(self._log, logging.LoggerAdapter):
            self._log = logging.LoggerAdapter(self._log, {"function": self.function, "handle": self.handle})
        return self._log

    @property
    def workload(self) -> bytes:
        """The bytes that the client submitted."""
        return self._assigned.workload

    @property
    def handle(self) -> str:
        """The job server's name for this job."""
        return self._assigned.handle

    @property
    def unique(self) -> str:
        """The client's unique key, or empty text."""
        return self._assigned.unique

    @property
    def function(self) -> str:
        """The name under which the function is registered, with the prefix."""
        return self._assigned.function

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1. With a foreign job server, which does not tell it, always 1."""
        return self._assigned.attempt or 1

    def json(self) -> Any:
        """The workload read as JSON.

        Raises:
            ValueError: it is not JSON; the text says where.
        """
        try:
            return json.loads(self.workload)
        except ValueError as error:
            raise ValueError(f"the workload is not JSON: {error}") from error

    def status(self, numerator: int, denominator: int) -> None:
        """Report progress: `numerator` of `denominator` done (WORK_STATUS)."""
        with self._uninterrupted:
            self._assigned.status(numerator, denominator)

    def data(self, data: bytes | str) -> None:
        """Send a piece of the result before the end (WORK_DATA).

        Raises:
            ValueError: it is neither bytes nor text, or longer than a packet may be.
        """
        data = to_body(data)
        if len(data) > MAX_RESULT_BYTES:
            raise ValueError(f"the data has {len(data)} bytes, the limit is {MAX_RESULT_BYTES}: send it in pieces")
        with self._uninterrupted:
            self._assigned.data(data)

    def warning(self, data: bytes | str) -> None:
        """Send a warning to the client (WORK_WARNING); the job goes on."""
        with self._uninterrupted:
            self._assigned.warning(data)
