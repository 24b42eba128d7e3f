"""A job that comes with options of its own (JOB_ASSIGN_WITH), as far as they concern its worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gearman_client.errors import ProtocolError
from gearman_client.job_pairs import HEADER_PREFIX, MAX_PRIORITY
from gearman_client.text import to_text
from gearman_client.worker.checkpoints import Progress
from gearman_client.worker.job_link import JobLink
from gearman_client.worker.worker_job import WorkerJob

#: The most digits of a number; the server's bounds are lower.
_MAX_DIGITS: Final = 15


class JobWithOptions(WorkerJob):
    """A job with something to tell. Keys that this version does not know are passed over.

    Raises:
        ProtocolError: a value is none of its key.
    """

    __slots__ = ("_pairs", "_priority", "timeout_s")

    def __init__(
        self,
        pairs: Sequence[tuple[bytes, bytes]],
        link: JobLink,
        handle: bytes,
        function: str,
        unique: bytes,
        workload: bytes,
    ) -> None:
        super().__init__(link, handle, function, unique, workload)
        self._pairs = pairs
        cursor = self._value(b"cursor")
        if cursor is not None:
            self.progress = Progress(cursor)
        timeout, priority = self._value(b"timeout"), self._value(b"priority")
        self.timeout_s = None if timeout is None else whole_number(timeout, "timeout") / 1000
        self._priority = None if priority is None else whole_number(priority, "priority", MAX_PRIORITY)

    @property
    def headers(self) -> Mapping[str, str]:
        start = len(HEADER_PREFIX)
        return {to_text(key[start:]): to_text(value) for key, value in self._pairs if key.startswith(HEADER_PREFIX)}

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(to_text(value) for key, value in self._pairs if key == b"tag")

    @property
    def batch(self) -> str:
        return to_text(self._value(b"batch") or b"")

    @property
    def key(self) -> str:
        return to_text(self._value(b"key") or b"")

    @property
    def priority(self) -> int | None:
        return self._priority

    def _value(self, key: bytes) -> bytes | None:
        return next((value for each, value in self._pairs if each == key), None)


def whole_number(value: bytes, what: str, most: int = 10**_MAX_DIGITS) -> int:
    """A number of an assignment; `what` names it in the error.

    Raises:
        ProtocolError: it is none.
    """
    if not value.isdigit() or len(value) > _MAX_DIGITS or int(value) > most:
        raise ProtocolError(f"the {what} of an assigned job is not a number")
    return int(value)
