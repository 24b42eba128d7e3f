"""The first steps of a process that the zygote has forked: it becomes the worker of an order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from setproctitle import setproctitle

from gearman_manager.ipc.claims import Claims
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.logging_guard import OwnLogger
from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker import group_signals
from gearman_manager.worker.failures import describe
from gearman_manager.worker.order import CLIENT_ID_VARIABLE, Order
from gearman_manager.worker.set_worker import SetWorkerProcess
from gearman_manager.worker.worker import WorkerProcess

_log = OwnLogger("worker")


class _Process(Protocol):
    def run(self) -> None:
        """Serve until it is to end."""


def main(order: Order, code: UserCode, links: Links, claims: Sequence[int]) -> int:
    """Run the worker of this order, in a process that was just forked. Returns the exit code.

    `claims` are its ends of a `ClaimPipe`, if it fetches several jobs at once.
    """
    os.setsid()
    if order.nice:
        os.nice(order.nice)
    setproctitle(order.title)
    os.environ[CLIENT_ID_VARIABLE] = order.client_id  # the supervisor finds its leftovers by it
    group_signals.end_at_once()
    try:
        process = _process(order, code, links, claims)
    except BaseException as error:  # noqa: BLE001 (setup is user code)
        SlotWriter(links.scoreboard, order.slot).error(describe(error))
        _log.error("the worker can't start: %s", describe(error), exc_info=True)
        return 1
    process.run()
    return 0


def _process(order: Order, code: UserCode, links: Links, claims: Sequence[int]) -> _Process:
    if order.is_async:
        from gearman_manager.worker.async_worker import AsyncWorkerProcess  # the other workers do without asyncio

        return AsyncWorkerProcess(order, code, links)
    if not order.takes_sets:
        return WorkerProcess(order, code, links)
    return SetWorkerProcess(order, code, links, Claims(*claims) if claims else None)
