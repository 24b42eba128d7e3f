"""The observer, to which a worker reports everything about its connections. The default observer does nothing."""

from __future__ import annotations

from gearman_client.address import Address


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
