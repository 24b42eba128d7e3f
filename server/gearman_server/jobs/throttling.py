"""Wakes sleeping workers for functions that may not start all their waiting jobs at once. Pure.

Nobody is woken for a job that can't be given out: as many as may be started, when a place or a token becomes free. Of
those that were woken some may not come (they died, or were given another job), so it is looked again a moment later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.throttle import Throttle

#: How long those who were woken have to come for their jobs.
PATIENCE_S: Final = 0.05


class Throttling:
    """Who is woken when, for functions with a throttle."""

    def __init__(self, table: JobTable, agenda: Agenda) -> None:
        self._table = table
        self._agenda = agenda
        #: Functions of which a running job has ended since sleepers were last woken.
        self.freed: set[Function] = set()

    def wake_freed(self) -> None:
        """Wake sleepers for the places that those who had them have not taken again."""
        while self.freed:
            self.wake(self.freed.pop())

    def wake(self, function: Function) -> None:
        """Wake as many of the function's sleepers as there are jobs that may be started, and see to the others."""
        throttle, now = function.throttle, self._table.now
        if throttle is None or not function.sleepers:
            return
        count = min(function.startable(now), len(function.sleepers))
        self._table.wake_up.wake_sleepers(function, count)
        if function.sleepers and function.queued:
            at = now + PATIENCE_S if count else throttle.opens_at(function.running, now)
            if at is not None:
                self._plan_look(function, throttle, at)

    def _plan_look(self, function: Function, throttle: Throttle, at: float) -> None:
        if throttle.look_at is not None and throttle.look_at <= at:
            return
        throttle.look_at = at

        def look(_now: float) -> None:
            if throttle.look_at == at:  # else an earlier one has been planned since
                throttle.look_at = None
                if function.throttle is throttle:
                    self.wake(function)

        self._agenda.add(at, look)
