"""Running jobs that belong to others since this server was declared dead: their workers have them still. Pure.

The server tells the others that they run, as a supervisor does for its workers (see `orphans`), and hands on what the
workers say of them. Here such a job is known to its worker's connection only, and to clients that wait for it: nobody
here is responsible for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import CHECKPOINT, ORPHAN_GONE, ORPHAN_RUNS, ORPHAN_WORK, WORK_FAILURE
from gearman_client.packet import PacketType, encode_request
from gearman_server.jobs.job import CEDE, END
from gearman_server.jobs.replies import forwarded

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.orphans.orphans import Orphans
    from gearman_server.requests.departures import Departures
    from gearman_server.requests.submissions import Handler

#: What clients that wait hear of the end of a job.
_ENDS: Final = {
    int(PacketType.WORK_COMPLETE): True,
    int(PacketType.WORK_FAIL): True,
    int(PacketType.WORK_EXCEPTION): False,
    WORK_FAILURE: False,
}


class CededJobs:
    """Those of this server."""

    def __init__(self, life: JobLife, orphans: Orphans, handlers: dict[int, Handler], departures: Departures) -> None:
        """`handlers` carry out packets, by type; those about jobs are replaced as long as there are such jobs."""
        self._life = life
        self._orphans = orphans
        self._originals = dict(orphans.work_handlers)
        self._tables = handlers, orphans.work_handlers
        self._departures = departures
        #: Sends packets to the other servers of the cluster.
        self.tell: Callable[[bytes], None] = _nobody
        self._jobs: dict[bytes, Job] = {}

    def cede(self, job: Job) -> None:
        """This running job belongs to others."""
        worker, now = job.worker, self._life.agenda.now
        job.record = None
        following = CEDE.get(job.state)
        if worker is None or following is None:
            return
        job.state = following
        del self._life.jobs[job.handle]
        self._life.table.forget_key(job)
        if not self._jobs:
            self._divert()
        self._jobs[job.handle] = job
        elapsed_ms = b"%d" % round(max(0.0, now - job.since) * 1000)
        self.tell(encode_request(ORPHAN_RUNS, job.handle, worker.client_id, b"%d" % job.attempt, elapsed_ms))
        self._orphans.expect(job, worker)  # this server may adopt it itself

    def forget(self, handle: bytes) -> None:
        """The job comes back as this server's own, if it was ceded. Clients that wait for it hear that it failed, as
        for all jobs that a server gives away."""
        job = self._jobs.get(handle)
        if job is not None:
            self._end(job)

    def _end(self, job: Job, packet: bytes | None = None) -> None:
        """The worker has it no longer. Clients get the packet; without one they hear that it failed."""
        if packet is None:
            self._life.tell_failure(job)
        else:
            self._life.tell(job, packet)
        self._life.release_worker(job)
        job.state = END[job.state]
        self._life.table.forget_listeners(job)
        self._jobs.pop(job.handle, None)
        if not self._jobs:
            for handlers in self._tables:
                handlers.update(self._originals)
            self._departures.note_leaving = _nobody_leaves

    # --- what becomes of them

    def _divert(self) -> None:
        for handlers in self._tables:
            handlers.update({packet_type: partial(self._work, packet_type) for packet_type in self._originals})
        self._departures.note_leaving = self._note_leaving

    def _work(self, packet_type: int, session: Session, body: bytes, now: float) -> None:
        """Hand on the packet of a worker, if it is about such a job."""
        handle = body.partition(b"\0")[0]
        job = self._jobs.get(handle)
        if job is None or job.worker is not session:
            self._originals[packet_type](session, body, now)
            return
        self.tell(encode_request(ORPHAN_WORK, handle, b"%d" % job.attempt, encode_request(packet_type, body)))
        tells_clients = _ENDS.get(packet_type)
        if tells_clients is not None:
            self._orphans.expect(job, session, encode_request(packet_type, body))
            self._end(job, forwarded(packet_type, body) if tells_clients else None)
        elif packet_type != CHECKPOINT:
            self._life.tell(job, forwarded(packet_type, body))

    def _note_leaving(self, session: Session) -> None:
        for job in [job for job in session.assigned.values() if self._jobs.get(job.handle) is job]:
            self.tell(encode_request(ORPHAN_GONE, job.handle, session.client_id))
            self._orphans.expect_no_more(job)
            self._end(job)


def _nobody(_packet: bytes) -> None:
    """There are no other servers."""


def _nobody_leaves(_session: Session) -> None:
    """No job of the connection matters to others."""
