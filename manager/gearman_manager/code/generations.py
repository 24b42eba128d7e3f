"""Which code runs: one zygote per generation, replaced when the code changed, kept when the new code can't be loaded.

A zygote that dies is replaced too; when the files are still the same its successor carries on the same generation, and
no worker notices.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import gevent
import gevent.lock

from gearman_manager.code.code_loading import CodeLoader, Host, LoadedCode
from gearman_manager.config import Config, ConfigError, Layout, Problem
from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.ipc.links import Links
from gearman_manager.job_servers.tls_checks import pools_without_tls, tls_problems
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygote_process import ZygoteProcess

_log = logging.getLogger("reload")
_FIRST_RETRY_S: Final = 0.05
_MAX_RETRY_S: Final = 30.0
_QUIET_S: Final = 10.0


@dataclass(slots=True)
class Accepted:
    """The generation that runs."""

    number: int
    config: Config
    code: LoadedCode
    layout: Layout


class Generations:
    """Starts zygotes and decides whether their code takes over. Implements `ZygoteEvents`."""

    def __init__(self, links: Links, workforce: Workforce, host: Host, accepted: Callable[[Accepted], None]) -> None:
        """`accepted` is called for each generation that takes over, before its workers start."""
        self.zygote: ZygoteProcess | None = None
        self.current: Accepted | None = None
        self.errors: Sequence[Problem] = ()
        self._links = links
        self._workforce = workforce
        self._accepted = accepted
        self._loader = CodeLoader(self._start_zygote, host)
        self._describe = host.describe
        self._log_level = "INFO"
        self._alive: set[ZygoteProcess] = set()  # the current one, one that loads, and those that were dismissed
        self._stopping = False
        self._busy = gevent.lock.RLock()
        self._retry_s = _FIRST_RETRY_S
        self._born_at = 0.0

    def load_first(self, config: Config) -> None:
        """Load the code for the first time. Modules that can't be loaded are noted, the others run.

        Raises:
            ConfigError: configuration and code do not fit.
            StartError: no process can be started.
        """
        with self._busy:
            zygote, code = self._load(config)
            self._take_over(zygote, code, config)

    def reload(self, config: Config) -> bool:
        """Load anew; the old generation stays, and says why, when the new one is broken."""
        with self._busy:
            try:
                zygote, code = self._load(config)
            except StartError as error:
                self.errors = [Problem(config.places.main_file, 0, "", str(error), fatal=False)]
                _log.error("not reloaded: %s", error)
                return False
            broken = code.broken_since(self.current.code) if self.current else []
            if zygote is None or broken:
                self._keep_old(zygote, code)
                return False
            try:
                self._take_over(zygote, code, config)
            except ConfigError as error:
                self._keep_old(zygote, code, error.problems)
                return False
            return True

    def expect_end(self) -> None:
        """The manager is stopping: a zygote that dies from now on needs no successor."""
        self._stopping = True

    def stop(self) -> None:
        """No workers are left to fork, or are to be forked."""
        self._stopping = True
        self._loader.give_up()
        if self.zygote is not None:
            self.zygote.dismiss()

    @property
    def pids(self) -> set[int]:
        """Every zygote that lives, whether it loads, serves or leaves."""
        return {zygote.pid for zygote in self._alive}

    def kill_zygote(self) -> None:
        """It does not answer: orders that it did not carry out are void then."""
        if self.zygote is not None:
            self.zygote.kill()

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """Passed on."""
        self._workforce.spawned(name, pid, pidfd)

    def spawn_failed(self, name: str, reason: str) -> None:
        """Passed on."""
        self._workforce.spawn_failed(name, reason)

    def exited(self, pid: int, status: int) -> None:
        """Passed on."""
        self._workforce.exited(pid, status)

    def stopped(self, pid: int) -> None:
        """Passed on."""
        if process.is_stopped(pid):
            self._workforce.stopped(pid)

    def zygote_gone(self, zygote: ZygoteProcess, status: int | None) -> None:
        """A dismissed one has ended, or the current one died and needs a successor."""
        self._alive.discard(zygote)
        if zygote is not self.zygote:
            return
        self.zygote = None
        self._workforce.zygote_lost(self.pids)
        if not self._stopping:
            _log.error("the zygote died (%s); its workers go on, a new one starts", self._describe(status))
            gevent.spawn(self._succeed)

    def _succeed(self) -> None:
        """Replace a zygote that died, ever more slowly while its successors die too."""
        if time.monotonic() - self._born_at > _QUIET_S:
            self._retry_s = _FIRST_RETRY_S
        while self.zygote is None and not self._stopping:
            with self._busy:
                if self.zygote is None and self.current is not None:
                    try:
                        self._try_to_succeed(self.current)
                    except StartError as error:
                        _log.error("%s; trying again", error)
            if self.zygote is None:
                gevent.sleep(self._retry_s)
                self._retry_s = min(self._retry_s * 2, _MAX_RETRY_S)

    def _try_to_succeed(self, current: Accepted) -> None:
        zygote, code = self._load(current.config)
        if zygote is None:
            return
        if code.files == current.code.files:
            self.zygote = zygote
            _log.info("a new zygote takes over generation %d", current.number, extra={"pid": zygote.pid})
            self._accepted(current)
            return
        broken = code.broken_since(current.code)
        try:
            if broken:
                raise ConfigError(broken)
            self._take_over(zygote, code, current.config)
        except ConfigError as error:
            self._keep_old(zygote, code, error.problems)

    def _load(self, config: Config) -> tuple[ZygoteProcess | None, LoadedCode]:
        self._born_at = time.monotonic()
        self._log_level = config.log.level.upper()
        return self._loader.load(config)

    def _start_zygote(self) -> ZygoteProcess:
        zygote = ZygoteProcess(self._links, self._log_level, self)
        self._alive.add(zygote)
        return zygote

    def _take_over(self, zygote: ZygoteProcess | None, code: LoadedCode, config: Config) -> None:
        """Make this the generation that runs.

        Raises:
            ConfigError: configuration and code do not fit; nothing was changed but the new zygote's life.
        """
        layout = self._loader.lay_out(config, code)
        problems = [*code.errors, *layout.problems, *tls_problems(config)]
        fatal = [problem for problem in problems if problem.fatal]
        if zygote is None or fatal:
            if zygote is not None:
                zygote.dismiss()
            raise ConfigError(fatal)
        old, self.zygote = self.zygote, zygote
        number = self.current.number + 1 if self.current else 1
        self.current = Accepted(number, config, code, layout)
        self.errors = problems
        for problem in problems:
            _log.error("%s", problem)
        for notice in pools_without_tls(config, layout):
            _log.warning("%s", notice)
        if not layout.pools:
            folders = ", ".join(config.workers_dir)
            _log.warning("there is nothing to run: put a module into %s, as hello.py with def hello(job)", folders)
        self._accepted(self.current)
        if old is not None:
            old.dismiss()
        _log.info("generation %d: %s", number, counted(layout))

    def _keep_old(self, zygote: ZygoteProcess | None, code: LoadedCode, problems: Sequence[Problem] = ()) -> None:
        self.errors = [*code.errors, *(problem for problem in problems if problem not in code.errors)]
        for problem in self.errors:
            _log.error("%s", problem)
        _log.error("the new code is not used: the old generation goes on until this is mended")
        if zygote is not None:
            zygote.dismiss()


def counted(layout: Layout) -> str:
    """`6 functions in 2 pools`."""
    functions, pools = len(layout.functions), len(layout.pools)
    return f"{functions} function{'s' * (functions != 1)} in {pools} pool{'s' * (pools != 1)}"
