"""Reloads the code, and before it the configuration if that is wished for, one wish at a time.

Wishes come from the control API, a HUP and changed source files. All that come during a reload cause one more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
import gevent.event

from gearman_manager.code.code_loading import LoadAbandoned
from gearman_manager.code.generations import Generations
from gearman_manager.config import Config, ConfigError
from gearman_manager.control.server import ControlServer
from gearman_manager.errors import StartError
from gearman_manager.logs import log
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.supervisor.announcer import Announcer
from gearman_manager.supervisor.arrangement import Arrangement
from gearman_manager.supervisor.config_watches import ConfigWatches
from gearman_manager.telemetry.requirements import check_telemetry

_log = logging.getLogger("manager")


class ReloadWishes:
    """The wishes to reload that have not been taken up yet."""

    def __init__(self, come: Callable[[], None] = lambda: None) -> None:
        """`come` is called at each wish."""
        self._come = come
        self._has_come = gevent.event.Event()
        self._reread = False
        self._is_open = True

    def reload(self) -> None:
        """Wish that configuration and code are loaded anew."""
        self._wish(reread=True)

    def code_changed(self) -> None:
        """Wish that the code is loaded anew."""
        self._wish(reread=False)

    def close(self) -> None:
        """Drop all wishes and take no more: the manager stops."""
        self._is_open = False
        self._has_come.clear()

    def wait(self) -> bool:
        """Wait for a wish and take all that have come; returns whether the configuration has to be read too."""
        while not self._has_come.is_set():  # `close` may have come first
            self._has_come.wait()
        self._has_come.clear()
        reread, self._reread = self._reread, False
        return reread

    def _wish(self, *, reread: bool) -> None:
        if self._is_open:
            self._reread = self._reread or reread
            self._has_come.set()
            self._come()


class ConfigReader:
    """Reads the configuration again. Log and control port use it at once, even if the modules can't be loaded."""

    def __init__(self, load: Callable[[], Config], recent_log: RecentLog, control: ControlServer) -> None:
        self._load = load
        self._recent_log = recent_log
        self._control = control

    def read(self) -> Config:
        """The configuration as the file has it now.

        Raises:
            ConfigError: it, its log file or its control address can't be used; the control port is unchanged then.
        """
        config = self._load()
        check_telemetry(config)
        self._log_to(config)
        try:
            self._control.use(config)
        except StartError as error:
            raise ConfigError([config.places.problem("control.listen", str(error))]) from error
        return config

    def _log_to(self, config: Config) -> None:
        try:
            log.set_up(config.log)
        except OSError as error:
            message = f"it can't be opened: {error.strerror}"
            raise ConfigError([config.places.problem("log.file", message)]) from error
        log.add(self._recent_log, config.log)


class Reloads:
    """Carries out the wishes."""

    def __init__(
        self,
        reader: ConfigReader,
        generations: Generations,
        arrangement: Arrangement,
        sizes: PoolSizes,
        config_watches: ConfigWatches,
        announcer: Announcer,
    ) -> None:
        self._reader = reader
        self._generations = generations
        self._arrangement = arrangement
        self._sizes = sizes
        self._config_watches = config_watches
        self._announcer = announcer

    def run(self, wishes: ReloadWishes) -> None:
        """Take up wishes as long as the manager runs, in a greenlet of its own."""
        reread_again = False
        while True:
            reread = wishes.wait() or reread_again
            reread_again = False
            if reread:
                self._announcer.reloading()
            try:
                self._reload(reread=reread)
            except LoadAbandoned:
                reread_again = reread  # with the next wish, which is there already
            except Exception:  # noqa: BLE001 (the loop's boundary: the next reload may do better)
                _log.exception("the reload failed")
            finally:
                if reread:
                    self._announcer.reloaded()

    def _reload(self, *, reread: bool) -> None:
        self._config_watches.wait_until_quiet()  # a HUP may come in the middle of a deployment
        config = self._arrangement.config
        if reread:
            try:
                config = self._reader.read()
            except ConfigError as error:
                self._refuse(error)
                return
            if config.server != self._arrangement.config.server:
                _log.warning("the section `server` changed: restart the manager for that; the rest is taken over")
            self._sizes.forget_given()
        _log.info("reloading")
        if self._generations.reload(config) and reread:
            self._config_watches.follow(config)

    def _refuse(self, error: ConfigError) -> None:
        self._generations.errors = error.problems
        for problem in error.problems:
            _log.error("%s", problem)
        _log.error("the new configuration is not used: the old one goes on until this is mended")
