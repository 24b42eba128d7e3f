"""What a worker tells its owner about the world outside its jobs. The default observer keeps silent."""

from __future__ import annotations

from gearman_client.address import Address


class WorkerObserver:
    """Override what you want to know. Called from the worker's own loop: return soon, and raise nothing."""

    def connected(self, address: Address) -> None:
        """The job server answered; the functions are registered with it."""

    def disconnected(self, address: Address, reason: str) -> None:
        """A connection ended that was up; the worker goes on with the other servers and reconnects."""

    def unreachable(self, address: Address, reason: str) -> None:
        """An attempt to connect failed; called for each, they are at most the longest back-off apart."""

    def result_lost(self, address: Address, handle: str) -> None:
        """The connection ended before the server confirmed this job's answer: it will probably run the job again."""

    def server_error(self, address: Address, code: str, text: str) -> None:
        """The server sent an ERROR packet, for instance JOB_NOT_FOUND for an answer that came too late."""
