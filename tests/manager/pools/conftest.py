"""A workforce whose workers are real processes that sleep; the test writes their reports."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from gearman_manager.config import Config, FoundFunction, lay_out
from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.ipc.lifeline import own_lifeline
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_manager.pools import exec_wrapper
from gearman_manager.pools.exits import Exits
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_order import CodeFiles, PoolOrder, Surroundings, pool_order
from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygotes import Zygotes

DEADLINE_S = 10.0
SLEEPING = ("sleep", "600")
#: Prints a line once it ignores SIGTERM.
DEAF = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")


_numbers = itertools.count()


class DeadZygotes(Zygotes):
    """Has no zygote, and counts the requests to kill it."""

    kills = 0

    def kill_current(self) -> None:
        self.kills += 1


class SleepingStart(WorkerStart):
    """Takes slots and pipe like the real one, but instead of asking a zygote it starts a program without a report."""

    def __init__(self, manager: str, links: Links, zygotes: Zygotes) -> None:
        super().__init__(manager, links, zygotes)
        self.command: tuple[str, ...] = SLEEPING
        self.refusal = ""
        self.children: dict[str, process.Child] = {}

    def is_possible(self, order: PoolOrder) -> bool:
        return True

    def start(self, live: LiveWorker) -> process.Child | None:
        if self.refusal:
            raise StartError(self.refusal)
        if live.is_program:
            return super().start(live)
        # The wrapper unblocks the signals, which a process of ours has to do for itself.
        wrapped = [sys.executable, "-I", "-S", exec_wrapper.__file__, "--parent", str(os.getpid())]
        arguments = [*wrapped, "--stop-signal", "SIGTERM", "--", *self.command]
        self.children[live.name] = process.start(arguments, (), live.output.write_end)
        return None


class Staff:
    """The workforce, and the actions of a test on it."""

    def __init__(self, slots: int = 64) -> None:
        self.links = Links(Scoreboard.create(slots), own_lifeline(), os.eventfd(0, os.EFD_CLOEXEC))
        self.zygotes = DeadZygotes(self.links)
        #: Unique, since the search for leftovers by this name may come after the end of the test.
        self.manager = f"manager-{next(_numbers)}"
        self.start = SleepingStart(self.manager, self.links, self.zygotes)
        self.file = "workers/mail.py"
        self.woken = gevent.event.Event()
        self.exits = Exits(OomKills(Cgroup(()), Path("/nowhere")))
        self.workforce = Workforce(self.start, self.zygotes, self.exits, self.woken.set)

    @property
    def pool(self) -> Pool:
        return self.workforce.pools["mail"]

    @property
    def workers(self) -> list[LiveWorker]:
        return list(self.workforce.live.values())

    def arrange(self, target: int, version: int = 1, **keys: Any) -> None:
        """Arrange a pool `mail` with this target."""
        config = Config.model_validate({"server": {}, "pools": {"mail": keys}})
        found = [] if "command" in keys else [FoundFunction("mail", self.file, 1, {})]
        layout = lay_out(config, found, cores=1)
        assert not layout.problems
        around = Surroundings([config.job_servers[0].reached_by], ["workers"], "INFO")
        code = CodeFiles({self.file: str(version)}, {self.file: [self.file]})
        orders = {name: pool_order(pool, layout, around, code) for name, pool in layout.pools.items()}
        self.workforce.arrange(orders, 1_000_000)
        self.pool.target = target

    def fork(self, live: LiveWorker) -> LiveWorker:
        """Report that the zygote has forked this worker."""
        child = self.start.children[live.name]
        self.workforce.spawned(live.name, child.pid, child.pidfd)
        return live

    def slot(self, live: LiveWorker) -> SlotWriter:
        """The worker's side of its slot."""
        writer = SlotWriter(self.links.scoreboard, live.slots.own)
        writer.claim(live.pid)
        return writer

    def register(self, live: LiveWorker) -> SlotWriter:
        """Report that the worker is ready."""
        writer = self.slot(live)
        writer.idle()
        self.workforce.doorbell()
        return writer

    def serving(self, count: int, **keys: Any) -> list[LiveWorker]:
        """This many registered workers."""
        self.arrange(count, **keys)
        self.workforce.reconcile(0.0)
        for live in self.workers:
            self.register(self.fork(live))
        return self.workers

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run the event loop until the condition holds."""
        with gevent.Timeout(DEADLINE_S, AssertionError(what)):
            while not condition():
                self.woken.wait(0.01)
                self.woken.clear()

    def gone(self, live: LiveWorker) -> None:
        """Wait until the kernel has reported the worker's end."""
        self.until(lambda: live.name not in self.workforce.live, f"{live.name} is gone")

    def close(self) -> None:
        for child in self.start.children.values():
            with suppress(OSError):
                process.kill_session(child.pid)
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        self.workforce.kill_all()
        with gevent.Timeout(DEADLINE_S, False):
            while any(live.pid for live in self.workers):
                gevent.sleep(0.005)
        for descriptor in (self.links.lifeline, self.links.doorbell):
            os.close(descriptor)


@pytest.fixture
def staff() -> Iterator[Staff]:
    made = Staff()
    yield made
    made.close()
