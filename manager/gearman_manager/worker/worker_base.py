"""The common part of all worker processes: functions, hooks, limits, events of the job servers.

They differ in the way they get jobs, and in the number that they run at once: `worker` one, `concurrent_worker` more.
"""

from __future__ import annotations

import logging
import os
import select
from time import monotonic
from typing import Final

from gearman_client import Address, WorkerJob, WorkerObserver
from gearman_manager.ipc.links import Links, ring
from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.job_client import use_servers
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker.function_call import FunctionCall, make_functions
from gearman_manager.worker.order import Order, learned_number
from gearman_manager.worker.wear import WearLimits

_log = logging.getLogger("worker")
#: While a job goes through its items the worker looks this often whether the supervisor is still there.
LIFELINE_EVERY_S: Final = 0.2


class ServerNumbers(dict[Address, int]):
    """The numbers of the job servers for the supervisor: their places in its list, or those of learned ones."""

    def __missing__(self, address: Address) -> int:
        return learned_number(address)


class WorkerBase(WorkerObserver):
    """The part of a worker's life that is the same for all."""

    def __init__(self, order: Order, code: UserCode, links: Links) -> None:
        """Run the hooks and setups of the start; errors of user code reach the caller."""
        self._links = links
        self._slot = SlotWriter(links.scoreboard, order.slot)
        self._slot.claim(os.getpid())
        self._wear = WearLimits(order, self._slot, links.doorbell)
        self._is_announced = False
        self._lifeline = select.poll()
        self._lifeline.register(links.lifeline, select.POLLIN)
        self._lifeline_at = 0.0
        self._server_index = ServerNumbers((address, index) for index, address in enumerate(order.servers))
        use_servers(order.servers, [function.name for function in order.functions], order.prefix)
        self._hooks = code.hooks
        self._hooks.worker_start()
        self._functions = make_functions(order.functions, code, self._complete)
        if order.spans:
            from gearman_manager.worker.job_spans import trace_calls  # large, and only if it is wanted

            trace_calls(self._functions, order)

    def _complete(self, returned: object) -> object:
        """What a `setup` or `teardown` returned; a worker with an asyncio loop awaits it."""
        return returned

    def _must_leave(self) -> bool:
        """Whether jobs that can be interrupted are to give way: the supervisor said so, or is gone."""
        if self._slot.is_told_to_leave:
            return True
        now = monotonic()
        if now < self._lifeline_at:
            return False
        self._lifeline_at = now + LIFELINE_EVERY_S
        return bool(self._lifeline.poll(0))

    def _function_of(self, assigned: WorkerJob) -> FunctionCall | None:
        """The function for this job. If it is not one of ours, the job is failed and None returned."""
        function = self._functions.get(assigned.function)
        if function is None:
            _log.error("%s assigned a job of %s, which is not registered", assigned.server, assigned.function)
            assigned.fail()
        return function

    def _tear_down(self) -> None:
        """Run the user code of the end, after the last answer."""
        for function in self._functions.values():
            function.teardown()
        self._hooks.worker_stop()

    def connected(self, address: Address) -> None:
        """Tell the supervisor about the first registration with a server."""
        _log.debug("registered with %s", address)
        if not self._is_announced:
            self._is_announced = True
            self._slot.idle()
            ring(self._links.doorbell)

    def disconnected(self, address: Address, reason: str) -> None:
        """A server is gone; the client library tries to reconnect."""
        _log.info("job server %s: %s; trying again", address, reason)

    def result_lost(self, address: Address, handle: str) -> None:
        """The answer did not reach its server, or may not have: then the server runs the job again."""
        _log.warning("the answer to %s may be lost with its connection to %s", handle, address)

    def server_error(self, address: Address, code: str, text: str) -> None:
        """A server has reported an error, about an answer that came too late for instance."""
        _log.warning("job server %s says %s: %s", address, code, text)
