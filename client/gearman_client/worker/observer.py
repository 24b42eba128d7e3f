"""The observer, to which a worker reports everything about its connections and the jobs that it runs.

Workers without another have one that writes what happens to the connections to the log. Without a configured log Python
prints the warnings to standard error, so that a worker with a wrong address says so.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearman_client.address import Address

if TYPE_CHECKING:
    from gearman_client.worker.worker_job import WorkerJob


#: A server that stays away is mentioned again after so long, although it is tried every few seconds.
REPEAT_S: Final = 60.0

logger = logging.getLogger("gearman_client.worker")


class WorkerObserver:
    """Override the methods that you need. The worker's own loop calls them: return soon, and raise nothing."""

    def connected(self, address: Address) -> None:
        """The job server answered; the functions are registered with it."""

    def disconnected(self, address: Address, reason: str) -> None:
        """An established connection ended; the worker goes on with the other servers and reconnects."""

    def unreachable(self, address: Address, reason: str) -> None:
        """An attempt to connect failed. Called for each attempt; they are at most the longest back-off apart."""

    def result_lost(self, address: Address, handle: str) -> None:
        """The connection ended before the server confirmed this job's answer; it will probably run the job again."""

    def server_error(self, address: Address, code: str, text: str) -> None:
        """The server sent an ERROR packet, for instance JOB_NOT_FOUND for an answer that came too late."""

    def job_started(self, job: WorkerJob) -> None:
        """`Worker.work` or `Worker.run` calls the callback of this job next."""

    def job_ended(self, job: WorkerJob, failure: BaseException | None) -> None:
        """The callback has returned and the job is answered; `failure` is what it raised."""


class LoggingObserver(WorkerObserver):
    """One line for each event, a line a minute for a server that can't be reached."""

    def __init__(self) -> None:
        self._quiet_until: dict[Address, float] = {}

    def connected(self, address: Address) -> None:
        """As a warning, if there was one that said the opposite."""
        level = logging.INFO if self._quiet_until.pop(address, None) is None else logging.WARNING
        logger.log(level, "registered with the job server %s", address)

    def disconnected(self, address: Address, reason: str) -> None:
        """The reason has the address in it."""
        logger.warning("%s; connecting again", reason)

    def unreachable(self, address: Address, reason: str) -> None:
        """The reason has the address and a remedy in it."""
        now = monotonic()
        if now >= self._quiet_until.get(address, 0.0):
            self._quiet_until[address] = now + REPEAT_S
            logger.warning("%s; trying again", reason)

    def result_lost(self, address: Address, handle: str) -> None:
        """Somebody may wonder why the job runs again."""
        logger.warning("the answer to %s may be lost with its connection to %s", handle, address)

    def server_error(self, address: Address, code: str, text: str) -> None:
        """For instance about an answer that came too late."""
        logger.warning("the job server %s says %s: %s", address, code, text)
