"""A worker process that runs several jobs at once, each in a greenlet of its own: for functions that wait a lot.

It is started by exec, not forked from a zygote, and imports the user's modules itself: a job that waits must give way
to the others, so the standard library is patched (gevent.monkey) before anything imports the blocking originals.

The main greenlet gets the jobs over one connection to each job server (`gearman_client.worker.concurrent_worker` says
why one), and starts a greenlet for each job, which answers it. The process ends as `worker` does: after the running
jobs, never during them.
"""

from __future__ import annotations

import json
import os
import signal
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import gevent
from gevent.hub import Hub
from greenlet import settrace  # type: ignore[import-untyped]
from setproctitle import setproctitle

from gearman_client import WorkerJob, WorkerSettings
from gearman_client.worker.concurrent_worker import ConcurrentWorker
from gearman_manager.ipc import child_log
from gearman_manager.ipc.lifeline import ends_with_supervisor
from gearman_manager.ipc.links import Links, read_arguments
from gearman_manager.ipc.logging_guard import OwnLogger
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_manager.modules import discovery
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker import group_signals
from gearman_manager.worker.failures import describe
from gearman_manager.worker.function_call import FunctionCall, run_job
from gearman_manager.worker.job_slots import JobSlot
from gearman_manager.worker.order import CLIENT_ID_VARIABLE, Order
from gearman_manager.worker.side_by_side import SideBySideWorker, forbid_fork
from gearman_manager.worker.signal_state import OwnSignals
from gearman_manager.worker.timeout_in_greenlets import GreenletTimeout, TimeoutsInGreenlets

_log = OwnLogger("worker")


class ConcurrentWorkerProcess(SideBySideWorker):
    """The life of one worker of greenlets, from its first connection to its last answer."""

    def __init__(self, order: Order, code: UserCode, links: Links) -> None:
        self._place_of: dict[object, int] = {}
        self._timeouts = TimeoutsInGreenlets()
        servers = {address: index for index, address in enumerate(order.servers)}
        settings = WorkerSettings(client_id=order.client_id, hears_stops=False)
        gearman = ConcurrentWorker(servers, settings, observer=self)
        super().__init__(order, code, links, gearman)

    def run(self) -> None:
        """Serve until a stop is requested, the supervisor is gone, or `max_jobs` are done."""
        signal.signal(signal.SIGTERM, lambda *_: self._gearman.stop())
        self._signals = OwnSignals()
        settrace(self._switched)
        while not self._is_done:
            if self._slot.is_told_to_leave and not self._gearman.stopping:
                self._gearman.stop()
            if self._gearman.stopping and not self._gearman.asked:
                gevent.sleep(0)  # jobs that came with the last answer have their first turn: now they have begun
                self._slot.begin_no_more()
            for assigned in self._gearman.take(self._open_places):
                self._start(assigned)
            self._places.show()  # before the new jobs run: the first may keep the processor
        self._slot.leave()
        self._gearman.close()
        self._tear_down()

    def _start(self, assigned: WorkerJob) -> None:
        taken = self._place_for(assigned)
        if taken is None:
            return
        function, place = taken
        greenlet = gevent.Greenlet(self._serve, assigned, function, place)
        self._place_of[greenlet] = place.number
        greenlet.start()

    def _serve(self, assigned: WorkerJob, function: FunctionCall, place: JobSlot) -> None:
        """The life of one job's greenlet."""
        limit = GreenletTimeout(self._timeouts, partial(self._give_up, assigned, function, place), place.slot)
        failure = run_job(assigned, function, self._hooks, limit)
        del self._place_of[gevent.getcurrent()]
        self._ended(place, failure)

    def _switched(self, _event: str, greenlets: tuple[object, object]) -> None:
        """Note which job has the processor: if one keeps it, the supervisor must know which."""
        self._slot.activate(self._place_of.get(greenlets[1], 0))


def _prepare_process(order: Order) -> None:
    """Set up a process that runs greenlets."""
    group_signals.leave_to_supervisor()
    group_signals.end_at_once()
    if order.nice:
        os.nice(order.nice)
    setproctitle(order.title)
    os.environ[CLIENT_ID_VARIABLE] = order.client_id
    forbid_fork(
        "a function of a pool with `concurrency` can't fork: the other jobs of its process would run on in the copy, a "
        "second time; start programs by subprocess, or take the function into a pool of its own without `concurrency`"
    )
    gevent.config.track_greenlet_tree = False  # tracking which greenlet started which costs a third of a short job
    Hub.SYSTEM_ERROR = ()  # a greenlet that a job left behind must not end the worker, whatever it raises


def _serve(order: Order, links: Links) -> int:
    folders = [Path(folder) for folder in order.folders]
    try:
        with ends_with_supervisor(links.lifeline):
            errors = discovery.prepare(folders)
            hooks, hook_errors = discovery.load_hooks(folders)
            for error in [*errors, *hook_errors]:
                _log.error("%s", error)
            code = UserCode({}, hooks)
            process = ConcurrentWorkerProcess(order, code, links)
    except Exception as failure:  # noqa: BLE001 (setup is user code)
        SlotWriter(links.scoreboard, order.slot).error(describe(failure))
        _log.error("the worker can't start: %s", describe(failure), exc_info=True)
        return 1
    process.run()
    return 0


def main(argv: Sequence[str]) -> NoReturn:
    """Entry point after the exec, already patched; the numbers in `argv` are inherited descriptors."""
    parser = ArgumentParser(prog="gearman-manager worker", description="started by the supervisor only")
    arguments = read_arguments(parser, ["order", "scoreboard"], argv)
    with open(arguments.order, encoding="utf-8") as file:
        order = Order.from_message(json.load(file))
    child_log.redirect_output(1)
    child_log.set_up(order.log_level)
    _prepare_process(order)
    status = 1
    try:
        scoreboard = Scoreboard.take_over(arguments.scoreboard, order.slot, 1 + len(order.job_slots))
        status = _serve(order, Links.inherited(arguments, scoreboard))
    except BaseException:  # noqa: BLE001 (the process's boundary)
        _log.critical("the worker %s broke down", order.name, exc_info=True)
    finally:
        child_log.flush_output()
        os._exit(status)  # threads and greenlets that jobs left behind must not keep it alive
