"""Functions whose jobs some workers want in batches: CAN_DO_MANY, and when a batch is given out. Pure.

A batch is ripe once it is full, or once the job that has waited longest has waited for its `linger`. Until then its
jobs stay in their queue, where any other worker can take them; the workers that want batches sleep, and an alarm wakes
one when the time has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    CAN_DO_MANY,
    CAN_DO_MANY_ARGUMENTS,
    GRAB_MANY_OPTION,
    MAX_JOBS_AT_ONCE,
    MAX_LINGER_MS,
)
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.session import BatchRule

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.session import HeldSet, Session
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.requests.abilities import Abilities
    from gearman_server.requests.submissions import Handler

_NO_RULE: Final = BatchRule(1, 0.0)


class Batches:
    """Says who may be given a batch now, and wakes workers for it."""

    def __init__(self, abilities: Abilities, wake_up: WakeUp, agenda: Agenda) -> None:
        self._abilities = abilities
        self._wake_up = wake_up
        self._agenda = agenda
        wake_up.choose_ripe = self.choose_ripe
        #: When a function is looked at again.
        self._due: dict[Function, float] = {}

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {CAN_DO_MANY: self._can_do_many}

    def _can_do_many(self, session: Session, body: bytes, _now: float) -> None:
        held_of(session)
        arguments = body.split(b"\0")
        if len(arguments) != CAN_DO_MANY_ARGUMENTS:
            raise MalformedPacketError("CAN_DO_MANY takes function, most jobs, and milliseconds")
        name, at_most, linger_ms = arguments
        rule = BatchRule(jobs_of(at_most), min(number_of(linger_ms), MAX_LINGER_MS) / 1000)
        function = self._abilities.register(session, name, None)
        if function is None:
            return
        if function.batches is None:
            function.batches = {}
        function.batches[session] = rule

    def is_ripe(self, worker: Session, function: Function, now: float) -> bool:
        """Whether this worker may be given jobs of the function, which has some in its queue. If not yet, it is woken
        in time."""
        rule = function.batches.get(worker) if function.batches is not None else None
        if rule is None or function.takeable >= rule.at_most:
            return True
        since = function.waiting_since
        if since is not None and since + rule.linger_s <= now:
            return True
        if since is not None:
            self._look_at(function, since + rule.linger_s)
        return False

    def choose_ripe(self, function: Function, sleepers: Iterable[Session], most: int) -> list[Session]:
        """The sleepers to wake for the function's jobs, no more than `most`: those that want batches only for ripe
        ones."""
        now, since, rules = self._agenda.now, function.waiting_since, function.batches or {}
        to_come = sum(rules.get(worker, _NO_RULE).at_most for worker in function.woken)
        waiting, startable = function.takeable - to_come, function.startable(now) - to_come
        chosen: list[Session] = []
        next_due = inf
        for worker in sleepers:
            if startable <= 0 or len(chosen) >= most or since is None:
                break
            rule = rules.get(worker, _NO_RULE)
            if waiting >= rule.at_most or since + rule.linger_s <= now:
                chosen.append(worker)
                waiting -= rule.at_most
                startable -= rule.at_most
            else:
                next_due = min(next_due, since + rule.linger_s)
        if next_due < inf:
            self._look_at(function, next_due)
        return chosen

    def _look_at(self, function: Function, due: float) -> None:
        if due < self._due.get(function, inf):
            self._due[function] = due
            self._agenda.add(due, partial(self._look, function, due))

    def _look(self, function: Function, due: float, _now: float) -> None:
        if self._due.get(function) == due:  # else an earlier look has been planned since
            del self._due[function]
            self._wake_up.wake_for_waiting(function)


def held_of(session: Session) -> HeldSet:
    """The jobs that a worker with this extension was given at once.

    Raises:
        RefusedError: the connection has not asked for the extension.
    """
    if session.held is None:
        raise RefusedError(b"INVALID_COMMAND", b"This packet needs the option " + GRAB_MANY_OPTION)
    return session.held


def jobs_of(digits: bytes) -> int:
    """A number of jobs in a packet, from 1 up; more than can be given at once counts as that many.

    Raises:
        MalformedPacketError: it is none.
    """
    jobs = number_of(digits)
    if jobs < 1:
        raise MalformedPacketError("a number of jobs is 1 or more")
    return min(jobs, MAX_JOBS_AT_ONCE)


def number_of(digits: bytes) -> int:
    """A whole number in a packet.

    Raises:
        MalformedPacketError: it is none.
    """
    if not digits.isdigit() or len(digits) > 18:
        raise MalformedPacketError("a whole number is expected")
    return int(digits)
