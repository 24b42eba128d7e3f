"""Joins the kernel's news that a worker is gone with its exit status, and logs how it ended.

The status comes from the process that reaped the worker: the zygote that forked it, in a message before or after the
news, or the supervisor itself. If none arrives, the log says a second later that it is unknown.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import gevent

from gearman_manager.host import process
from gearman_manager.ipc.scoreboard import SlotState, SlotView
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.oom import OomKills

_log = logging.getLogger("workers")
_STATUS_WAIT_S: Final = 1.0
#: The part of a worker's output that goes into `last_error`.
LAST_LINES: Final = 3
LAST_LINE_CHARACTERS: Final = 300
#: How old its last lines may be: they explain an end of its own for a while, but not why somebody killed it later.
OWN_END_S: Final = 60.0
KILLED_S: Final = 5.0


@dataclass(slots=True)
class Exit:
    """A worker that is gone, with the last view of its slot."""

    live: LiveWorker
    view: SlotView
    jobs: Sequence[SlotView]  #: that it was running
    is_expected: bool


class Exits:
    """Keeps ended workers until their exit status comes, and exit statuses until the kernel reports the end."""

    def __init__(self, oom_kills: OomKills) -> None:
        self._oom_kills = oom_kills
        self._departed: dict[int, Exit] = {}
        self._statuses: dict[int, int] = {}

    def status_of(self, live: LiveWorker) -> int | None:
        """The exit status, None if it is not known yet."""
        status = process.exit_status(live.pidfd)
        return self._statuses.pop(live.pid, None) if status is None else status

    def left(self, departure: Exit, status: int | None) -> None:
        """The kernel reports that the worker is gone. Its pidfd is closed once it is of no more use."""
        if status is not None:
            os.close(departure.live.pidfd)
            self._explain(departure, status)
            return
        pid = departure.live.pid
        self._departed[pid] = departure
        if _is_told(departure):  # at once, because its pool may count as failing already
            departure.live.pool.last_error = _sentence(departure, departure.live.doom or "ended", None)
        # Its zygote may end too without reaping it, and leave that to us: keep the pidfd.
        gevent.spawn_later(_STATUS_WAIT_S, self._give_up_on, pid, departure)

    def reaped(self, pid: int, status: int, *, still_known: bool) -> None:
        """The zygote reports how a process ended; `still_known` if the kernel has not reported its end yet."""
        departure = self._departed.pop(pid, None)
        if departure is not None:
            os.close(departure.live.pidfd)
            self._explain(departure, status)
        elif still_known:
            self._statuses[pid] = status

    def _give_up_on(self, pid: int, departure: Exit) -> None:
        if self._departed.get(pid) is departure:
            del self._departed[pid]
            status = process.exit_status(departure.live.pidfd)
            os.close(departure.live.pidfd)
            self._explain(departure, status)

    def _explain(self, departure: Exit, status: int | None) -> None:
        live, view = departure.live, departure.view
        if not _is_told(departure):
            jobs = "" if live.is_program else f" after {view.done + view.failed} jobs"
            _log.info("ended (%s)%s", process.describe_status(status), jobs, extra=live.where)
            return
        how = f"{live.doom}, {process.describe_status(status)}" if live.doom else self._oom_kills.describe(status)
        live.pool.last_error = _sentence(departure, how, status)
        job, under = {}, ""
        if len(departure.jobs) == 1:
            (running,) = departure.jobs
            job = {"function": live.order.pool.functions[running.function], "handle": running.handle}
        elif departure.jobs:
            under = f" with {len(departure.jobs)} jobs"
        wait_s = live.pool.crashes.not_before - time.monotonic()
        then = f"in {wait_s:.1f} s" if wait_s > 0 else "now"
        _log.error("died (%s)%s, replaced %s", how, under, then, extra=live.where | job)


def _is_told(departure: Exit) -> bool:
    """Whether the end is a trouble of the pool."""
    return bool(departure.live.doom) or not departure.is_expected


def _sentence(departure: Exit, how: str, status: int | None) -> str:
    """The end as `last_error` tells it."""
    live = departure.live
    is_killed = bool(live.doom) or status is None or status < 0
    last = _last_words(departure, time.monotonic() - (KILLED_S if is_killed else OWN_END_S))
    return f"{live.name} pid {live.pid}: {how}" + (f": {last}" if last else "")


def _last_words(departure: Exit, since: float) -> str:
    """The worker's own note why it could not start; otherwise the last lines that it wrote since that time."""
    if departure.view.state is SlotState.STARTING and departure.view.last_error:
        return departure.view.last_error
    lines = departure.live.output.lines_since(since)[-LAST_LINES:]
    return " | ".join(line.strip()[:LAST_LINE_CHARACTERS] for line in lines)


def has_served(view: SlotView) -> bool:
    """Whether a worker that is gone had left on its own accord, after a job at least."""
    return view.state is SlotState.LEAVING and view.done + view.failed > 0


def go_back(jobs: int) -> str:
    """What becomes of the jobs of a worker that is killed."""
    return "its job goes back to the queue" if jobs == 1 else f"its {jobs} jobs go back to the queue"
