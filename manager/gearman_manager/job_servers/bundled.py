"""Runs the bundled job server for the supervisor: starts it, restarts it when it dies, and stops it last."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.event
import gevent.socket

from gearman_client import Address
from gearman_manager.config.models import Server
from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.job_servers.policies import write_policies
from gearman_manager.logs.output import ChildOutput

_log = logging.getLogger("server")
READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
_FIRST_RESTART_S: Final = 0.05
_MAX_RESTART_S: Final = 10.0
_QUIET_S: Final = 30.0


class StartFailure(Enum):
    """The reasons not to start that the server reports; the values are those of `gearman_server.errors`."""

    ADDRESS_TAKEN = "address-taken"
    CANT_LISTEN = "cant-listen"
    NEEDS_RIGHTS = "needs-rights"
    STORE = "store"
    OTHER = "other"


class ServerCanNotStart(StartError):
    """The server ended before it listened; the message is its reason, without the remedy that it knows."""

    def __init__(self, reason: str, failure: StartFailure = StartFailure.OTHER, option: str = "") -> None:
        super().__init__(reason)
        self.failure = failure
        #: The server's option that chooses something else.
        self.option = option


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of a job server's process."""

    section: Server  #: of the configuration; a free port (0) is kept over restarts
    log_level: str
    policies: Path


class BundledServer:
    """Keeps one `gearman-server` process alive."""

    def __init__(
        self, options: ServerOptions, changed: Callable[[], None], describe: Callable[[int | None], str]
    ) -> None:
        """`changed` is called after each restart; `describe` puts an exit status into words."""
        self._options = options
        self._changed = changed
        self._describe = describe
        self.addresses = options.section.listen  # these two have the real ports once the server is ready
        self.metrics_address = options.section.metrics_listen
        self._child: process.Child | None = None
        self._output: ChildOutput | None = None
        self._lifeline: Any = None
        self._ended = gevent.event.Event()
        self._status: int | None = None
        self._refusal: Mapping[str, str] | None = None
        self._is_stopping = False
        self._keeper: gevent.Greenlet[[], None] | None = None

    @property
    def address(self) -> Address:
        """The first address, to which our own workers connect."""
        return self.addresses[0]

    @property
    def pid(self) -> int | None:
        """The server's process id while it lives."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the server and wait until it listens; afterwards it is kept alive.

        Raises:
            ServerCanNotStart: it ended before it listened, or could not even be started.
        """
        try:
            listens = self._launch()
        except OSError as error:
            raise ServerCanNotStart(f"the job server can't be started: {error.strerror}") from error
        if not listens:
            raise self._failure()
        self._keeper = gevent.spawn(self._keep)

    def use_policies(
        self, functions: Mapping[str, Mapping[str, object]], schedules: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Give the server new rules for the functions' jobs, and new schedules."""
        try:
            changed = write_policies(self._options.policies, functions, schedules)
        except OSError as error:
            _log.error("the job server keeps its old policies: %s can't be written: %s", error.filename, error.strerror)
            return
        if changed and self._child is not None:
            process.send_signal(self._child.pidfd, signal.SIGHUP)

    def stop(self) -> None:
        """End the server. Call it once no process of ours needs the server any more."""
        self._is_stopping = True
        if self._child is not None:
            process.send_signal(self._child.pidfd, signal.SIGTERM)
            if not self._ended.wait(STOP_TIMEOUT_S) and self._child is not None:
                process.send_signal(self._child.pidfd, signal.SIGKILL)
                self._ended.wait(STOP_TIMEOUT_S)
        if self._keeper is not None:
            self._keeper.kill()

    def _launch(self) -> bool:
        """Start a process and wait until it listens (True) or has ended (False).

        Raises:
            OSError: the process can't be started.
        """
        loop = gevent.get_hub().loop
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._output = ChildOutput(loop, "server", {}, logs_json=True)
                command = self._command(theirs.fileno())
                # Not on the command line: the URL of a store can hold a password, and every user can list processes.
                environment = {**os.environ, "GEARMAN_STORE_URL": self._options.section.store}
                child = process.start(command, [theirs.fileno()], self._output.write_end, environment)
            except OSError:
                ours.close()
                if self._output is not None:
                    self._output.close()
                raise
        self._ended.clear()
        self._child = child
        self._output.handed_over()
        self._output.extra["pid"] = child.pid
        self._lifeline = gevent.socket.socket(fileno=ours.detach())
        watcher = loop.io(child.pidfd, 1)
        watcher.start(self._gone, watcher)
        return self._wait_until_ready()

    def _command(self, supervised: int) -> list[str]:
        options = self._options
        dead_letters, results = options.section.dead_letters, options.section.results
        first, *others = self.addresses
        metrics = () if self.metrics_address is None else ("--metrics-listen", str(self.metrics_address))
        return [
            *(sys.executable, "-P", "-m", "gearman_server"),
            *("--listen", first.host, "--port", str(first.port)),
            *(word for address in others for word in ("--listen", str(address))),
            *metrics,
            *("--verbose", options.log_level, "--log-format", "json"),
            *("--policies", str(options.policies)),
            *("--dead-letters", str(dead_letters.max_count)),
            *("--dead-letters-size", str(dead_letters.max_size)),
            *("--dead-letters-age", str(dead_letters.max_age)),
            *("--results", str(results.max_count)),
            *("--results-size", str(results.max_size)),
            *("--result-data", str(results.max_data)),
            *("--log-file", "stderr", "--supervised-fd", str(supervised)),
        ]

    def _wait_until_ready(self) -> bool:
        line = b""
        self._lifeline.settimeout(READY_TIMEOUT_S)
        try:
            while not line.endswith(b"\n"):
                data = self._lifeline.recv(4096)
                if not data:
                    self._ended.wait(STOP_TIMEOUT_S)
                    return False
                line += data
        except OSError:
            if self._child is not None:
                process.send_signal(self._child.pidfd, signal.SIGKILL)
            self._ended.wait(STOP_TIMEOUT_S)
            return False
        ready = json.loads(line)
        if "failed" in ready:
            self._refusal = ready
            self._ended.wait(STOP_TIMEOUT_S)
            return False
        self.addresses = (_with_real_port(self.address, ready["listening"]), *self.addresses[1:])
        if self.metrics_address is not None:
            self.metrics_address = _with_real_port(self.metrics_address, ready["metrics"])
        return True

    def _gone(self, watcher: Any) -> None:
        """Called in the hub when the process has ended."""
        watcher.stop()
        watcher.close()
        if self._child is None:
            return
        self._status = process.exit_status(self._child.pidfd)
        os.close(self._child.pidfd)
        self._child = None
        if self._output is not None:
            self._output.close()
        self._ended.set()

    def _keep(self) -> None:
        """Restart the server whenever it dies: almost at once, then with growing delays while it keeps dying."""
        delay_s = _FIRST_RESTART_S
        started = time.monotonic()
        while True:
            self._ended.wait()
            if self._is_stopping:
                return
            if time.monotonic() - started > _QUIET_S:
                delay_s = _FIRST_RESTART_S
            how = self._describe(self._status)
            _log.error("the job server ended (%s); starting it again in %.2f s", how, delay_s)
            gevent.sleep(delay_s * random.uniform(0.75, 1.25))
            delay_s = min(delay_s * 2, _MAX_RESTART_S)
            started = time.monotonic()
            try:
                self._lifeline.close()
                if self._launch():
                    self._changed()
            except OSError as error:
                _log.error("the job server can't be started: %s", error.strerror)

    def _failure(self) -> ServerCanNotStart:
        """Why the server does not listen: its report to us, or the last line that it wrote before it ended."""
        if self._refusal is not None:
            told = self._refusal
            return ServerCanNotStart(told["reason"], StartFailure(told["failed"]), told["option"])
        lines = self._output.last_lines if self._output else []
        last = lines[-1] if lines else f"the job server ended ({self._describe(self._status)}) without a word"
        # After the semicolon the server names its own options, but a manager's user has the configuration.
        return ServerCanNotStart(last.removeprefix("gearman-server: ").partition("; ")[0])


def _with_real_port(address: Address, listening: Sequence[str]) -> Address:
    return Address(address.host, int(listening[0].rpartition(":")[2]))
