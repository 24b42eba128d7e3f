"""The job servers of this manager: the bundled one, if the configuration has it, and others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import gevent

from gearman_client import Address
from gearman_manager.config import Config, ResolvedFunction, reachable
from gearman_manager.errors import StartError
from gearman_manager.job_servers import policies_file
from gearman_manager.job_servers.bundled import BundledServer
from gearman_manager.job_servers.bundled_process import ServerCanNotStart, ServerOptions, StartFailure

_log = logging.getLogger("manager")


class JobServers:
    """Starts and stops the bundled server, gives it the functions' rules, and knows the addresses for the workers."""

    def __init__(
        self, config: Config, folder: Path, is_back: Callable[[], None], describe: Callable[[int | None], str]
    ) -> None:
        """The server's policies are written into `folder`; `is_back` is called when it is back after its death."""
        self._config = config
        self._policies = folder / policies_file.FILE_NAME
        self._bundled = None
        if config.server is not None:
            # Every connection that opens and closes is the server's INFO: too much between the manager's own lines.
            level = {"info": "NOTICE"}.get(config.log.level, config.log.level.upper())
            self._bundled = BundledServer(ServerOptions(config.server, level, self._policies), is_back, describe)
        self._bringing_up = gevent.Greenlet(self._bring_up)

    @property
    def addresses(self) -> list[Address]:
        """The addresses to which workers connect."""
        if self._bundled is not None and not self._config.servers:
            return [reachable(self._bundled.listens.jobs[0])]  # our own workers connect to the first one
        return [server.reached_by for server in self._config.job_servers]

    @property
    def foreign(self) -> list[Address]:
        """The addresses of servers that this manager did not start."""
        own = set(map(reachable, self._bundled.listens.jobs)) if self._bundled is not None else ()
        return [address for address in self.addresses if address not in own]

    @property
    def bundled(self) -> list[Address] | None:
        """The addresses of the bundled server; None if the configuration has none."""
        return None if self._bundled is None else list(map(reachable, self._bundled.listens.jobs))

    @property
    def is_durable(self) -> bool:
        """Whether the bundled server, if there is one, keeps background jobs when it ends."""
        return self._config.server is not None and self._config.server.store != "memory"

    @property
    def pids(self) -> set[int]:
        """The bundled server's process number, which is reaped here, while it lives."""
        pid = self._bundled.pid if self._bundled is not None else None
        return set() if pid is None else {pid}

    def start(self) -> gevent.Greenlet[[], None]:
        """Start the bundled server, if the configuration has one. The greenlet ends when it listens, or with a
        StartError if it can't start."""
        self._bringing_up.start()
        return self._bringing_up

    def give_up(self) -> None:
        """Stop waiting for the server: the manager is stopping."""
        self._bringing_up.kill(block=False)

    def use(self, config: Config, functions: Mapping[str, ResolvedFunction]) -> None:
        """Use the servers of this configuration from now on, and give the bundled one these functions' rules.

        Raises:
            StartError: the bundled server could not start.
        """
        self._bringing_up.get()  # its port is known only then
        self._config = config
        if self._bundled is not None:
            self._bundled.use_policies(
                policies_file.policies_of(functions), policies_file.schedules_of(config.schedules)
            )

    def stop(self) -> None:
        """End the bundled server. Call it once no process of ours needs it any more."""
        if self._bundled is not None:
            self._bundled.stop()

    def _bring_up(self) -> None:
        if self._bundled is None:
            return
        config = self._config
        # With the schedules from the start: one that is missing from the file would begin anew.
        schedules = policies_file.schedules_of(config.schedules)
        policies_file.write_policies(self._policies, policies_file.provisional_policies(config), schedules)
        try:
            self._bundled.start()
        except ServerCanNotStart as error:
            raise StartError(f"the job server can't start: {error}{_remedy(error, config)}") from error
        listens = self._bundled.listens
        also = f", metrics on {listens.metrics}" if listens.metrics is not None else ""
        addresses = ", ".join(map(str, listens.jobs))
        _log.info("job server on %s%s", addresses, also, extra={"pid": self._bundled.pid})


def _remedy(error: ServerCanNotStart, config: Config) -> str:
    """The remedy if the bundled server can't start: the place in the configuration that decides."""
    key = "server.metrics_listen" if error.option.startswith("--metrics-listen") else "server.listen"
    choose = f"choose another address for the bundled server: {config.place(key)}: {key}"
    if error.failure is StartFailure.STORE:
        return f"; it is chosen by {config.place('server.store')}: server.store"
    if error.failure is StartFailure.ADDRESS_TAKEN:
        return f"; stop that, or {choose}"
    return f"; {choose}" if error.failure in (StartFailure.CANT_LISTEN, StartFailure.NEEDS_RIGHTS) else ""
