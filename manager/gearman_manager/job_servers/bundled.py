"""Runs the bundled job server for the supervisor: starts it, restarts it when it dies, and stops it last."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

import gevent

from gearman_manager.job_servers.bundled_process import BundledProcess, Listening, ServerCanNotStart, ServerOptions
from gearman_manager.job_servers.policies_file import write_policies

_log = logging.getLogger("server")
_FIRST_RESTART_S: Final = 0.05
_MAX_RESTART_S: Final = 10.0
_QUIET_S: Final = 30.0


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
        self.listens = Listening(options.section.listen, options.section.metrics_listen)
        self._process: BundledProcess | None = None  # the last one; None before the first
        self._keeper = gevent.Greenlet(self._keep)
        self._is_stopping = False

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
            raise ServerCanNotStart(f"the job server can't be started: {error.strerror}") from error
        self._keeper.start()

    def use_policies(
        self, functions: Mapping[str, Mapping[str, object]], schedules: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Give the server new rules for the functions' jobs, and new schedules."""
        try:
            changed = write_policies(self._options.policies, functions, schedules)
        except OSError as error:
            _log.error("the job server keeps its old policies: %s can't be written: %s", error.filename, error.strerror)
            return
        if changed and self._process is not None:
            self._process.signal(signal.SIGHUP)

    def stop(self) -> None:
        """End the server. Call it once no process of ours needs the server any more."""
        self._is_stopping = True
        if self._process is not None:
            self._process.stop()
        self._keeper.kill()

    def _launch(self) -> None:
        """Start a process and wait until it listens.

        Raises:
            OSError: the process can't be started.
            ServerCanNotStart: it has ended instead.
        """
        self._process = BundledProcess(self._options, self.listens)
        self.listens = self._process.wait_until_ready(self._describe)

    def _keep(self) -> None:
        """Restart the server whenever it dies: almost at once, then with growing delays while it keeps dying."""
        delay_s = _FIRST_RESTART_S
        started_at = time.monotonic()
        while self._process is not None:
            self._process.ended.wait()
            if self._is_stopping:
                return
            if time.monotonic() - started_at > _QUIET_S:
                delay_s = _FIRST_RESTART_S
            how = self._describe(self._process.status)
            _log.error("the job server ended (%s); starting it again in %.2f s", how, delay_s)
            gevent.sleep(delay_s * random.uniform(0.75, 1.25))
            delay_s = min(delay_s * 2, _MAX_RESTART_S)
            started_at = time.monotonic()
            self._process.close()
            self._start_again()

    def _start_again(self) -> None:
        try:
            self._launch()
        except OSError as error:
            _log.error("the job server can't be started: %s", error.strerror)
        except ServerCanNotStart:
            return  # its own words are in the log
        else:
            self._is_back()
