"""The worker: grabs jobs from several job servers. Each answer leaves with the next grab, in one write.

`grab` gets one job, `grab_many` all that the server gives at once, up to the `prefetch` of the settings.

A process that runs jobs creates its worker after its last fork; there are no threads. A ServerLink handles everything
about one server; the worker decides which server to ask, how long to wait, and when to stop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any, Final, TypeVar, overload

from gearman_client.address import default_servers, parse_addresses
from gearman_client.arguments import to_count, to_limit, to_optional_seconds, to_seconds
from gearman_client.errors import ArgumentError
from gearman_client.extensions import (
    MAX_JOBS_AT_ONCE,
    MAX_LINGER_MS,
    MAX_RETURN_KEY_BYTES,
    MIN_RETURN_KEY_BYTES,
)
from gearman_client.tls import Tls
from gearman_client.worker.base_worker import BaseWorker, Servers
from gearman_client.worker.callbacks import JobCallback, name_of, prepared
from gearman_client.worker.job_loop import JobLoop, RoundHooks, StopCondition, logger
from gearman_client.worker.link_state import LinkState
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.set_link import SetLink
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import Batch, WorkerSettings

#: With several servers, the worker turns to the next one after this many jobs or this long, so that none starves.
TURN_JOBS: Final = 100
TURN_S: Final = 0.1
#: The longest `return_key`: the key of a set has its number too.
MAX_KEY_BYTES: Final = MAX_RETURN_KEY_BYTES - 24
#: With a single server that has jobs, the worker polls its other descriptors this often.
LOOK_INTERVAL_S: Final = 0.001

Taken = TypeVar("Taken", WorkerJob, list[WorkerJob])
Function = TypeVar("Function", bound=Callable[..., object])
Hook = TypeVar("Hook")

_DEFAULT_SETTINGS: Final = WorkerSettings()


class Worker(BaseWorker[SetLink]):
    """Serves every job server in `servers` at once, and connects and reconnects inside `grab`.

    servers: None: those that GEARMAN_SERVERS names, else the one on this machine, as with `Client`.
    observer: told of connections and jobs; without one, the log is.
    tls: for servers that speak TLS; an `Address` may have its own.
    client_id: wins over that of the settings.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: the client id or the namespace can't be sent, or a time or number of the settings is none.
    """

    def __init__(
        self,
        servers: Servers | None = None,
        settings: WorkerSettings = _DEFAULT_SETTINGS,
        *,
        observer: WorkerObserver | None = None,
        tls: Tls | None = None,
        client_id: str | None = None,
    ) -> None:
        if client_id is not None:
            settings = replace(settings, client_id=client_id)
        to_count(settings.prefetch, "prefetch", MAX_JOBS_AT_ONCE)
        _check_key(settings.return_key)
        servers = default_servers(os.environ) if servers is None else servers
        super().__init__(parse_addresses(servers, tls), settings, observer, SetLink)
        self._callbacks: dict[str, JobCallback] = {}
        self._given: dict[str, Callable[..., object]] = {}
        self._current = 0
        self._turn_jobs = 0
        self._turn_ends_at = 0.0
        self._looked_at = 0.0
        self._readiness.watch_interrupt(self._wake_reader)

    def register(
        self, function: str, callback: Callable[..., object] | None = None, *, batch: Batch | None = None
    ) -> None:
        """Offer `function` to all servers. `work` calls `callback` with each job; `grab` alone needs none.

        callback: a function of the job, a task, which gets the arguments that were sent, or a coroutine function, which
            runs in an event loop of its own.
        batch: `grab_many` gets several jobs of this function at once, and none of another with them. `work` knows no
            batches, so there is no callback then.

        Raises:
            ArgumentError: the callback can't be called, or the batch has impossible values.
            UnsupportedAnnotation: JSON has no form for a parameter of a task.
        """
        if batch is not None and callback is not None:
            raise ArgumentError(f"{function}: a batch is got with grab_many, so no callback is called for it")
        if callback is not None and not callable(callback):
            raise ArgumentError(f"the callback of {function} is {type(callback).__name__}: expected a function")
        name = self._name_of(function)
        if batch is not None and name not in self._context.functions:
            to_count(batch.at_most, "at_most", MAX_JOBS_AT_ONCE)
            if to_limit(batch.linger_s, "linger_s") * 1000 > MAX_LINGER_MS:
                raise ArgumentError(f"linger_s {batch.linger_s!r}: expected {MAX_LINGER_MS // 1000} seconds at most")
            self._context.batches[name] = batch
        self._offer(function)
        if callback is not None:
            self._callbacks[function] = prepared(callback)
            self._given[function] = callback

    @overload
    def function(self, named: Function, /) -> Function: ...
    @overload
    def function(self, named: str, /) -> Callable[[Function], Function]: ...
    def function(self, named: Any, /) -> Any:
        """Register a function as a decorator: `@worker.function` under its own name (a task's is the name that it has),
        `@worker.function("name")`."""
        if isinstance(named, str):
            return lambda callback: self._registered(named, callback)
        return self._registered(name_of(named), named)

    def _registered(self, name: str, callback: Function) -> Function:
        self.register(name, callback)
        return callback

    def unregister(self, function: str) -> None:
        """Stop offering `function`. The server requeues a job of it that is running and unanswered."""
        name = self._name_of(function)
        self._callbacks.pop(function, None)
        self._given.pop(function, None)
        self._context.batches.pop(name, None)
        if self._context.functions.pop(name, None) is not None:
            for link in self._links:
                link.cant_do(name)

    @property
    def callbacks(self) -> dict[str, Callable[..., object]]:
        """A copy of the registered callbacks, by the functions' names."""
        return dict(self._given)

    def unregister_all(self) -> None:
        """Stop offering any function."""
        for function in list(self._context.functions.values()):
            self.unregister(function)

    def grab(self, timeout_s: timedelta | float | None = None) -> WorkerJob | None:
        """Send the pending answers, and get the next job.

        Returns None once `timeout_s` has passed, after `stop`, and while an interrupt descriptor can be read (it is
        checked once a millisecond, so not after each of the shortest jobs). The pending answers have been sent in these
        cases too. The worker always waits for the reply to a grab under way, for at most `reply_timeout_s` of the
        settings, so that no assigned job is dropped.

        Raises:
            InUse: another thread is in `grab`, or the worker was made before a fork.
        """
        self._use.begin()
        try:
            return self._get(SetLink.grab, timeout_s)
        finally:
            self._use.end()

    def grab_many(self, timeout_s: timedelta | float | None = None) -> list[WorkerJob]:
        """As `grab`, but get several jobs at once: up to `prefetch` of the settings, or one batch of a function.

        The jobs are to be run in this order. The next `grab_many` tells the server that this worker holds no job any
        more: jobs without an answer go back into their queue. Those that are not begun when the worker stops go back
        with `give_back`. Returns [] where `grab` returns None. A server that is not ours gives one job at a time.
        """
        self._use.begin()
        try:
            return self._get(SetLink.grab_many, timeout_s) or []
        finally:
            self._use.end()

    @property
    def set_number(self) -> int:
        """The number of the set that `grab_many` got last, for `extensions.key_of_set`."""
        return self._context.set_number

    def look(self) -> bool:
        """Handle what has arrived, without waiting: between two jobs of a set. It costs something once a millisecond.

        Returns False after `stop`, and while an interrupt descriptor can be read. The loss of a server shows in
        `is_lost` of its jobs.
        """
        now = monotonic()
        if now >= self._looked_at + LOOK_INTERVAL_S:
            self._looked_at = now
            self._serve(0.0)
        return not self._is_stopping and not self._readiness.is_interrupted

    def give_back(self, jobs: Iterable[WorkerJob]) -> None:
        """Give these jobs of the last `grab_many`, which have not been begun, back to the head of their queue, at once.

        They do not count as attempts. Jobs that have been answered, or whose connection is gone, are passed over.
        """
        jobs = list(jobs)
        for link in self._links:
            link.give_back(jobs)
            link.flush()

    def _get(self, take: Callable[[SetLink], Taken | None], timeout_s: timedelta | float | None) -> Taken | None:
        now = monotonic()
        deadline = inf if timeout_s is None else now + to_seconds(timeout_s, "timeout_s")
        wait_s: float | None = 0.0
        while True:
            if wait_s != 0.0 or not self._looked_just_now(now):
                self._serve(wait_s)
                self._looked_at = now
            if self._is_stopping or self._readiness.is_interrupted:
                break
            link = self._choose_link()
            if link is not None:
                self._flush_except(link)
                taken = take(link)
                if taken:
                    return taken
                wait_s, now = 0.0, monotonic()
                continue
            self.flush()
            now = monotonic()
            if now >= deadline:
                break
            wait_s = self._time_to_wait(now, deadline)
        self.flush()
        return None

    def work(self, *, max_jobs: int | None = None, timeout_s: timedelta | float | None = None) -> int:
        """Run jobs with the registered callbacks; returns the number of jobs. `work(max_jobs=1)` is one cycle.

        It ends after `max_jobs`, when no job came for `timeout_s` (None: it waits on), after `stop`, and while an
        interrupt descriptor can be read.
        With a `prefetch` above 1 it gets several at once. They run one after the other; their answers leave together.
        The callback's return value is the result: bytes, text, None, or what JSON can hold. An exception fails the job
        and is logged, and the loop goes on.

        Raises:
            ArgumentError: `max_jobs` or `timeout_s` is no number.
            InUse: another thread is in `work`, or the worker was made before a fork.
        """
        return self._loop().run(_most(max_jobs), to_optional_seconds(timeout_s, "timeout_s"), None)

    def run(
        self,
        *,
        max_jobs: int | None = None,
        on_idle: Callable[[], object] | None = None,
        stop_if: StopCondition | None = None,
        idle_s: timedelta | float = 1.0,
        signals: bool = True,
    ) -> int:
        """As `work`, for a whole process: until SIGTERM or SIGINT, `stop`, `stop_if` or `max_jobs`.

        The first signal lets the job that runs be finished. The second ends it at once, by KeyboardInterrupt (SIGINT)
        or SystemExit in the callback; its server runs it again. At the end the handlers from before are back.

        on_idle: called when no server had a job for `idle_s`, and again after each further `idle_s`, for instance to
            close what is not needed. What it raises is logged.
        stop_if: called after each job and after each `idle_s` without one, with two arguments as in Perl's library:
            whether the worker is idle, and the end of the last job as Unix seconds (None: there was none). The run ends
            when it returns something true, and with an exception that it raises.
        signals: False leaves the signals alone. Outside the main thread they are left alone in any case.

        Raises:
            ArgumentError: an argument is of the wrong type.
            InUse: another thread is in `run`, or the worker was made before a fork.
        """
        from gearman_client.worker.stop_signals import StopSignals  # here: a client needs no `signal`

        hooks = None
        if on_idle is not None or stop_if is not None:
            hooks = RoundHooks(_callable(on_idle, "on_idle"), _callable(stop_if, "stop_if"))
        wait_s = None if hooks is None else to_limit(idle_s, "idle_s")
        most = _most(max_jobs)
        servers = ", ".join(str(link.address) for link in self._links)
        logger.info("serving %s at %s", ", ".join(self._callbacks) or "no function", servers)
        with StopSignals(self.stop) if signals else nullcontext():
            jobs = self._loop().run(most, wait_s, hooks)
        logger.info("ended after %d jobs", jobs)
        return jobs

    def _loop(self) -> JobLoop:
        context = self._context
        return JobLoop(self, self._callbacks, context.observer, gets_sets=context.settings.prefetch > 1)

    def _looked_just_now(self, now: float) -> bool:
        """Whether the last poll is recent enough. A poll is a system call, too expensive for each of the shortest jobs.

        A grab reads the packets of a single server itself. Everything else, above all an interrupt, can wait that long.
        """
        return (
            now < self._looked_at + LOOK_INTERVAL_S
            and len(self._links) == 1
            and not self._readiness.is_interrupted
            and self._links[0].state is LinkState.READY
        )

    def _choose_link(self) -> SetLink | None:
        """A link that may have a job: the current one until its turn is over, then the next in the circle."""
        links = self._links
        if len(links) == 1:
            return links[0] if links[0].state is LinkState.READY else None
        now = monotonic()
        self._current %= len(links)
        self._turn_jobs -= 1
        if self._turn_jobs > 0 and now < self._turn_ends_at and links[self._current].state is LinkState.READY:
            return links[self._current]
        for step in range(1, len(links) + 1):
            index = (self._current + step) % len(links)
            if links[index].state is LinkState.READY:
                self._current, self._turn_jobs, self._turn_ends_at = index, TURN_JOBS, now + TURN_S
                return links[index]
        return None

    def _flush_except(self, link: SetLink) -> None:
        """Flush the other links: their answers must not wait for their turn. The chosen link's leave with its grab."""
        if len(self._links) > 1:
            for other in self._links:
                if other is not link:
                    other.flush()


def _check_key(key: bytes) -> None:
    if key and not (MIN_RETURN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES and b"\0" not in key):
        raise ArgumentError(f"return_key: expected {MIN_RETURN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, none of them zero")


def _most(max_jobs: int | None) -> float:
    if max_jobs is not None and not isinstance(max_jobs, int):
        raise ArgumentError(f"max_jobs {max_jobs!r}: expected a whole number")
    return inf if max_jobs is None else max_jobs


def _callable(given: Hook, what: str) -> Hook:
    if given is not None and not callable(given):
        raise ArgumentError(f"{what} {given!r}: expected a function")
    return given
