"""Decides which code runs. Each generation has a zygote; changed code gets a new one, unless it can't be loaded.

A zygote that dies is replaced too. If the files are unchanged its successor continues the same generation, and no
worker notices.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import gevent
import gevent.lock

from gearman_manager.code.code_loading import CodeLoader, Host, LoadAbandoned, LoadedCode
from gearman_manager.config import Config, ConfigError, Layout, Problem
from gearman_manager.errors import StartError
from gearman_manager.job_servers.tls_checks import pools_without_tls, tls_problems
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygote_process import ZygoteProcess
from gearman_manager.pools.zygotes import Zygotes

_log = logging.getLogger("reload")
_FIRST_RETRY_S: Final = 0.05
_MAX_RETRY_S: Final = 30.0
_QUIET_S: Final = 10.0
#: A load that takes longer than this is given up when a newer one is wished for, but so many times in a row at most.
PATIENCE_S: Final = 1.0
MAX_ABANDONED: Final = 5
#: The time for a zygote to end once no worker is left.
END_TIMEOUT_S: Final = 2.0


@dataclass(slots=True)
class Accepted:
    """The generation that runs."""

    number: int
    config: Config
    code: LoadedCode
    layout: Layout


class Generations:
    """Starts zygotes and decides whether their code takes over."""

    def __init__(
        self, zygotes: Zygotes, workforce: Workforce, host: Host, accepted: Callable[[Accepted], None]
    ) -> None:
        """`accepted` is called for each generation that takes over, before its workers start."""
        self.current: Accepted | None = None
        self.errors: Sequence[Problem] = ()
        self._zygotes = zygotes
        self._workforce = workforce
        self._accepted = accepted
        self._loader = CodeLoader(self._start_zygote, host, self._note_slow)
        self._abandoned = 0
        self._describe = host.describe
        self._log_level = "INFO"
        self._is_stopping = False
        self._busy = gevent.lock.RLock()
        self._retry_s = _FIRST_RETRY_S
        self._born_at = 0.0

    @property
    def functions(self) -> Sequence[str]:
        """The names of the functions that are served."""
        return () if self.current is None else tuple(self.current.layout.functions)

    @property
    def by_pool(self) -> Mapping[str, list[str]]:
        """The functions of each pool."""
        return {} if self.current is None else self.current.layout.by_pool

    def load_first(self, config: Config) -> None:
        """Load the code for the first time. Modules that can't be loaded go into `errors`, the others run.

        Raises:
            ConfigError: configuration and code do not fit.
            StartError: no process can be started.
        """
        with self._busy:
            while True:
                try:
                    zygote, code = self._load(config)
                    break
                except LoadAbandoned:
                    continue
            self._take_over(zygote, code, config)

    def abandon_slow_load(self) -> None:
        """A reload is wished for: a load that goes on and on need not be finished before."""
        if self._loader.zygote is not None:
            gevent.spawn_later(PATIENCE_S, self._abandon, self._loader.zygote)

    def _abandon(self, zygote: ZygoteProcess) -> None:
        # Not for ever: wishes may come faster than the modules can be imported.
        if self._loader.zygote is zygote and self._abandoned < MAX_ABANDONED:
            self._abandoned += 1
            _log.warning("the load that goes on is given up: a newer one is wished for", extra={"pid": zygote.pid})
            self._loader.abandon()

    def _note_slow(self, problem: Problem) -> None:
        """Show a slow import in `status`, too, until its load ends."""
        self.errors = [*(error for error in self.errors if error.file != problem.file), problem]

    def reload(self, config: Config) -> bool:
        """Load anew; returns whether the new generation runs. If it is broken the old one stays; `errors` say why.

        Raises:
            LoadAbandoned: a newer reload was wished for meanwhile.
        """
        with self._busy:
            try:
                zygote, code = self._load(config)
            except StartError as error:
                self.errors = [Problem(config.places.main_file, 0, "", str(error), is_fatal=False)]
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
        """Replace no zygote that dies from now on: the manager is stopping."""
        self._is_stopping = True

    def stop(self) -> None:
        """Load no more code, and don't wait for a zygote that is loading."""
        self._is_stopping = True
        self._loader.give_up()

    def end(self) -> None:
        """End the zygote, since no more workers are to be forked."""
        self.stop()
        self._zygotes.end(END_TIMEOUT_S)

    def _zygote_gone(self, zygote: ZygoteProcess, status: int | None) -> None:
        """A zygote has ended. If it was the current one it needs a successor."""
        if zygote is not self._zygotes.current:
            return
        self._zygotes.current = None
        self._workforce.zygote_lost()
        if not self._is_stopping:
            _log.error("the zygote died (%s); its workers go on, a new one starts", self._describe(status))
            gevent.spawn(self._succeed)

    def _succeed(self) -> None:
        """Replace a zygote that died, after ever longer pauses while its successors die too."""
        if time.monotonic() - self._born_at > _QUIET_S:
            self._retry_s = _FIRST_RETRY_S
        while self._zygotes.current is None and not self._is_stopping:
            with self._busy:
                if self._zygotes.current is None and self.current is not None:
                    try:
                        self._try_to_succeed(self.current)
                    except LoadAbandoned:
                        continue
                    except StartError as error:
                        _log.error("%s; trying again", error)
            if self._zygotes.current is None:
                gevent.sleep(self._retry_s)
                self._retry_s = min(self._retry_s * 2, _MAX_RETRY_S)

    def _try_to_succeed(self, current: Accepted) -> None:
        zygote, code = self._load(current.config)
        if zygote is None:
            return
        if code.files == current.code.files:
            self._zygotes.current = zygote
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
        loaded = self._loader.load(config)
        self._abandoned = 0
        return loaded

    def _start_zygote(self) -> ZygoteProcess:
        return self._zygotes.start(self._log_level, self._workforce, self._zygote_gone)

    def _take_over(self, zygote: ZygoteProcess | None, code: LoadedCode, config: Config) -> None:
        """Make this the generation that runs.

        Raises:
            ConfigError: configuration and code do not fit; the new zygote is dismissed and nothing else has changed.
        """
        layout = self._loader.lay_out(config, code)
        problems = [*code.errors, *layout.problems, *tls_problems(config)]
        fatal = [problem for problem in problems if problem.is_fatal]
        if zygote is None or fatal:
            if zygote is not None:
                zygote.dismiss()
            raise ConfigError(fatal)
        old, self._zygotes.current = self._zygotes.current, zygote
        number = self.current.number + 1 if self.current else 1
        known = self.current.code.passed_over if self.current else {}
        self.current = Accepted(number, config, code, layout)
        self.errors = problems
        for problem in problems:
            _log.error("%s", problem)
        for notice in pools_without_tls(config, layout):
            _log.warning("%s", notice)
        if code.passed_over != known:
            for line in code.passed_over_in(config.workers_dir):
                _log.info("%s", line)
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
    """The size of a layout in words: `6 functions in 2 pools`."""
    functions, pools = len(layout.functions), len(layout.pools)
    return f"{functions} function{'s' * (functions != 1)} in {pools} pool{'s' * (pools != 1)}"
