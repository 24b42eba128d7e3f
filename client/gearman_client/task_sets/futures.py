"""Futures of jobs: one thread carries out the tasks that other threads hand over.

The thread starts with the first task, and ends when it had nothing to do for a while. A child of a fork gets a thread
of its own with its first task; the futures made before the fork are its parent's.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from gearman_client.arguments import check_options
from gearman_client.client.server_pool import PoolSettings
from gearman_client.client.shared_pools import SharedPools
from gearman_client.task_sets.maker import AddOptions, TaskMaker
from gearman_client.task_sets.runner import TaskRunner
from gearman_client.task_sets.set_task import SetTask

#: How long the thread stays without a task.
IDLE_S: Final = 10.0

_log = logging.getLogger(__name__)


class Futures:
    """The futures of a client's jobs. `maker` makes the jobs' tasks."""

    def __init__(self, driver: FutureDriver, maker: TaskMaker) -> None:
        self._maker = maker
        #: What carries them out.
        self.driver = driver

    def submit(self, caller: str, function: str, workload: Any, json: Any, options: AddOptions) -> Future[Any]:
        """Submit a job; `caller` is the method's name in messages.

        Raises:
            ArgumentError, TypeError: as `TaskSet.add`.
            RuntimeError: the executor has been shut down.
        """
        check_options(caller, options, AddOptions.__annotations__, ("function", "workload", "json"))
        return self.driver.submit(self._maker.foreground(function, workload, json, options))


class FutureDriver:
    """Tasks in, futures out.

    window: the most jobs under way at once. Those beyond wait here, where they can be cancelled.
    """

    def __init__(self, pools: SharedPools, settings: PoolSettings, window: int) -> None:
        self._pools = pools
        self._settings = settings
        self._window = window
        self._is_shut = False
        self._reset()
        _drivers.add(self)

    def forget_parent(self) -> None:
        """Begin anew in the child of a fork, which has no copy of the thread."""
        if self._bell is not None:
            self._bell.close()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        #: Tasks that wait for room, each with its future as context.
        self._waiting: deque[SetTask[Any]] = deque()
        self._thread: threading.Thread | None = None
        #: The end of a pair of sockets that ends the thread's wait.
        self._bell: socket.socket | None = None
        self._is_asleep = False

    def submit(self, task: SetTask[Any]) -> Future[Any]:
        """Hand over a task; returns the future of its result.

        Raises:
            RuntimeError: after `shut`.
        """
        future: Future[Any] = Future()
        task.context = future
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(task)
            if self._thread is None:
                self._start()
            elif self._is_asleep:
                self._ring()
        return future

    def shut(self, *, wait: bool, cancel: bool) -> None:
        """Take no more tasks. cancel: those that are not under way. wait: until the others are done."""
        with self._lock:
            self._is_shut = True
            cancelled = list(self._waiting) if cancel else []
            if cancel:
                self._waiting.clear()
            thread = self._thread
            self._ring()
        for task in cancelled:
            task.context.cancel()
            task.context.set_running_or_notify_cancel()
        if wait and thread is not None:
            thread.join()

    def _start(self) -> None:
        mine, self._bell = socket.socketpair()
        for end in (mine, self._bell):
            end.setblocking(False)
        # A daemon, so that the end of the program need not wait for its idle time; `_at_exit` waits for its tasks.
        self._thread = threading.Thread(target=self._run, args=(mine,), name="gearman futures", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        self._is_asleep = False
        if self._bell is not None:
            with suppress(BlockingIOError):  # then it was rung often enough
                self._bell.send(b"!")

    def _run(self, bell: socket.socket) -> None:
        runner = TaskRunner(self._pools, self._settings, wakes=bell.fileno(), on_error=_log_callback)
        under_way: set[SetTask[Any]] = set()
        until = monotonic() + IDLE_S
        try:
            while self._begin(runner, under_way, until):
                runner.step(until if not runner.unfinished else inf)
                with suppress(BlockingIOError):
                    bell.recv(4096)
                if runner.finished:
                    _deliver(runner, under_way)
                    until = monotonic() + IDLE_S
        except BaseException as error:  # noqa: BLE001 - whoever waits for a future has to hear of it
            self._break(under_way, error)
        finally:
            runner.close()
            bell.close()

    def _begin(self, runner: TaskRunner, under_way: set[SetTask[Any]], until: float) -> bool:
        """Begin as many tasks as there is room for. False ends the thread: there was nothing to do for a while."""
        with self._lock:
            while self._waiting and runner.unfinished < self._window:
                task = self._waiting.popleft()
                if task.context.set_running_or_notify_cancel():
                    under_way.add(task)
                    runner.add(task)
            if not runner.unfinished:
                if self._is_shut or monotonic() >= until:
                    self._forget_thread()
                    return False
                runner.close()  # others may need the connections
            self._is_asleep = True
            return True

    def _break(self, under_way: set[SetTask[Any]], error: BaseException) -> None:
        with self._lock:
            self._forget_thread()
            waiting = [task for task in self._waiting if task.context.set_running_or_notify_cancel()]
            self._waiting.clear()
        for task in (*under_way, *waiting):
            task.context.set_exception(error)

    def _forget_thread(self) -> None:
        self._thread = None
        if self._bell is not None:
            self._bell.close()
            self._bell = None


def _deliver(runner: TaskRunner, under_way: set[SetTask[Any]]) -> None:
    while runner.finished:
        task = runner.finished.popleft()
        under_way.discard(task)
        future: Future[Any] = task.context
        try:
            result = task.result()
        except Exception as error:  # noqa: BLE001 - a codec's error too belongs to whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(result)


def _log_callback(_error: BaseException) -> None:
    _log.exception("a callback of a job raised")


_drivers: WeakSet[FutureDriver] = WeakSet()


def _after_fork() -> None:
    for driver in list(_drivers):
        driver.forget_parent()


def _at_exit() -> None:
    """As with the executors of the standard library, a program ends when its futures are done."""
    for driver in list(_drivers):
        driver.shut(wait=True, cancel=False)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
