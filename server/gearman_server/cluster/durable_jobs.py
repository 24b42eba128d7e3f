"""The durable jobs of this server as a whole: withheld while its lease is over, and let go once it is fenced. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gearman_server.cluster.lapsed_queue import LapsedQueue
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import WRITTEN

if TYPE_CHECKING:
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.wake_up import WakeUp

#: A function whose jobs are queued by their keys is held as a whole: until then.
_FOR_EVER = float("inf")


class DurableJobs:
    """Withholds them, and gives them out again."""

    def __init__(self, functions: Functions, life: JobLife, wake_up: WakeUp, cede: Callable[[Job], None]) -> None:
        """`cede` leaves a running job to the others."""
        self._functions = functions
        self._life = life
        self._wake_up = wake_up
        self._cede = cede
        self.are_withheld = False

    def withhold(self) -> None:
        """Give none of them out: the others may take them at any moment. Foreground jobs go on."""
        if self.are_withheld:
            return
        self.are_withheld = self._life.durability.has_lapsed = True
        self._functions.split_queue = LapsedQueue
        for function in self._functions.by_name.values():
            if any(queue.is_keyed for queue in function.queues):
                function.hold_until(_FOR_EVER)
            else:
                high, normal, low = map(LapsedQueue, function.queues)
                function.queues = (high, normal, low)

    def give_out(self) -> None:
        """They are ours: give them out again."""
        if not self.are_withheld:
            return
        self.are_withheld = self._life.durability.has_lapsed = False
        self._functions.split_queue = None
        for function in self._functions.by_name.values():
            if any(queue.is_keyed for queue in function.queues):
                wish = None if function.throttle is None else function.throttle.wished(self._life.agenda.now)
                function.hold_until(0.0 if wish is None else wish.until)  # a worker may have wished that it be held
            else:
                high, normal, low = [queue.as_regained() for queue in function.queues]
                function.queues = (high, normal, low)
                self._functions.arrange(function)  # its rules may have changed meanwhile
            self._wake_up.wake_for_waiting(function)

    def let_go(self, when_done: Callable[[], None]) -> None:
        """They belong to others now: forget those that wait, step by step, and cede those that run.

        They have to be withheld. `when_done` is called when none is left.
        """
        self._life.agenda.chores.start(self._let_go(list(self._life.jobs.values()), when_done))

    def _let_go(self, jobs: list[Job], when_done: Callable[[], None]) -> Iterator[None]:
        for at in range(0, len(jobs), STEP):
            for job in jobs[at : at + STEP]:
                if job.record is not WRITTEN:
                    continue  # no row of it was ever committed: it is inserted as ours
                if job.is_waiting:
                    self._life.let_go(job)
                else:
                    self._cede(job)
            yield
        when_done()
