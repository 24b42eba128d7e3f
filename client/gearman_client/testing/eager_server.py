"""The eager server: a job server in this process, to which every client of this process is connected while it is there.

It is the object that tests use. Everything above the network is the client's own: checks, codecs, callbacks, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from gearman_client.address import Address
from gearman_client.client import shared_pools
from gearman_client.connection import stand_in
from gearman_client.errors import ArgumentError, CouldNotConnect
from gearman_client.testing.broker import Broker
from gearman_client.testing.eager_socket import EagerSocket
from gearman_client.testing.functions import declared_name, loaded_function, make_function, seconds_of
from gearman_client.testing.submitted_job import SubmittedJob
from gearman_client.text import to_function
from gearman_client.worker.worker import Worker

Target = TypeVar("Target", bound=Callable[..., Any])


class EagerServer:
    """A context manager: inside it, all clients of this process submit their jobs here, whatever servers they name.

    A foreground job runs in the call that waits for it. A background job waits until `run_all`, or runs at once.

    at_once: run background jobs while they are submitted.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._broker = Broker()
        self._broker.at_once = at_once
        self._sockets: set[EagerSocket] = set()
        self._is_down = False
        self._before: stand_in.StandIn | None = None

    def __enter__(self) -> Self:
        self._before = stand_in.use(self._connect)
        shared_pools.close_idle()  # connections to real servers
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        stand_in.use(self._before)
        self._broker.close()
        self._hang_up()

    # --- functions

    @overload
    def register(self, function: Target, /, **options: Any) -> Target: ...
    @overload
    def register(self, function: str, callback: Target, /, **options: Any) -> Target: ...
    @overload
    def register(self, function: str, /, **options: Any) -> Callable[[Target], Target]: ...
    def register(self, function: Any, callback: Any = None, /, **options: Any) -> Any:
        """Let a function do the jobs of its name; another one of that name is replaced.

        function: the name, or a function that has one; with a name alone this is a decorator.
        callback: what a worker could run: a function of the job (a `WorkerJob`, or one for the manager), a task, a
            class with `run`, `async def` too.
        options: `retries`, `crash_retries`, `timeout`, `keep_result`, `max_queue`, `settings`, as in the manager's
            configuration; they win over those of the function's decorator.

        Raises:
            ArgumentError: it can't be called, has no name, or an option has a value that it can't have.
            TypeError: there is no such option.
        """
        if isinstance(function, str) and callback is None:
            return lambda target: self.register(function, target, **options)
        target = function if callback is None else callback
        name = declared_name(target) if callback is None else function
        to_function(name)
        self._broker.functions[name] = make_function(name, target, options)
        return target

    def use(self, worker: Worker, **options: Any) -> None:
        """Register all functions of a `Worker`, which is not run; `options` are for each of them."""
        for name, callback in worker.callbacks.items():
            self.register(name, callback, **options)

    def load(self, *folders: str | Path) -> list[str]:
        """Register all functions of the manager's worker modules in these folders; returns their names.

        Raises:
            ArgumentError: gearman-manager is not installed, or a module can't be loaded; the text names its place.
        """
        try:
            discovery = import_module("gearman_manager.modules.discovery")
        except ImportError as error:
            raise ArgumentError(
                f"worker modules are loaded by gearman-manager, which is not installed here ({error}): "
                "pip install gearman-manager"
            ) from error
        found = discovery.load_all([Path(folder).absolute() for folder in folders])
        if found.errors:
            raise ArgumentError("; ".join(str(error) for error in found.errors))
        for loaded in found.functions:
            self._broker.functions[loaded.name] = loaded_function(loaded)
        return [loaded.name for loaded in found.functions]

    # --- jobs

    @property
    def jobs(self) -> list[SubmittedJob]:
        """All jobs that were submitted since the start or the last `clear`, in this order."""
        return list(self._broker.jobs)

    def submitted(self, function: str | None = None, *, background: bool | None = None) -> list[SubmittedJob]:
        """Those of one function, or all; only background jobs, or only others."""
        return [
            job
            for job in self._broker.jobs
            if function in (None, job.function) and background in (None, job.background)
        ]

    @property
    def waiting(self) -> list[SubmittedJob]:
        """Background jobs that have not run yet, delayed ones too."""
        return [job for job in self._broker.jobs if job.state in ("waiting", "delayed")]

    @property
    def at_once(self) -> bool:
        """Whether background jobs run while they are submitted."""
        return self._broker.at_once

    @at_once.setter
    def at_once(self, value: bool) -> None:
        self._broker.at_once = value

    def run_all(self, *functions: str) -> list[SubmittedJob]:
        """Run the background jobs that wait, of these functions or of all, and the jobs that they submit; returns them.

        High priority first, else in the order of submission. A delayed job waits for `advance`, and one whose function
        is not registered for its function.

        Raises:
            ArgumentError: a function is not registered.
            RuntimeError: the jobs submit one another without end.
        """
        for name in functions:
            if name not in self._broker.functions:
                raise ArgumentError(f"no function {name} is registered: register({name!r}, …)")
        return self._broker.run_due(functions or None)

    def advance(self, duration: str | float | timedelta) -> None:
        """Put the server's clock forward, for delayed jobs and kept results: `"1h"`, seconds, or a timedelta.

        The clock of the program under test stays as it is. With `at_once` the jobs whose time has come run now.

        Raises:
            ArgumentError: it is no duration.
        """
        self._broker.advance(seconds_of(duration, "duration"))
        if self._broker.at_once:
            self._broker.run_due()

    def clear(self) -> None:
        """Forget all jobs."""
        self._broker.forget()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Inside this the server is down: its connections are lost, and clients get CouldNotConnect."""
        self._is_down = True
        self._hang_up()
        try:
            yield
        finally:
            self._is_down = False

    def _connect(self, address: Address) -> EagerSocket:
        if self._is_down:
            raise CouldNotConnect(f"could not connect to {address}: Connection refused; the test has it down")
        sock = EagerSocket(self._broker, self._sockets.discard)
        self._sockets.add(sock)
        return sock

    def _hang_up(self) -> None:
        for sock in list(self._sockets):
            sock.hang_up()
        self._sockets.clear()
