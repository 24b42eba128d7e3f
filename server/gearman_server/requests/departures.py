"""The end of a connection: what its worker ran, and what it waited for, in steps if that is much. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gearman_server.jobs.agenda import STEP

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.agenda import Chores
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.requests.abilities import Abilities


class Departures:
    """Forgets sessions that are gone."""

    def __init__(
        self, life: JobLife, attempts: Attempts, abilities: Abilities, wake_up: WakeUp, chores: Chores
    ) -> None:
        self._life = life
        self._attempts = attempts
        self._abilities = abilities
        self._wake_up = wake_up
        self._chores = chores
        #: Told of each session before its jobs are taken from it.
        self.note_leaving: Callable[[Session], None] = _leave
        #: Whether workers keep the jobs that they run when their connections end: the server ends, and they go on.
        self.keep_jobs = False
        #: Whether a worker kept jobs of which it is not known here which of them it has begun.
        self.are_unsure = False

    def forget(self, session: Session) -> None:
        """Requeue the jobs that it ran, and abandon those that only it waited for. It gets no job from now on."""
        # It must leave the sleepers first, or requeueing would wake it.
        self._wake_up.rouse(session)
        self.note_leaving(session)
        self._chores.start(self._steps(session))

    def _stop_listening(self, session: Session) -> Iterator[None]:
        """Drop the waiting jobs that nobody else wants; running ones go on."""
        listening = session.listening
        while listening:
            for _ in range(min(STEP, len(listening))):
                job = listening.pop()
                self._life.table.forget_listener(job, session)
                if job.is_waiting and not job.is_wanted:
                    self._life.drop(job, "abandoned by its clients")
            if listening:
                yield

    def _steps(self, session: Session) -> Iterator[None]:
        yield from self._stop_listening(session)
        assigned = session.assigned
        if self.keep_jobs:
            held = session.held
            self.are_unsure |= held is not None and not held.is_batch and len(assigned) > 1
            return
        while assigned:
            for _ in range(min(STEP, len(assigned))):
                self._attempts.lose_worker(assigned.popitem()[1], "its worker's connection ended")  # newest first
            if assigned:
                yield
        yield from self._abilities.forget_all(session)


def _leave(_session: Session) -> None:
    """Nobody wants to be told."""
