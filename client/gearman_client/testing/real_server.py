"""A gearman-manager with its job server and workers, for the time of a test session: started, waited for, and stopped.

It is started as a program. Nothing of the manager is imported here, because most who install the client do not have it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from gearman_client.admin.admin import connect_admin
from gearman_client.client.client import Client

#: The limits for the start, with the imports of the workers' modules, and for the end.
START_S: Final = 60.0
STOP_S: Final = 90.0
_LOG_LINES: Final = 30


class RealServerError(Exception):
    """The manager is not installed, or did not start; the text says why."""


class RealServer:
    """A context manager. The job server listens on a free port of this machine, and keeps its jobs in memory.

    config: keys of the manager's configuration (docs/configuration.md), at least `workers_dir`; paths as they are, from
        `base` on. They win over the defaults: `{"server": …, "defaults": {"min": 1, "max": 2}}`.
    base: the folder at which relative paths start; None: the current one.

    Raises (from `with`):
        RealServerError: the manager is not installed, did not start, or a worker's module can't be loaded.
    """

    def __init__(self, config: Mapping[str, Any], *, base: str | Path | None = None) -> None:
        self._config = dict(config)
        self._base = Path.cwd() if base is None else Path(base).resolve()
        self._folder = Path()
        self._keeper: subprocess.Popen[bytes] | None = None
        #: `host:port` of the job server.
        self.address = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the manager, and wait until its workers are registered."""
        if not _is_installed():
            raise RealServerError(
                "a real job server with workers needs gearman-manager, which is not installed in this environment: "
                "pip install gearman-manager"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="gearman-"))  # a socket's path is short
        try:
            self._launch()
            self.address = self._address()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, after the jobs that run, and remove its files."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            if keeper.stdin is not None:
                keeper.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                keeper.wait(STOP_S)
            if keeper.poll() is None:
                keeper.kill()
                keeper.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self, **options: Any) -> Client:
        """A client of the job server; the options are those of `Client`."""
        return Client(self.address, **options)

    def log(self) -> str:
        """What the manager and its workers have written so far."""
        return (self._folder / "manager.log").read_text(errors="replace")

    def wait_until_idle(self, timeout_s: float = 30.0) -> None:
        """Wait until no job waits or runs, for tests that look at the effects of background jobs.

        Raises:
            TimeoutError: some still do after `timeout_s` seconds; the text names them.
        """
        deadline = monotonic() + timeout_s
        with connect_admin(self.address) as admin:
            while busy := {row.function: row.total for row in admin.status() if row.total}:
                if monotonic() >= deadline:
                    raise TimeoutError(f"after {timeout_s:g} s jobs still wait or run: {busy}")
                select.select([], [], [], 0.01)

    def _launch(self) -> None:
        config_file = self._folder / "config.yaml"
        config_file.write_text(json.dumps(self._whole_config(), indent=2))  # JSON is YAML
        place = self._folder / "ready"
        command = [sys.executable, "-m", "gearman_client.testing.keeper", *self._command()]
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
            (self._folder / "manager.log").open("wb") as log,
        ):
            ready.bind(str(place))
            self._keeper = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(place)},
                start_new_session=True,
            )
            self._wait_for_start(self._keeper, ready)

    def _whole_config(self) -> dict[str, Any]:
        config = {
            "run_dir": "run",
            "server": {"listen": "127.0.0.1:0", "store": "memory"},
            "defaults": {"min": 1, "max": 2},
            **self._config,
        }
        for key in ("workers_dir", "include"):
            if key in config:
                paths = [config[key]] if isinstance(config[key], str | Path) else config[key]
                config[key] = [str(self._base / path).replace("$", "$$") for path in paths]
        return config

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gearman_manager", "-c", str(self._folder / "config.yaml"), *words]

    def _wait_for_start(self, keeper: subprocess.Popen[bytes], ready: socket.socket) -> None:
        """Until the manager says READY=1, as to systemd."""
        ended = os.pidfd_open(keeper.pid)
        deadline = monotonic() + START_S
        try:
            while True:
                heard, _, _ = select.select([ready.fileno(), ended], [], [], max(0.0, deadline - monotonic()))
                if ready.fileno() in heard:
                    if b"READY=1" in ready.recv(4096):
                        return
                elif heard:
                    raise RealServerError(f"gearman-manager did not start:\n{self._end_of_log()}")
                else:
                    raise RealServerError(f"gearman-manager is not ready after {START_S:g} s:\n{self._end_of_log()}")
        finally:
            os.close(ended)

    def _address(self) -> str:
        answer = subprocess.run(
            self._command("status", "--json"), capture_output=True, text=True, timeout=START_S, check=False
        )
        if answer.returncode:
            raise RealServerError(f"gearman-manager does not answer: {answer.stderr}\n{self._end_of_log()}")
        report = json.loads(answer.stdout)
        failures = [f"{error['file']}:{error['line']}: {error['message']}" for error in report["errors"]]
        failures += [f"pool {name}: {pool['last_error']}" for name, pool in report["pools"].items() if pool["failing"]]
        if failures:
            raise RealServerError("gearman-manager runs, but not all of it:\n" + "\n".join(failures))
        if not report["servers"]:
            raise RealServerError("the configuration has no job server")
        return str(next(iter(report["servers"])))

    def _end_of_log(self) -> str:
        return "\n".join(self.log().splitlines()[-_LOG_LINES:])


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("gearman_manager") is not None
    except ValueError:  # somebody has put None into its place, so that its import fails
        return False
