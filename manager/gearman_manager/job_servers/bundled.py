"""Runs a bundled job server for the supervisor: starts it, restarts it when it dies, and stops it last."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

import gevent
from gevent.event import AsyncResult, Event

from gearman_client import Address
from gearman_manager.config import reachable
from gearman_manager.job_servers.bundled_process import BundledProcess, ServerCanNotStart, ServerOptions
from gearman_manager.job_servers.kept_ports import KeptPorts
from gearman_manager.job_servers.policies_file import write_policies

_log = logging.getLogger("server")
_FIRST_RESTART_S: Final = 0.05
_MAX_RESTART_S: Final = 10.0
_QUIET_S: Final = 30.0
#: Connections wait for a server that has died while it is started again after a pause of so long at most.
_PATIENCE_S: Final = 1.0


class BundledServer:
    """Keeps one `gearman-server` process alive."""

    def __init__(
        self, options: ServerOptions, is_back: Callable[[], None], describe: Callable[[int | None], str]
    ) -> None:
        """`is_back` is called after each restart; `describe` puts an exit status into words."""
        self._options = options
        self._is_back = is_back
        self._describe = describe
        #: As configured; with the real ports once it was ready: a free port (0) is kept over restarts.
        self.listens = options.listening
        self.restarts = 0  #: how often it was started again, for whatever reason
        self._ports = KeptPorts(options.section)
        self._process: BundledProcess | None = None  # the last one; None before the first
        #: Gets the outcome of the next start; set while the process is being replaced.
        self._replaced: AsyncResult[None] | None = None
        self._hurry = Event()
        self._keeper = gevent.Greenlet(self._keep)
        self._is_stopping = False

    @property
    def title(self) -> str:
        """The server in messages: `the job server`, or `job server 2` of several."""
        return self._options.title

    @property
    def address(self) -> Address:
        """The address at which our own workers reach it."""
        return reachable(self.listens.jobs[0])

    @property
    def pid(self) -> int | None:
        """The server's process id while it lives."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the server and wait until it listens; afterwards it is kept alive.

        Raises:
            ServerCanNotStart: it ended before it listened, or could not even be started.
        """
        try:
            self._launch()
        except OSError as error:
            raise ServerCanNotStart(f"{self.title} can't be started: {error.strerror}") from error
        self._keeper.start()

    def replace(self, within_s: float) -> None:
        """End the process in order, and start another one, which listens when this returns.

        Running jobs may be finished for so long. What waits in memory is lost; a durable store keeps background jobs.

        Raises:
            ServerCanNotStart: the new one did not come up. It is started again and again, as one that has died.
        """
        outcome: AsyncResult[None] = AsyncResult()
        self._replaced = outcome
        self._hurry.set()  # it may be dead, and waiting for its next start
        if self._process is not None:
            self._process.finish()
            if not self._process.ended.wait(within_s):
                self._process.stop()
        outcome.get()

    def write_policies(
        self, functions: Mapping[str, Mapping[str, object]], schedules: Mapping[str, Mapping[str, object]]
    ) -> bool:
        """Write the server's file of rules and schedules, for its next start; returns whether that changed it.

        Raises:
            OSError: the file can't be written.
        """
        return write_policies(self._options.policies, functions, schedules)

    def use_policies(
        self, functions: Mapping[str, Mapping[str, object]], schedules: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Give the server new rules for the functions' jobs, and new schedules."""
        try:
            changed = self.write_policies(functions, schedules)
        except OSError as error:
            reason = f"{error.filename} can't be written: {error.strerror}"
            _log.error("%s keeps its old policies: %s", self.title, reason)
            return
        if changed and self._process is not None:
            self._process.signal(signal.SIGHUP)

    def finish(self, ended: Callable[[], None]) -> None:
        """Have the server start no job, and end once none is running; `ended` is called then."""
        self._is_stopping = True
        self._ports.release()
        if self._process is not None:
            self._process.ended.rawlink(lambda _event: ended())
            self._process.finish()

    def stop(self) -> None:
        """End the server. Call it once no process of ours needs the server any more."""
        self._is_stopping = True
        self._ports.release()
        if self._process is not None:
            self._process.stop()
        self._keeper.kill()

    def _launch(self) -> None:
        """Start a process and wait until it listens.

        Raises:
            OSError: the process can't be started.
            ServerCanNotStart: it has ended instead.
        """
        self._process = BundledProcess(self._options, self.listens, self._ports)
        self.listens = self._process.wait_until_ready(self._describe)

    def _keep(self) -> None:
        """Restart the server whenever it dies: almost at once, then with growing delays while it keeps dying."""
        delay_s = _FIRST_RESTART_S
        started_at = time.monotonic()
        while self._process is not None:
            self._process.ended.wait()
            if self._replaced is None and not self._is_stopping:
                if time.monotonic() - started_at > _QUIET_S:
                    delay_s = _FIRST_RESTART_S
                how = self._describe(self._process.status)
                _log.error("%s ended (%s); starting it again in %.2f s", self.title, how, delay_s)
                if delay_s > _PATIENCE_S:
                    self._ports.release()
                self._hurry.wait(delay_s * random.uniform(0.75, 1.25))
                delay_s = min(delay_s * 2, _MAX_RESTART_S)
            if self._is_stopping:
                return
            self._hurry.clear()
            started_at = time.monotonic()
            self._process.close()
            self._start_again()

    def _start_again(self) -> None:
        replaced, self._replaced = self._replaced, None
        failure: ServerCanNotStart | None = None
        self.restarts += 1
        try:
            self._launch()
        except OSError as error:
            _log.error("%s can't be started: %s", self.title, error.strerror)
            failure = ServerCanNotStart(f"it can't be started: {error.strerror}")
        except ServerCanNotStart as error:
            failure = error  # its own words are in the log
            self._ports.release()  # nobody is to wait for a server that does not come
        else:
            self._is_back()
        if replaced is not None and failure is not None:
            replaced.set_exception(failure)
        elif replaced is not None:
            replaced.set(None)
