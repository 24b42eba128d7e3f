"""Puts the rules for keys, and the holds that workers ask for, into functions, and takes them out again. Pure.

A function gets queues by key when its policy says something of keys, or when one of its keys is held for the first
time. A long queue is sorted into them in steps, while jobs are taken from it. Queues by key for which there is no
reason any more become plain ones once they are empty; until then they keep the jobs in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.function import JobQueue
from gearman_server.jobs.policies import KeyPolicy
from gearman_server.jobs.throttle import Throttle, Wish
from gearman_server.keys.key_table import KeyTable
from gearman_server.keys.key_throttle import KeyThrottle
from gearman_server.keys.keyed_queue import KeyedQueue

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda, Alarm
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp

_NO_RULES: Final = KeyPolicy()
#: How often a function is looked at that has queues by key for no reason any more.
_LOOK_S: Final = 1.0


class KeyRules:
    """Arranges functions by their rules for keys."""

    def __init__(self, functions: Functions, sessions: Collection[Session], wake_up: WakeUp, agenda: Agenda) -> None:
        self._sessions = sessions
        self._wake_up = wake_up
        self._agenda = agenda
        functions.arrange = self.arrange
        #: Functions that a worker asked to hold, or a key of them, or that have queues by key for no reason.
        self._watched: dict[Function, Alarm] = {}

    def arrange(self, function: Function) -> None:
        """Have the function follow what its policy says of keys; it has just got that policy."""
        rules, table = function.policy.keys, table_of(function)
        if table is None:
            if rules is None:
                return
            table = self._begin(function, rules)
        elif (rules or _NO_RULES) != table.rules:
            steps = table.use(rules or _NO_RULES, partial(running_jobs, self._sessions, function))
            self._agenda.chores.start(self._and_wake(function, steps))
            if rules is None:
                self._watch(function, self._agenda.now + _LOOK_S)
        self._use_throttle(function, table)

    def hold_key(self, job: Job, hold_s: float) -> None:
        """Start no job with this job's key for so many seconds."""
        until = self._agenda.now + hold_s
        function = job.function
        table = table_of(function) or self._begin(function, _NO_RULES)
        table.hold(job.key, until)
        self._use_throttle(function, table)
        self._watch(function, until)

    def hold_function(self, function: Function, hold_s: float) -> None:
        """Start no job of the function for so many seconds."""
        until = self._agenda.now + hold_s
        throttle = function.throttle
        if throttle is None:
            throttle = function.throttle = Throttle(function.policy, None)
        throttle.held_until = max(throttle.held_until, until)
        before, unix_now = throttle.wished(self._agenda.now), self._agenda.unix_time()
        if before is None:
            throttle.wish = Wish(until, unix_now, unix_now + hold_s)
        elif before.until < until:
            throttle.wish = Wish(until, before.since_unix, unix_now + hold_s)
        self._watch(function, until)

    def _begin(self, function: Function, rules: KeyPolicy) -> KeyTable:
        """Give the function queues by key."""
        table = KeyTable(rules, self._agenda, partial(self._wake_up.wake_for_waiting, function))
        if any(queue.is_lapsed for queue in function.queues):
            function.hold_until(float("inf"))  # queues by key can't withhold durable jobs alone
        high, normal, low = (
            KeyedQueue(table, priority, queue.as_regained()) for priority, queue in enumerate(function.queues)
        )
        function.queues = (high, normal, low)
        table.queues = [high, normal, low]
        if rules.max_running is not None:
            for job in running_jobs(self._sessions, function):
                table.count_running(job)
        table.start_sorting()
        return table

    def _use_throttle(self, function: Function, table: KeyTable) -> None:
        throttle = function.throttle
        if table.is_limited and not isinstance(throttle, KeyThrottle):
            function.throttle = KeyThrottle(table, function.policy, throttle)

    def _and_wake(self, function: Function, steps: Iterator[None]) -> Iterator[None]:
        for _ in steps:
            self._wake_up.wake_for_waiting(function)
            yield
        self._wake_up.wake_for_waiting(function)

    # --- the end of holds

    def _watch(self, function: Function, at: float) -> None:
        alarm = self._watched.get(function)
        if alarm is None:
            alarm = self._watched[function] = self._agenda.alarm(partial(self._look, function))
        alarm.by(at)

    def _look(self, function: Function, now: float) -> None:
        """Take away what the function no longer needs."""
        policy, table, throttle = function.policy, table_of(function), function.throttle
        is_held = throttle is not None and throttle.held_until > now
        if throttle is not None and not is_held:
            throttle.held_until = 0.0
        if table is not None:
            table.advance()
            table.is_limited = table.rules.is_limited or bool(table.held)
        if table is None or not table.is_limited:
            plain = Throttle(policy, throttle) if isinstance(throttle, KeyThrottle) else throttle
            function.throttle = plain if plain is not None and plain.is_needed else None
        is_needless = table is not None and policy.keys is None and not table.held
        if is_needless and not any(function.queues) and all(queue.is_read for queue in function.queues):
            function.queues = (JobQueue(), JobQueue(), JobQueue())
            is_needless = False
        self._wake_up.wake_for_waiting(function)
        del self._watched[function]
        if is_held and throttle is not None:
            self._watch(function, throttle.held_until)
        if is_needless or (table is not None and table.held):
            self._watch(function, now + _LOOK_S)


def table_of(function: Function) -> KeyTable | None:
    """The keys of the function; None if they mean nothing."""
    queue = function.queues[0]
    return queue.table if isinstance(queue, KeyedQueue) else None


def running_jobs(sessions: Collection[Session], function: Function) -> Iterator[Job]:
    """The function's jobs that workers have."""
    for session in sessions:
        for job in session.assigned.values():
            if job.function is function:
                yield job
