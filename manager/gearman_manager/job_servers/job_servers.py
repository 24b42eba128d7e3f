"""The job servers of this manager: the bundled ones, if the configuration has them, and others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import gevent

from gearman_client import Address
from gearman_manager.config import Config, ResolvedFunction, reachable
from gearman_manager.errors import StartError
from gearman_manager.job_servers import policies_file
from gearman_manager.job_servers.bundled import BundledServer
from gearman_manager.job_servers.bundled_process import ServerCanNotStart, ServerOptions, StartFailure

_log = logging.getLogger("manager")
#: The ends of jobs that a bundled server keeps for us: two seconds of a thousand jobs each, and as many failures.
KEPT_ENDS: Final = 4096


class JobServers:
    """Starts and stops the bundled servers, gives them the functions' rules, knows the addresses for the workers."""

    def __init__(
        self, config: Config, folder: Path, is_back: Callable[[], None], describe: Callable[[int | None], str]
    ) -> None:
        """The servers' policies are written into `folder`; `is_back` is called when one is back after its death."""
        self._config = config
        self._folder = folder
        #: The bundled servers, in the order of their ports; none if the configuration has no section for them.
        self.instances: Sequence[BundledServer] = tuple(
            BundledServer(options, is_back, describe) for options in self._options(config)
        )
        self._bringing_up = gevent.Greenlet(self._bring_up)
        #: Whether the bundled servers start no job any more, and end once none is running.
        self.is_finishing = False

    def _options(self, config: Config) -> list[ServerOptions]:
        if config.server is None:
            return []
        # Every connection that opens and closes is the server's INFO: too much between the manager's own lines.
        level = {"info": "NOTICE"}.get(config.log.level, config.log.level.upper())
        several = config.server.instances > 1
        files = [self._folder / policies_file.file_name(number) for number in range(1, config.server.instances + 1)]
        ends = KEPT_ENDS if config.kept_finished is not None else 0
        return [
            ServerOptions(config.server, level, file, several * number, ends) for number, file in enumerate(files, 1)
        ]

    @property
    def addresses(self) -> list[Address]:
        """The addresses to which workers connect."""
        if self.instances and not self._config.servers:
            return [instance.address for instance in self.instances]  # our own workers connect to the first one of each
        return [server.reached_by for server in self._config.job_servers]

    @property
    def foreign(self) -> list[Address]:
        """The addresses of servers that this manager did not start."""
        own = set(self.bundled or ())
        return [address for address in self.addresses if address not in own]

    @property
    def bundled(self) -> list[Address] | None:
        """The addresses of the bundled servers; None if the configuration has none."""
        if not self.instances:
            return None
        return [reachable(address) for instance in self.instances for address in instance.listens.jobs]

    @property
    def is_durable(self) -> bool:
        """Whether the bundled servers, if there are any, keep background jobs when they end."""
        return self._config.server is not None and self._config.server.store != "memory"

    @property
    def pids(self) -> set[int]:
        """The process numbers of the bundled servers that live; they are reaped here."""
        return {instance.pid for instance in self.instances if instance.pid is not None}

    def start(self) -> gevent.Greenlet[[], None]:
        """Start the bundled servers, if the configuration has any. The greenlet ends when all listen, or with a
        StartError if one can't start."""
        self._bringing_up.start()
        return self._bringing_up

    def give_up(self) -> None:
        """Stop waiting for the servers: the manager is stopping."""
        self._bringing_up.kill(block=False)

    def use(self, config: Config, functions: Mapping[str, ResolvedFunction]) -> None:
        """Use the servers of this configuration from now on, and give the bundled ones these functions' rules.

        Raises:
            StartError: a bundled server could not start.
        """
        self._bringing_up.get()  # the ports are known only then
        self._config = config
        policies = policies_file.policies_of(functions)
        for instance, schedules in zip(self.instances, self._schedules(config), strict=True):
            instance.use_policies(policies, schedules)

    def finish(self, ended: Callable[[], None]) -> bool:
        """Have the bundled servers, which others may use too, start no job and end once none is running.

        Call it once no process of ours needs them any more. `ended` is called when one has ended. Returns whether there
        is nothing to wait for.
        """
        if not self.pids:
            return True
        if not self.is_finishing:
            self.is_finishing = True
            what = "job servers finish the jobs of others, and end"
            if not self.instances[1:]:
                what = "job server finishes the jobs of others, and ends"
            _log.info("the workers are gone; the %s", what)
            for instance in self.instances:
                instance.finish(ended)
        return False

    def stop(self) -> None:
        """End the bundled servers. Call it once no process of ours needs them any more."""
        gevent.joinall([gevent.spawn(instance.stop) for instance in self.instances])

    def _bring_up(self) -> None:
        config = self._config
        # With the schedules from the start: one that is missing from the file would begin anew.
        for instance, schedules in zip(self.instances, self._schedules(config), strict=True):
            instance.write_policies(policies_file.provisional_policies(config), schedules)
        starts = [gevent.spawn(self._bring_up_one, instance) for instance in self.instances]
        try:
            gevent.joinall(starts, raise_error=True)
        finally:
            gevent.killall(starts, block=False)

    def _bring_up_one(self, instance: BundledServer) -> None:
        try:
            instance.start()
        except ServerCanNotStart as error:
            raise StartError(f"{instance.title} can't start: {error}{_remedy(error, self._config)}") from error
        listens = instance.listens
        also = f", metrics on {listens.metrics}" if listens.metrics is not None else ""
        addresses = ", ".join(map(str, listens.jobs))
        title = instance.title.removeprefix("the ")
        _log.info("%s on %s%s", title, addresses, also, extra={"pid": instance.pid})

    def _schedules(self, config: Config) -> list[dict[str, dict[str, object]]]:
        """The schedules of each instance. Independent servers would each run them, so only the first one does."""
        schedules = policies_file.schedules_of(config.schedules)
        is_first_only = config.server is not None and config.server.are_independent
        return [{} if number and is_first_only else schedules for number in range(len(self.instances))]


def _remedy(error: ServerCanNotStart, config: Config) -> str:
    """The remedy if a bundled server can't start: the place in the configuration that decides."""
    key = "server.metrics_listen" if error.option.startswith("--metrics-listen") else "server.listen"
    choose = f"choose another address for the bundled server: {config.place(key)}: {key}"
    if error.failure is StartFailure.STORE:
        return f"; it is chosen by {config.place('server.store')}: server.store"
    if error.failure is StartFailure.ADDRESS_TAKEN:
        return f"; stop that, or {choose}"
    return f"; {choose}" if error.failure in (StartFailure.CANT_LISTEN, StartFailure.NEEDS_RIGHTS) else ""
