"""Starts workers: the zygote forks those whose code it has loaded, and we exec all others.

It also takes a worker's slots and the pipe for its output, and gives them back when the worker is gone.
"""

from __future__ import annotations

from dataclasses import replace

import gevent

from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.ipc.links import Links
from gearman_manager.logs.output import ChildOutput
from gearman_manager.logs.output_budget import DEFAULT_BYTES, OutputBudget
from gearman_manager.pools.concurrent_start import start_concurrent_worker
from gearman_manager.pools.fetched_jobs import FetchedJobs
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_order import PoolOrder
from gearman_manager.pools.program import start_program
from gearman_manager.pools.worker_slots import FreeSlots
from gearman_manager.pools.zygotes import Zygotes


class WorkerStart:
    """Makes `LiveWorker`s, and starts their processes."""

    def __init__(self, manager: str, links: Links, zygotes: Zygotes) -> None:
        """`manager` is the first part of the workers' client ids."""
        self._manager = manager
        self._links = links
        self._zygotes = zygotes
        self._slots = FreeSlots(links.scoreboard)
        self._fetched = FetchedJobs(manager, links.scoreboard)
        #: The most that a worker's output may add to the log in a second.
        self.max_output_bytes = DEFAULT_BYTES

    def is_possible(self, order: PoolOrder) -> bool:
        """Whether a worker can be started now: not if a zygote has to fork it and its successor is still on its way."""
        return not order.is_forked or self._zygotes.current is not None

    def prepare(self, pool: Pool, order: PoolOrder, now: float) -> LiveWorker:
        """A new worker of the pool, without a process yet.

        Raises:
            StartError: slots or descriptors are used up; the pool has no new worker then.
        """
        output = self._output(pool.name)
        try:
            count = 1 + order.pool.concurrency if order.is_concurrent else 1
            slots = self._slots.take(count, len(order.servers), len(order.pool.functions))
        except StartError:
            output.close()
            raise
        worker = pool.new_worker(now)
        output.extra["worker"] = worker.name
        client_id = f"gm:{self._manager}/{worker.name}"
        return LiveWorker(worker, pool, order, slots, output, now, client_id, order.expiry(worker.name, now))

    def start(self, live: LiveWorker) -> process.Child | None:
        """Start the process and return it; None if the zygote was asked to fork it, and will report.

        Raises:
            StartError: the system refuses.
        """
        order = live.order.for_worker(live.name, live.slots.numbers, live.client_id)
        if live.order.is_concurrent and not live.order.is_forked:
            return start_concurrent_worker(self._links, order, live.output.write_end)
        if live.is_program:
            return start_program(live.order.pool, order, live.output.write_end)
        if self._zygotes.current is None:
            raise StartError("there is no zygote that could fork a worker")
        stop_timeout_s = live.order.pool.stop_timeout_s
        if order.prefetch == 1:
            self._zygotes.current.spawn(order, live.output.write_end, stop_timeout_s)
            return None
        live.fetched = self._fetched.begin(live.client_id, order.slot, order.servers, order.prefetch)
        order = replace(order, return_key=live.fetched.key)
        self._zygotes.current.spawn(order, live.output.write_end, stop_timeout_s, live.fetched.pipe.for_worker)
        live.fetched.pipe.handed_over()
        return None

    def give_back(self, live: LiveWorker) -> None:
        """Free the slots of a worker that is gone, and read the rest of its output."""
        self._slots.give_back(live.slots)
        self._fetched.end(live.client_id)
        live.output.close()

    def _output(self, pool: str) -> ChildOutput:
        try:
            return ChildOutput(gevent.get_hub().loop, pool, {"pool": pool}, OutputBudget(self.max_output_bytes))
        except OSError as error:
            raise StartError(f"can't start a worker: {error.strerror}") from error
