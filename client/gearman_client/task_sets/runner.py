"""Carries out tasks over all servers: sends, waits, receives; what follows a failure, a lost server or a deadline.

One thread drives it with `step`; between two calls nothing happens. Each runner has connections of its own.
Open `placement.py` for the choice of servers, `line.py` for one server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any, Final

from gearman_client import exclusive
from gearman_client.address import Address
from gearman_client.client.calls import not_known
from gearman_client.client.job_status import JobStatus
from gearman_client.client.server_pool import PoolSettings, ServerPool
from gearman_client.client.shared_pools import SharedPools
from gearman_client.connection.waiting import POLLIN, wait_for_any
from gearman_client.errors import ConnectionLost, GearmanError, InUse, ServerError, Timeout, Unfinished
from gearman_client.task_sets.attempt import Attempt
from gearman_client.task_sets.deadlines import Deadlines
from gearman_client.task_sets.line import LINE_ERRORS, TaskLine
from gearman_client.task_sets.placement import TaskPlacement
from gearman_client.task_sets.set_task import SetTask, StatusSetTask

#: A task without a time limit fails after so many lost connections: its job may be what ends the servers.
MAX_LOSSES: Final = 50
#: The least silence that counts, if there are other servers.
_LEAST_SILENCE_S: Final = 2.0
#: A status query is asked again so often.
_MAX_LOST_QUERIES: Final = 2
#: Reads at once from one server, before a deadline that has passed counts.
_MAX_READS: Final = 100


class TaskRunner:
    """Tasks in, finished tasks out: `add` them, call `step` until `unfinished` is 0, and take them from `finished`.

    wakes: a descriptor that ends a wait when it becomes readable; the caller reads it.
    on_error: gets what callbacks raise; without it that comes out of `step`.
    """

    def __init__(
        self,
        pools: SharedPools,
        settings: PoolSettings,
        *,
        wakes: int | None = None,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.finished: deque[SetTask[Any]] = deque()
        self.unfinished = 0
        self._pools = pools
        self._wakes = wakes
        self._settings = settings
        self._forks = exclusive.forks
        self._loan: tuple[list[ServerPool], ServerPool] | None = None
        self._lines: list[TaskLine] = []
        #: The version of the roster whose servers have lines.
        self._version = -1
        self._new: deque[SetTask[Any]] = deque()
        self._placement = TaskPlacement(settings, self)
        self._deadlines: Deadlines[SetTask[Any]] = Deadlines()
        #: What the user's callbacks raised.
        self._raised: deque[BaseException] = deque()
        self._on_error = on_error or self._raised.append

    @property
    def has_more(self) -> bool:
        """Whether `step` has something to do: tasks are unfinished, or it has to raise what a callback raised."""
        return self.unfinished > 0 or bool(self._raised)

    def add(self, task: SetTask[Any]) -> None:
        """Take a task over; it begins with the next step."""
        self.unfinished += 1
        self._new.append(task)

    def step(self, deadline: float) -> None:
        """Send what can be sent, wait until something arrives or `deadline` (monotonic) has come, and deal with it.

        Raises:
            InUse: the process was forked since the runner was made.
            BaseException: what a callback raised. The tasks go on with the next step.
        """
        if self._forks != exclusive.forks:
            raise InUse("these tasks were begun before a fork and belong to the process that began them")
        if self._raised:
            raise self._raised.popleft()
        finished, now = len(self.finished), monotonic()
        if self.unfinished:
            self._follow_servers()
        if self._new:
            self._begin_new(now)
        for line in self._lines:
            if line.backlog and not line.takes_tasks and not line.is_opening:
                self._put_back(line.take_backlog())
        if self._placement.has_ready:
            self._placement.place(self._lines, now)
        if self.unfinished and self._follow_servers():
            self._placement.place(self._lines, now)
        # With a line lost in `_push`, or a task given up, the caller has something to do before the next wait.
        if self._push(now) and len(self.finished) == finished and not self._raised:
            self._wait(deadline, now)
        if self._raised:
            raise self._raised.popleft()

    def close(self) -> None:
        """Leave the connections to the pool, but close those on which something is under way.

        The jobs that were under way there are abandoned.
        """
        for line in self._lines:
            line.leave()
        self._lines = []
        if self._loan is not None:
            self._pools.give_back(*self._loan)
            self._loan = None

    def abandon(self, tasks: Iterable[SetTask[Any]]) -> None:
        """Close the connections, and end `tasks`, which are all that are not done; no callback hears of that."""
        self.close()
        self._new.clear()
        self._placement = TaskPlacement(self._settings, self)
        self._deadlines = Deadlines()
        for task in tasks:
            self._end(task, abandoned(task))

    # What attempts report; see attempt.Outcomes.

    def tell(self, callbacks: tuple[Callable[..., object], ...], *arguments: Any) -> None:
        """Call the user's callbacks; what they raise comes out of `step`, once the packets have been dealt with."""
        for callback in callbacks:
            try:
                callback(*arguments)
            except BaseException as error:  # noqa: BLE001 - `step` raises it
                self._on_error(error)

    def succeed(self, task: SetTask[Any], outcome: Any) -> None:
        """A task is done."""
        task.outcome = outcome
        task.is_done = True
        task.packet, task.submission = b"", None
        self.unfinished -= 1
        self.finished.append(task)
        if task.rules.on_complete:
            self.tell(task.rules.on_complete, task)

    def fail(self, task: SetTask[Any], error: GearmanError) -> None:
        """An attempt has failed: submit the job again, or give up if it was the last one."""
        if task.retries_left <= 0 or task.is_background:
            self.give_up(task, error)
            return
        task.retries_left -= 1
        self.tell(task.rules.on_retry, task)
        self._placement.put_back(task)

    def give_up(self, task: SetTask[Any], error: GearmanError) -> None:
        """A task has failed for good."""
        if task.doubt is not None and not isinstance(error, ServerError):
            error = task.doubt[1]
        self._end(task, error)
        self.tell(task.rules.on_fail, task)

    def turn_away(self, task: SetTask[Any], server: Address, error: GearmanError) -> None:
        """A server is about to end, and has not taken the task: another one may."""
        for line in self._lines:
            if line.address == server:
                line.is_ending = True
        task.attempts -= 1
        self._resubmit(task, error)

    def take_status(self, task: StatusSetTask, status: JobStatus) -> None:
        """A server has answered: that is it, unless it does not know the job and another one may."""
        if status.known or not task.servers:
            self.succeed(task, status)
        else:
            task.outcome = status
            self._placement.put_back(task)

    def _end(self, task: SetTask[Any], error: GearmanError) -> None:
        task.error = error
        task.is_done = True
        task.forget_packets()
        self.unfinished -= 1
        self.finished.append(task)

    def _follow_servers(self) -> bool:
        """Have a line to each server, also to those that were learned since the last step. Returns whether there are
        others: then what was not sent yet may be for one of them."""
        roster = self._settings.roster
        version = 0 if roster is None else roster.known.version
        if self._loan is not None and version == self._version:
            return False
        if self._loan is None:
            self._loan = self._pools.take()
        else:
            self._loan[1].refresh(is_idle=False)
        self._version = version
        there = {line.server for line in self._lines}
        self._lines += [TaskLine(each, self._settings) for each in self._loan[1].servers if each not in there]
        self._placement.follow(self._lines)
        for line in self._lines:
            self._put_back(line.take_backlog())
        return True

    def _begin_new(self, now: float) -> None:
        new = self._new
        while new:
            task = new.popleft()
            if task.rules.timeout_s <= 0:
                self.give_up(task, Timeout(f"no time is left for {task.name}: nothing was sent"))
                continue
            if task.rules.timeout_s != inf:
                self._deadlines.add(task, now + task.rules.timeout_s)
            self._placement.add(task)

    def _push(self, now: float) -> bool:
        """Send; False if a line was lost."""
        all_well = True
        for line in self._lines:
            try:
                line.push(now)
            except LINE_ERRORS as error:
                self._lose(line, error, now)
                all_well = False
        return all_well

    def _wait(self, deadline: float, now: float) -> None:
        interests = {}
        next_due = self._deadlines.next_due()
        due = min(deadline, self._placement.retry_at, next_due, self._placement.deadlines.next_due())
        silence_s = self._silence_s(next_due - now)
        for line in self._lines:
            interest = line.interest()
            if interest is not None:
                interests[interest[0]] = interest[1]
                due = min(due, line.due(silence_s))
        if self._wakes is not None:
            interests[self._wakes] = POLLIN
        ready = wait_for_any(interests.items(), due - now)
        now = monotonic()
        for line in self._lines:
            interest = line.interest()
            if interest is not None and interest[0] in ready:
                self._pull(line, now)
        if now >= due:
            self._look_at_the_time(now, silence_s)

    def _silence_s(self, left_s: float) -> float:
        """How long a server that has jobs may say nothing before it is asked whether it is alive, and not answer that.

        left_s: the time of the task whose time is over first. With other servers some of it is left for them.
        """
        reply_timeout_s = self._settings.reply_timeout_s
        return min(reply_timeout_s, max(_LEAST_SILENCE_S, left_s / 4)) if len(self._lines) > 1 else reply_timeout_s

    def _pull(self, line: TaskLine, now: float) -> bool:
        """Receive; False if nothing had arrived."""
        try:
            return line.pull(now)
        except LINE_ERRORS as error:
            self._lose(line, error, now)
        except BaseException:
            # Ctrl-C in the middle of a packet: what the rest of them said is lost.
            self._lose(line, ConnectionLost(f"reading from {line.address} was interrupted"), now)
            raise
        return False

    def _look_at_the_time(self, now: float, silence_s: float) -> None:
        for line in self._lines:
            # What has arrived was in time, although the caller came late to look at it.
            for _ in range(_MAX_READS):
                if not self._pull(line, now):
                    break
            try:
                line.check(now, silence_s)
            except LINE_ERRORS as error:
                self._lose(line, error, now)
        for attempt in self._placement.deadlines.take_due(now):
            task = self._give_up_attempt(attempt)
            if task is not None:
                limit_s = task.rules.try_timeout_s
                self.fail(task, Timeout(f"no result of {task.name} in {limit_s:g} s, the limit of an attempt"))
        for task in self._deadlines.take_due(now):
            if isinstance(task.attempt, Attempt):
                self._give_up_attempt(task.attempt)
            self.give_up(task, Timeout(f"no result of {task.name} in {task.rules.timeout_s:g} s"))
        for line in self._lines:
            if line.given_up:
                line.end_if_unwanted()

    def _give_up_attempt(self, attempt: Attempt) -> SetTask[Any] | None:
        """Its task, if the attempt was still under way."""
        task, attempt.task = attempt.task, None
        if task is not None:
            for line in self._lines:
                line.given_up += line.address == attempt.server
        return task

    def _lose(self, line: TaskLine, error: GearmanError, now: float) -> None:
        """Decide for each task on a lost line. The last one is put back first, so that their order stays."""
        lost = line.lose(error, now)
        self._put_back(line.take_backlog())
        for attempt in reversed(lost.unsent):
            task, attempt.task = attempt.task, None
            if task is not None:
                task.attempts -= 1
                self._resubmit(task, error)
        for attempt in reversed(lost.created + lost.unacknowledged):
            self._decide(attempt, error)

    def _put_back(self, attempts: list[Attempt]) -> None:
        """Attempts of which nothing was sent: their tasks are ready again."""
        for attempt in reversed(attempts):
            task, attempt.task = attempt.task, None
            if task is not None:
                self._placement.put_back(task)

    def _decide(self, attempt: Attempt, error: GearmanError) -> None:
        """What becomes of the task of an attempt that the lost server may have or has accepted."""
        task, attempt.task = attempt.task, None
        if task is None:
            return
        if isinstance(task, StatusSetTask):
            if attempt.server is not None and task.losses < _MAX_LOST_QUERIES:
                task.servers.insert(0, attempt.server)
            self._resubmit(task, error)
        elif task.is_background:
            server = attempt.server or Address()
            doubt = not_known(task.name, server, error)
            if task.submission is not None and task.submission.is_repeatable:
                task.doubt = server, doubt  # only that server knows the submission again
                self.tell(task.rules.on_retry, task)
                self._resubmit(task, doubt)
            else:
                self.give_up(task, doubt)
        elif task.rules.resubmit:
            self.tell(task.rules.on_retry, task)
            self._resubmit(task, error)
        else:
            self.give_up(task, error)

    def _resubmit(self, task: SetTask[Any], error: GearmanError) -> None:
        task.losses += 1
        if task.losses > MAX_LOSSES and task.rules.timeout_s == inf:
            self.give_up(task, error)
        else:
            self._placement.put_back(task)


def abandoned(task: SetTask[Any]) -> GearmanError:
    """The error of a task that is over because its set was closed before it was done."""
    error = Unfinished(f"the task {task.name} was abandoned: its set was closed before it was done")
    if task.is_background and task.attempts and task.attempt is not None:
        return not_known(task.name, task.attempt.server or Address(), error)
    return error
