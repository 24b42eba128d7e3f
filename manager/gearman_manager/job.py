"""The job that a worker function receives: the submitted data, and methods to report back while it runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from gearman_client import WorkerJob
from gearman_client.text import to_body
from gearman_client.typed_json.free_result import MAX_RESULT_BYTES
from gearman_client.worker.checkpoints import EVERY_S, Items, Series
from gearman_manager.job_client import own_clients
from gearman_manager.verdict import seconds_of

if TYPE_CHECKING:
    from gearman_client import AsyncClient, Client

NOTHING_INTERRUPTS: Final = nullcontext()

Item = TypeVar("Item")
#: The foreign job servers that the log has named, because they keep no checkpoints.
_warned: Final[set[str]] = set()


class Job:
    """One call of a function.

    Attributes:
        settings: the `settings` of the function in the configuration.
    """

    #: Tells the annotation of a task's parameter that gets the job.
    is_gearman_job: ClassVar = True

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

    @property
    def headers(self) -> Mapping[str, str]:
        """The names and values that the client gave the job for its function, such as `traceparent`."""
        return self._assigned.headers

    @property
    def tags(self) -> tuple[str, ...]:
        """The short texts by which the job can be found at the server."""
        return self._assigned.tags

    @property
    def batch(self) -> str:
        """The id of the batch of jobs that it is part of, or empty text. While that is open, the job can add others:
        `job.client.submit_background(…, batch=job.batch)`."""
        return self._assigned.batch

    @property
    def key(self) -> str:
        """What limits and fairness within the function go by: a customer, a domain; or empty text."""
        return self._assigned.key

    @property
    def priority(self) -> int | None:
        """From 0 to 9, the most urgent; None: the client gave none as an option."""
        return self._assigned.priority

    @property
    def client(self) -> Client[Any, Any]:
        """A client of the manager's job servers, for further jobs. Function names get the manager's prefix.

        It is one for the whole process; threads and greenlets may share it. A call that names no time waits ten minutes
        at most. To wait for a function of one's own pool is refused (WaitsForItself).
        """
        return own_clients().client()

    @property
    def async_client(self) -> AsyncClient[Any, Any]:
        """As `client`, for async functions: `await job.async_client.submit(…)`."""
        return own_clients().async_client()

    def json(self) -> Any:
        """The workload read as JSON.

        Raises:
            ValueError: it is not JSON; the text says where.
        """
        try:
            return json.loads(self.workload)
        except ValueError as error:
            raise ValueError(f"the workload is not JSON: {error}") from error

    @property
    def cursor(self) -> Any:
        """How far the job has come: what the last `checkpoint` was given, in this attempt or an earlier one. None:
        there was none."""
        return self._assigned.cursor

    def checkpoint(self, cursor: Any) -> None:
        """Keep how far the job has come. After a crash, a stop, a new version of the code or a timeout the next attempt
        finds it in `cursor`; so does the retry of a job that had failed for good.

        A foreign job server can't keep it: there every attempt begins anew, as the log says once.

        Raises:
            ValueError: it is no value that JSON can hold, or has more than 64 KiB as JSON.
        """
        with self._uninterrupted:
            is_kept = self._assigned.checkpoint(cursor)
        if not is_kept:
            _warn_once(self)

    def iterate(
        self,
        items: Items[Item],
        *,
        cursor: Callable[[Item], Any] | None = None,
        every: str | float | timedelta = EVERY_S,
    ) -> Series[Item]:
        """The items from `cursor` on, with a checkpoint behind each: `for item in job.iterate(items)`, or `async for`.

        When the worker has to leave (a stop, new code, a smaller pool) the attempt ends in front of the next item, and
        the job goes back to the head of its queue and on from there: it has lost no attempt, and nobody hears of a
        failure. A function can use it once for each job.

        Args:
            items: their number is the cursor, so they have to be the same in each attempt. Or a function that is given
                the cursor (None at first) and returns the items behind it.
            cursor: makes the cursor of an item, where a number will not do. Then `items` begin behind `job.cursor`.
            every: after a crash, items of this time at most are repeated: "1s", seconds, or a timedelta. 0: only the
                one in hand.

        Raises:
            ValueError: an argument can't be understood, or the cursor of an earlier attempt is no number of items.
        """
        return self._assigned.iterate(items, cursor=cursor, every=seconds_of(every), uninterrupted=self._uninterrupted)

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


def _warn_once(job: Job) -> None:
    server = str(job._assigned.server)
    if server not in _warned:
        _warned.add(server)
        job.log.warning("%s is no job server of ours, or an old one, and keeps no checkpoints", server)
