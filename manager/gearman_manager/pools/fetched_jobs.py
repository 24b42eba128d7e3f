"""The jobs that workers of pools with `prefetch` have fetched and not begun, as the supervisor sees them.

They go back to the job server when the worker is told to leave or is about to be killed, and when another worker has
nothing to do: at once, in the middle of a job too.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from gearman_client import Address
from gearman_client.extensions import key_of_set
from gearman_manager.errors import StartError
from gearman_manager.ipc.claims import ClaimPipe
from gearman_manager.ipc.scoreboard import Scoreboard, SlotView
from gearman_manager.job_servers.job_returns import JobReturns


class WorkersJobs:
    """Those of one worker."""

    def __init__(self, returns: JobReturns, servers: Sequence[Address], prefetch: int, pipe: ClaimPipe) -> None:
        #: The secret by which the job servers know that we may give back this worker's jobs.
        self.key = secrets.token_hex(16)
        self.pipe = pipe
        self._prefetch = prefetch
        self._returns = returns
        self._servers = servers
        self._taken_ns = 0
        returns.begin(servers)

    def give_back(self) -> None:
        """Take all of its jobs that it has not begun, and give them back to their job server."""
        claims = self.pipe.take()
        if claims:
            self._taken_ns = time.monotonic_ns()
        by_set: dict[tuple[int, int], list[bytes]] = {}
        for claim in claims:
            if claim.server < len(self._servers):  # a job can write anything into the pipe
                by_set.setdefault((claim.server, claim.set_number), []).append(claim.handle)
        for (server, set_number), handles in by_set.items():
            self._returns.give_back(self._servers[server], key_of_set(self.key.encode(), set_number), handles)

    def count(self, view: SlotView) -> int:
        """The number of jobs that the worker has fetched and not begun, by its report."""
        # Until it gets to the next job the report has those that we have taken, too.
        return min(view.held, self._prefetch) if view.start_ns > self._taken_ns else 0

    def close(self) -> None:
        """The worker is gone, and its job servers know by themselves."""
        self.pipe.close()
        self._returns.end(self._servers)


class FetchedJobs:
    """Those of all workers."""

    def __init__(self, manager: str, board: Scoreboard) -> None:
        """`manager` is the first part of the workers' client ids."""
        self._board = board
        self._returns = JobReturns(f"gm:{manager}", self._held)
        self._by_client_id: dict[str, WorkersJobs] = {}

    def begin(self, client_id: str, slot: int, servers: Sequence[Address], prefetch: int) -> WorkersJobs:
        """A worker that fetches jobs ahead is about to start; `slot` is its own in the scoreboard.

        Raises:
            StartError: there are too many open files.
        """
        try:
            pipe = ClaimPipe(prefetch, self._board, slot)
        except OSError as error:
            raise StartError(f"can't start a worker: {error.strerror}") from error
        jobs = self._by_client_id[client_id] = WorkersJobs(self._returns, servers, prefetch, pipe)
        return jobs

    def end(self, client_id: str) -> None:
        """A worker is gone."""
        jobs = self._by_client_id.pop(client_id, None)
        if jobs is not None:
            jobs.close()

    def _held(self, client_id: str) -> None:
        """A server has jobs of this worker that an idle one could do."""
        if client_id in self._by_client_id:
            self._by_client_id[client_id].give_back()
