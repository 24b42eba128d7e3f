"""A worker process that runs `async def` functions: several jobs at once, each a task on one asyncio loop.

The zygote forks it like a worker of one job, since nothing needs to be patched before the user's modules are imported.
Everything is on the loop's thread: it watches the descriptor of a `PolledWorker`, which brings the jobs and takes the
answers. The process ends as `worker` does: after the running jobs, never during them.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, NoReturn

from gearman_client import WorkerJob, WorkerSettings
from gearman_client.typed_json.free_result import encode_result
from gearman_client.worker.polled_worker import PolledWorker
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.logging_guard import OwnLogger
from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.job import Job
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker.failures import Failure, describe, fail, failure_of
from gearman_manager.worker.function_call import FunctionCall, awaited, in_words, is_interruption, leave_off
from gearman_manager.worker.job_slots import JobSlot
from gearman_manager.worker.order import Order
from gearman_manager.worker.side_by_side import SideBySideWorker, forbid_fork
from gearman_manager.worker.signal_state import OwnSignals
from gearman_manager.worker.timeout_on_loop import LoopTimeout, TimeoutsOnLoop

_log = OwnLogger("worker")


class AsyncWorkerProcess(SideBySideWorker):
    """The life of one worker with a loop, from its first connection to its last answer."""

    def __init__(self, order: Order, code: UserCode, links: Links) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        forbid_fork(
            "an async function can't fork: the other jobs of its process would run on in the copy, a second time; "
            "start programs by asyncio.create_subprocess_exec, and processes with multiprocessing's method spawn"
        )
        self._timeouts = TimeoutsOnLoop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them only weakly
        self._broken: BaseException | None = None
        servers = {address: index for index, address in enumerate(order.servers)}
        settings = WorkerSettings(client_id=order.client_id, hears_stops=False)
        gearman = PolledWorker(servers, settings, observer=self)
        super().__init__(order, code, links, gearman)
        self._polled = gearman

    def _complete(self, returned: object) -> object:
        """Await what an async `setup` or `teardown` returned."""
        return self._loop.run_until_complete(awaited(returned)) if inspect.isawaitable(returned) else returned

    def run(self) -> None:
        """Serve until a stop is requested, the supervisor is gone, or `max_jobs` are done."""
        signal.signal(signal.SIGTERM, lambda *_: self._polled.stop())
        self._signals = OwnSignals()
        self._loop.add_reader(self._polled.fileno(), self._guarded_turn)
        self._loop.call_soon(self._guarded_turn)
        while not self._is_done:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 (a task of a job's own may end by sys.exit: others go on)
                _log.error("a task that a job has started ended the loop, which goes on: %s", describe(error))
            if self._broken is not None:
                raise self._broken
        self._loop.remove_reader(self._polled.fileno())
        self._slot.leave()
        self._polled.close()
        self._tear_down()

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except BaseException as error:  # noqa: BLE001 (it ends the worker: the loop would only log it)
            self._broken = error
            self._loop.stop()

    def _turn(self) -> None:
        """Send what is pending, and start the jobs that have come."""
        if self._slot.is_told_to_leave and not self._polled.stopping:
            self._polled.stop()
        if self._polled.stopping and not self._polled.asked:
            self._loop.call_soon(self._slot.begin_no_more)  # behind the first steps of the jobs that came last
        for assigned in self._polled.take(self._open_places):
            self._start(assigned)
        self._places.show()
        if self._is_done:
            self._loop.stop()
        elif self._polled.had_events:
            self._loop.call_soon(self._guarded_turn)  # what they brought may be something to send
        else:
            self._wait_until(self._polled.due_at)

    def _wait_until(self, due_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due_at != float("inf"):
            self._timer = self._loop.call_later(max(0.0, due_at - monotonic()), self._guarded_turn)

    def _start(self, assigned: WorkerJob) -> None:
        taken = self._place_for(assigned)
        if taken is None:
            return
        function, place = taken
        task = self._loop.create_task(_Steps(self._serve(assigned, function, place), self._slot, place.number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, assigned: WorkerJob, function: FunctionCall, place: JobSlot) -> None:
        """The life of one job's task."""
        limit = LoopTimeout(self._timeouts, partial(self._give_up, assigned, function, place), place.slot)
        failure = await run_async_job(assigned, function, self._hooks, limit, place.timeout_s)
        self._ended(place, failure)


async def run_async_job(
    assigned: WorkerJob, function: FunctionCall, hooks: Hooks, limit: LoopTimeout, timeout_s: float | None
) -> str | None:
    """As `run_job`, for a coroutine function, with its time limit (seconds)."""
    failure: BaseException | None = None
    told: Failure | None = None
    is_done = False
    job = Job(assigned, function.settings, function.log, limit)
    try:
        hooks.job_start(job)
        result = await limit.call(function.call, job, timeout_s)
        is_done = True
        if assigned.is_interrupted:
            leave_off(assigned, job)  # the function has passed over it
        elif not assigned.answered:  # otherwise it was given up meanwhile
            assigned.complete(encode_result(result))
    except BaseException as error:  # noqa: BLE001 (user code may raise anything: the job fails, the others go on)
        if is_interruption(assigned, error):
            leave_off(assigned, job)
        else:
            failure = in_words(error, function, timeout_s)
            told = failure_of(failure, function.privacy, assigned)
            if not assigned.answered:
                fail(assigned, job, told, is_done=is_done)
    hooks.job_end(job, failure)
    return None if told is None else told.text


class _Steps(Coroutine[Any, Any, None]):
    """A job's coroutine that notes when it has the processor: of one that keeps it the supervisor must know."""

    __slots__ = ("_inner", "_place", "_slot")

    def __init__(self, inner: Coroutine[Any, Any, None], slot: SlotWriter, place: int) -> None:
        self._inner = inner
        self._slot = slot
        self._place = place

    def send(self, value: Any) -> Any:
        """One step, up to the next wait."""
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """One step, which begins with this exception."""
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        """As of any coroutine."""
        self._inner.close()

    def __await__(self) -> NoReturn:
        raise TypeError("a job's coroutine belongs to its task")

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        self._slot.activate(self._place)
        try:
            return step(*arguments)
        finally:
            self._slot.activate(0)
