"""A worker process: registers its functions, grabs jobs, runs them one at a time, answers. Forked by the zygote.

Blocking and single-threaded. It tells the supervisor what it does by its slot of the scoreboard, and ends when the
supervisor asks for it (SIGTERM) or is gone (end of file on the lifeline): after the current job, never in it.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from setproctitle import setproctitle

from gearman_client import Address, Worker, WorkerJob, WorkerObserver, WorkerSettings, parse_address
from gearman_manager.channel import Message
from gearman_manager.discovery import LoadedFunction, load_late
from gearman_manager.errors import JobTimeout, ModuleError
from gearman_manager.hooks import Hooks
from gearman_manager.job import Job, encode_result
from gearman_manager.memory_gauge import MemoryGauge
from gearman_manager.scoreboard import Scoreboard, SlotWriter, Wear
from gearman_manager.time_limit import TimeLimit

Functions = dict[tuple[str, str], LoadedFunction]  # by file and name
_log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class Code:
    """The user's code, as the zygote loaded it."""

    functions: Functions
    hooks: Hooks

    def function(self, ordered: "OrderedFunction") -> LoadedFunction:
        """A function; its module is imported now if the zygote left it out.

        Raises:
            ModuleError: that import fails.
        """
        key = ordered.file, ordered.name
        if key not in self.functions:
            self.functions.update({(f.file, f.name): f for f in load_late(ordered.file)})
        if key not in self.functions:
            raise ModuleError(ordered.file, 1, f"holds no function {ordered.name!r} any more")
        return self.functions[key]


@dataclass(frozen=True, slots=True)
class Shared:
    """What every process of this manager holds: the scoreboard, the lifeline's read end, the supervisor's doorbell."""

    scoreboard: Scoreboard
    lifeline: int
    doorbell: int


@dataclass(frozen=True, slots=True)
class OrderedFunction:
    """One function that a worker is to serve."""

    registered: str  # the name towards Gearman, prefix included
    name: str
    file: str
    timeout_s: float | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """All that the supervisor says about a worker to be."""

    name: str  # POOL/N
    slot: int
    client_id: str
    servers: tuple[str, ...]
    functions: tuple[OrderedFunction, ...]
    max_jobs: int | None
    max_memory_bytes: int | None
    nice: int

    @classmethod
    def from_message(cls, message: Message) -> "Order":
        """Read it from the supervisor's message."""
        return cls(
            name=message["name"],
            slot=message["slot"],
            client_id=message["client_id"],
            servers=tuple(message["servers"]),
            functions=tuple(OrderedFunction(**function) for function in message["functions"]),
            max_jobs=message["max_jobs"],
            max_memory_bytes=message["max_memory_bytes"],
            nice=message["nice"],
        )


class _Routine:
    """A function made ready to be called again and again: with a class, its one object of this process."""

    def __init__(self, ordered: OrderedFunction, loaded: LoadedFunction, index: int) -> None:
        self.index = index
        self.registered = ordered.registered
        self.timeout_s = ordered.timeout_s
        self.settings = ordered.settings
        self.log = logging.getLogger(ordered.name)
        self._object = loaded.target() if isinstance(loaded.target, type) else None
        self.call = loaded.target if self._object is None else self._object.run
        if hasattr(self._object, "setup"):
            self._object.setup(ordered.settings)  # type: ignore[union-attr]

    def teardown(self) -> None:
        """Let the object close what it opened."""
        if hasattr(self._object, "teardown"):
            try:
                self._object.teardown()  # type: ignore[union-attr]
            except Exception:
                self.log.exception("teardown failed")


class _Limits:
    """Tells the supervisor, once, that this worker reached a limit: a replacement is registered before it goes."""

    def __init__(self, order: Order, slot: SlotWriter, doorbell: int) -> None:
        self._slot = slot
        self._doorbell = doorbell
        self._jobs = 0
        self._max_jobs = order.max_jobs
        # A tenth of its jobs ahead, so that even short jobs leave time to fork a replacement.
        self._warn_at = order.max_jobs - order.max_jobs // 10 if order.max_jobs else None
        self._gauge = MemoryGauge(order.max_memory_bytes) if order.max_memory_bytes else None
        self._told = False

    @property
    def last_job_done(self) -> bool:
        """It has run as many jobs as it may."""
        return self._max_jobs is not None and self._jobs >= self._max_jobs

    def before_job(self) -> None:
        """A job was assigned."""
        self._jobs += 1
        if self._jobs == self._warn_at:
            self._tell(Wear.LAST_JOBS)

    def after_job(self) -> None:
        """The job's answer is ready."""
        if self._gauge is not None and not self._told and self._gauge.is_over(time.monotonic()):
            self._tell(Wear.MEMORY)

    def _tell(self, wear: Wear) -> None:
        self._told = True
        self._slot.wear(wear)
        os.eventfd_write(self._doorbell, 1)


class WorkerProcess(WorkerObserver):
    """The life of one worker, from its first connection to its last answer."""

    def __init__(self, order: Order, code: Code, shared: Shared) -> None:
        self._order = order
        self._shared = shared
        self._slot = SlotWriter(shared.scoreboard, order.slot)
        self._pid = os.getpid()
        self._slot.claim(self._pid)
        self._limit = TimeLimit()
        self._limits = _Limits(order, self._slot, shared.doorbell)
        self._announced = False
        self._server_index = {parse_address(text): index for index, text in enumerate(order.servers)}
        self._hooks = code.hooks
        self._hooks.worker_start()
        self._routines = {
            ordered.registered: _Routine(ordered, code.function(ordered), index)
            for index, ordered in enumerate(order.functions)
        }
        settings = WorkerSettings(client_id=order.client_id)
        self._gearman = Worker([parse_address(text) for text in order.servers], settings, observer=self)
        self._gearman.interrupt_on(shared.lifeline)
        for registered in self._routines:
            self._gearman.register(registered)

    def run(self) -> None:
        """Serve until asked to stop, until the supervisor is gone or until `max_jobs` are done."""
        signal.signal(signal.SIGTERM, lambda *_: self._gearman.stop())
        while not self._limits.last_job_done:
            assigned = self._gearman.grab()
            if assigned is None:
                break
            self._limits.before_job()
            self._serve(assigned)
            self._limits.after_job()
        self._slot.leave()
        self._gearman.close()
        for routine in self._routines.values():
            routine.teardown()
        self._hooks.worker_stop()

    def connected(self, address: Address) -> None:
        """Registered with a server: the first time, the supervisor is told."""
        _log.debug("registered with %s", address)
        if not self._announced:
            self._announced = True
            self._slot.idle()
            os.eventfd_write(self._shared.doorbell, 1)

    def disconnected(self, address: Address, reason: str) -> None:
        """A server went away; the client library keeps trying to come back."""
        _log.info("job server %s: %s; trying again", address, reason)

    def result_lost(self, address: Address, handle: str) -> None:
        """The answer did not reach its server, or nobody knows: the server will run the job again."""
        _log.warning("the answer to %s may be lost with its connection to %s", handle, address)

    def server_error(self, address: Address, code: str, text: str) -> None:
        """An answer came too late, for instance."""
        _log.warning("job server %s says %s: %s", address, code, text)

    def _serve(self, assigned: WorkerJob) -> None:
        routine = self._routines.get(assigned.function)
        if routine is None:
            _log.error("%s assigned a job of %s, which is not registered", assigned.server, assigned.function)
            assigned.fail()
            return
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + int(routine.timeout_s * 1e9) if routine.timeout_s else 0
        self._slot.begin(self._server_index[assigned.server], routine.index, assigned.handle, now_ns, deadline_ns)
        failure: BaseException | None = None
        job = Job(assigned, routine.settings, routine.log, self._limit if routine.timeout_s else nullcontext())
        try:
            self._hooks.job_start(job)
            result = self._call(routine, job)
            self._end_if_a_copy()
            assigned.complete(encode_result(result))
        except BaseException as error:  # noqa: BLE001 (user code may raise anything: the job fails, the worker goes on)
            self._end_if_a_copy()
            failure = error
            self._fail(assigned, job, error)
        self._hooks.job_end(job, failure)
        self._slot.end(time.monotonic_ns(), failed=failure is not None)

    def _end_if_a_copy(self) -> None:
        """A job that forked, and came back in the child too, must not leave a second worker on our connections."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _call(self, routine: _Routine, job: Job) -> object:
        """Run user code under its time limit."""
        if routine.timeout_s is None:
            return routine.call(job)
        try:
            return self._limit.call(lambda: routine.call(job), routine.timeout_s)
        except JobTimeout:
            raise JobTimeout(f"{job.function} took longer than its timeout of {routine.timeout_s:g} s") from None

    def _fail(self, assigned: WorkerJob, job: Job, error: BaseException) -> None:
        text = _describe(error)
        self._slot.error(text)
        job.log.error("the job failed: %s", text, exc_info=error if not isinstance(error, JobTimeout) else None)
        assigned.fail_because(text.encode(errors="replace"))


def _describe(error: BaseException) -> str:
    """Its type and text; user code may have made even the text raise."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 (user code)
        return type(error).__name__


def main(order: Order, code: Code, shared: Shared) -> int:
    """Be the worker of this order, in a process that was just forked. Returns the exit code."""
    os.setsid()
    if order.nice:
        os.nice(order.nice)
    names = ",".join(function.registered for function in order.functions)
    setproctitle(f"gearman-manager: worker {order.name} {names}")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # not yet serving: nothing to finish
    try:
        process = WorkerProcess(order, code, shared)
    except Exception as error:  # noqa: BLE001 (setup is user code)
        SlotWriter(shared.scoreboard, order.slot).error(f"{type(error).__name__}: {error}")
        _log.error("the worker can't start: %s: %s", type(error).__name__, error, exc_info=True)
        return 1
    process.run()
    return 0


def flush_output() -> None:
    """Write out what user code printed last."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
