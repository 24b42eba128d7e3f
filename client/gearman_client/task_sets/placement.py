"""Gives ready tasks to the servers of a set: to which, in which order, and what becomes of them when none is there.

It opens lines but waits for nothing. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil, inf
from typing import Any, Final

from gearman_client.address import Address
from gearman_client.client.server_choice import KeyOrders, in_order
from gearman_client.client.server_pool import PoolSettings
from gearman_client.connection.ring import Ring
from gearman_client.errors import CouldNotConnect
from gearman_client.task_sets.attempt import Attempt, Outcomes, new_attempt
from gearman_client.task_sets.deadlines import Deadlines
from gearman_client.task_sets.line import TaskLine
from gearman_client.task_sets.set_task import SetTask, StatusSetTask

#: How long tasks wait for their share of a server that is just being connected to, while others are there.
HOLD_BACK_S: Final = 0.1


#: When to look again while every server is about to end, and still finishes jobs of ours.
ENDING_LOOK_S: Final = 0.1


class TaskPlacement:
    """The tasks that are ready, and the lines that they go to.

    A task with a key, and a status query, belongs to a certain server; any other goes to the one with the least to do.
    """

    def __init__(self, settings: PoolSettings, outcomes: Outcomes) -> None:
        #: When a server that is left out may be tried again, for tasks that wait; infinite if none waits.
        self.retry_at = inf
        #: The limits of the attempts.
        self.deadlines: Deadlines[Attempt] = Deadlines()
        self._settings = settings
        self._outcomes = outcomes
        self.follow(())
        self._for_any: deque[SetTask[Any]] = deque()
        self._for_one: deque[SetTask[Any]] = deque()
        #: Since when tasks are ready and no server is there; None: no task waits.
        self._waiting_since: float | None = None
        #: Whether any server was ever there: then tasks wait for its return.
        self._has_worked = False

    @property
    def has_ready(self) -> bool:
        """Whether `place` has something to do."""
        return bool(self._for_any or self._for_one)

    def follow(self, lines: Sequence[TaskLine]) -> None:
        """These are all lines from now on."""
        roster = self._settings.roster
        ring = Ring([line.address for line in lines]) if roster is None else roster.known.ring
        self._by_key = KeyOrders(tuple(lines), ring)

    def add(self, task: SetTask[Any]) -> None:
        """A new task is ready."""
        (self._for_one if task.belongs_to_one_server else self._for_any).append(task)

    def put_back(self, task: SetTask[Any]) -> None:
        """A task is ready again. It goes first: whoever reads results in order waits for it."""
        (self._for_one if task.belongs_to_one_server else self._for_any).appendleft(task)

    def place(self, lines: Sequence[TaskLine], now: float) -> None:
        """Give each ready task to a line. Those for which there is none wait, or fail."""
        if self._waiting_since is None:
            self._waiting_since = now
        self.retry_at = inf
        if self._for_any:
            self._open_lines(lines, len(self._for_any), now)
            self._share_out(lines, now)
        for _ in range(len(self._for_one)):
            task = self._for_one.popleft()
            if task.is_done:  # it was given up while it waited
                continue
            line = self._line_to_ask(lines, task, now) if isinstance(task, StatusSetTask) else self._home(task, now)
            if line is not None:
                self._give(task, line, now)
            elif isinstance(task, StatusSetTask):
                self._give_up(task, lines)
            else:
                self._for_one.append(task)
        self._has_worked = self._has_worked or any(line.is_up for line in lines)
        if not self.has_ready:
            self._waiting_since = None
        elif not any(line.is_opening for line in lines):
            self._wait_for_servers(lines, now)

    def _share_out(self, lines: Sequence[TaskLine], now: float) -> None:
        """Give each task to the server with the least to do. Lines that are just opening get their share, too."""
        tasks, give = self._for_any, self._give
        up = [line for line in lines if line.takes_tasks]
        coming = [line for line in lines if line.is_opening and now < line.opened_at + HOLD_BACK_S]
        if coming and up:
            self.retry_at = min(line.opened_at for line in coming) + HOLD_BACK_S
            share = ceil((len(tasks) + sum(line.load for line in up)) / (len(up) + len(coming)))
            for line in up:
                for _ in range(min(len(tasks), share - line.load)):
                    give(tasks.popleft(), line, now)
        elif len(up) == 1:
            [line] = up
            while tasks:
                give(tasks.popleft(), line, now)
        while tasks and up and not coming:
            line = min(up, key=_load)
            for _ in range(1 + len(tasks) // (4 * len(up))):
                give(tasks.popleft(), line, now)

    def _give(self, task: SetTask[Any], line: TaskLine, now: float) -> None:
        if task.is_done:  # it was given up while it waited
            return
        task.attempt = attempt = new_attempt(task, self._outcomes)
        line.backlog.append(attempt)
        if task.rules.try_timeout_s != inf:
            self.deadlines.add(attempt, now + task.rules.try_timeout_s)

    def _open_lines(self, lines: Sequence[TaskLine], count: int, now: float) -> None:
        """Open as many lines as there are tasks, but none to a server that is left out while there is another one."""
        ordered = in_order(lines, self._settings.health, now)
        for line in ordered[:count]:
            if self._may_open(line, now) and not self._is_left_out(line, now):
                line.open(now)
        if not any(line.takes_tasks or line.is_opening for line in ordered):
            for line in ordered:
                if self._may_open(line, now):
                    line.open(now)

    def _may_open(self, line: TaskLine, now: float) -> bool:
        """Whether to try a line: it is down, and was not tried in vain since tasks wait, or its back-off is over."""
        if line.is_up or line.is_opening:
            return False
        return line.failed_at < (self._waiting_since or now) or not self._is_left_out(line, now)

    def _is_left_out(self, line: TaskLine, now: float) -> bool:
        return self._settings.health.left_out_until(line.address, now) > now

    def _home(self, task: SetTask[Any], now: float) -> TaskLine | None:
        """The line for a task with a key."""
        ordered = self._by_key.of(task.key)
        if task.doubt is not None:
            ordered = self._knowing(ordered, task.doubt[0])
        for line in in_order(ordered, self._settings.health, now):
            if self._may_open(line, now):
                line.open(now)
            if line.takes_tasks or line.is_opening:
                return line
        return None

    def _knowing(self, lines: Sequence[TaskLine], address: Address) -> Sequence[TaskLine]:
        """The lines to servers that know a submission again which the one at this address may have."""
        roster = self._settings.roster
        fellows = roster.fellows_of(address) if roster is not None else ()
        return [line for line in lines if line.address == address or line.address in fellows]

    def _line_to_ask(self, lines: Sequence[TaskLine], task: StatusSetTask, now: float) -> TaskLine | None:
        """The next of the servers that a query is for; one that can't be reached is passed over. If that is the one of
        the handle, the others of its cluster have the job."""
        line = self._next_to_ask(lines, task, now)
        home, roster = task.home, self._settings.roster
        if line is None and home is not None and roster is not None and task.outcome is None:
            task.home = None
            task.servers = list(roster.fellows_of(home))
            line = self._next_to_ask(lines, task, now)
        return line

    def _next_to_ask(self, lines: Sequence[TaskLine], task: StatusSetTask, now: float) -> TaskLine | None:
        for line in lines:
            if line.address in task.servers:
                if self._may_open(line, now):
                    line.open(now)
                if line.is_up or line.is_opening:
                    task.servers.remove(line.address)
                    return line
        return None

    def _wait_for_servers(self, lines: Sequence[TaskLine], now: float) -> None:
        """No server is there. Tasks of a set that has worked wait for one, for a while; others fail at once."""
        health = self._settings.health
        patience = (self._waiting_since or now) + self._settings.reply_timeout_s
        for tasks in (self._for_any, self._for_one):
            for _ in range(len(tasks)):
                task = tasks.popleft()
                if task.is_done:
                    continue
                if self._has_worked and (now < patience or task.rules.timeout_s != inf):
                    tasks.append(task)
                else:
                    self._give_up(task, lines)
        if self.has_ready:
            due = (health.left_out_until(line.address, now) or now for line in lines if not line.is_ending)
            self.retry_at = min(due, default=now + ENDING_LOOK_S)
        else:
            self._waiting_since = None

    def _give_up(self, task: SetTask[Any], lines: Sequence[TaskLine]) -> None:
        if task.outcome is not None:  # the answer to a status query, of a server that does not know the job
            self._outcomes.succeed(task, task.outcome)
        else:
            failures = [str(line.failure) for line in lines if line.failure is not None]
            self._outcomes.give_up(task, CouldNotConnect("; ".join(failures) or "no job server to ask"))


def _load(line: TaskLine) -> int:
    return line.load
