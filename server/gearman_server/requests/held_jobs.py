"""The extension `held-jobs`: a supervisor hears of jobs in a worker's hands for which another worker is idle. Pure.

A worker that has just answered a job will probably get to the next ones soon. So a supervisor is told only once the
worker has ended no job for QUIET_S, or is not through with its set after LONG_S; it takes jobs back with RETURN_JOBS.
As long as nobody is idle, nobody looks.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import JOBS_HELD
from gearman_client.packet import encode_response

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.session import HeldSet, Session
    from gearman_server.jobs.wake_up import WakeUp

#: A worker that has ended no job for so long may hold the jobs behind it for longer.
QUIET_S: Final = 0.01
#: Short jobs may take so long together before an idle worker gets some of them.
LONG_S: Final = 0.03
#: A supervisor is told again of the same worker after this time.
REPEAT_S: Final = 0.02


class HeldJobs:
    """The supervisors that want to hear, and the workers that hold jobs."""

    def __init__(self, wake_up: WakeUp, agenda: Agenda, touched: set[Session]) -> None:
        self._wake_up = wake_up
        self._agenda = agenda
        self._touched = touched
        self._subscribers: set[Session] = set()
        #: Workers that were given several jobs to run one after the other. Some may have answered all of them.
        self._holders: dict[Session, HeldSet] = {}
        #: Workers whose jobs a supervisor has given back, and that have not asked for others since.
        self.robbed: set[Session] = set()
        self._alarm = agenda.alarm(self._look)

    def subscribe(self, session: Session) -> None:
        """Tell this supervisor from now on."""
        self._subscribers.add(session)
        self._alarm.by(self._agenda.now)

    def forget(self, session: Session) -> None:
        """Forget a session that is gone."""
        self._subscribers.discard(session)
        self._holders.pop(session, None)
        self.robbed.discard(session)

    def note_holder(self, worker: Session, held: HeldSet, now: float) -> None:
        """This worker was given several jobs."""
        self._holders[worker] = held
        if self._subscribers:
            self._alarm.by(now + QUIET_S)

    def note_sleeper(self, now: float) -> None:
        """Some worker has found nothing to do."""
        if self._holders and self._subscribers:
            self._alarm.by(now)

    def _look(self, now: float) -> None:
        """Tell of workers that have been quiet for long, and plan the next look for those that may become so."""
        next_due = inf
        for worker, held in list(self._holders.items()):
            if len(worker.assigned) < 2 or held.is_batch:
                del self._holders[worker]
                continue
            due = min(max(held.given_at, worker.done_at) + QUIET_S, held.given_at + LONG_S)
            if due <= now:
                supervisors, counts = self._supervisors_of(worker), self._wanted(worker)
                if not supervisors or not counts:
                    continue  # the next worker that finds nothing to do, or supervisor that comes, starts a look
                due = max(due, held.told_at + REPEAT_S)
                if due <= now:
                    self._tell(supervisors, worker, counts)
                    held.told_at, due = now, now + REPEAT_S
            next_due = min(next_due, due)
        if next_due < inf:
            self._alarm.by(next_due)

    def _wanted(self, worker: Session) -> Counter[Function]:
        """The jobs behind the one that runs, by function, as far as an idle worker could do them."""
        waiting = Counter(job.function for job in islice(worker.assigned.values(), 1, None))
        return Counter({function: n for function, n in waiting.items() if self._wake_up.has_sleepers(function)})

    def _supervisors_of(self, worker: Session) -> list[Session]:
        return [session for session in self._subscribers if worker.client_id.startswith(session.client_id + b"/")]

    def _tell(self, supervisors: list[Session], worker: Session, counts: Counter[Function]) -> None:
        for function, count in counts.items():
            packet = encode_response(JOBS_HELD, worker.client_id, function.name, b"%d" % count)
            for session in supervisors:
                session.reply(packet)
        self._touched.update(supervisors)
