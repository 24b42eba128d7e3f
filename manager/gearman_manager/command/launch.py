"""Runs the manager as the command line asks: in the background or not, with a pid file, as another user.

The order matters: steps that only root may take come before the change of the user, and nothing that makes threads,
greenlets or an event loop comes before the fork.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from setproctitle import setproctitle

from gearman_manager import exit_codes
from gearman_manager.config import Config
from gearman_manager.errors import StartError
from gearman_manager.host.process import TITLE
from gearman_manager.logs.destinations import SYSLOG
from gearman_manager.supervisor.privileges import become, prepare_paths, wanted_account
from gearman_manager.supervisor.run_folder import RunFolder
from gearman_process import early_signals
from gearman_process.errors import ProcessError
from gearman_process.lasting import all_lasts
from gearman_process.logs import system_log
from gearman_process.pid_file import PidFile

_log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command line's requests besides the configuration."""

    daemon: bool = False
    pid_file: Path | None = None


def run(source: Callable[[], Config], folder_of: Callable[[Config], RunFolder], wishes: Wishes) -> int:
    """Run until asked to stop; returns the exit code. As a daemon it returns only in the background.

    Raises:
        StartError, ConfigError: the manager can't start; a daemon's terminal is told of it too.
    """
    _wait_with_signals()
    load = partial(_for_daemon, source) if wishes.daemon else source
    config = load()
    say_up = _in_background() if wishes.daemon else _nothing
    folder = folder_of(config)
    setproctitle(f"{TITLE}: supervisor")  # before the pid file: scripts check its number by this title
    pid_file = _pid_file(wishes.pid_file, folder)
    try:
        return _run(load, config, folder, say_up)
    finally:
        if pid_file is not None:
            with suppress(OSError):  # emptied at least: its folder may be root's
                pid_file.remove()


def _run(load: Callable[[], Config], config: Config, folder: RunFolder, say_up: Callable[[], None]) -> int:
    account = wanted_account(config)
    prepare_paths(config, account)
    become(account)
    with all_lasts():
        from gearman_manager.supervisor.announcer import Announcer
        from gearman_manager.supervisor.build import build
        from gearman_manager.telemetry.requirements import check_telemetry
        from gearman_process.service_manager import ServiceManager

    check_telemetry(config)
    _set_up_log(config)
    return build(load, config, folder, Announcer(ServiceManager(os.environ, _log_unheard), say_up)).run()


def _set_up_log(config: Config) -> None:
    from gearman_manager.logs import log

    try:
        log.set_up(config.log)
    except OSError as error:
        if config.log.file == SYSLOG:
            remedy = "name a file with -l FILE, or in log.file"
            raise StartError(f"there is no system's log ({system_log.ADDRESS}: {error.strerror}): {remedy}") from error
        reason = f"{config.log.file} can't be opened by user {os.getuid()}: {error.strerror}"
        raise StartError(f"{config.place('log.file')}: log.file: {reason}; correct log.file") from error


def _for_daemon(source: Callable[[], Config]) -> Config:
    """A daemon has no standard error: without a log file its lines go to the system's log."""
    config = source()
    if config.log.file is not None:
        return config
    return config.model_copy(update={"log": config.log.model_copy(update={"file": SYSLOG})})


def _in_background() -> Callable[[], None]:
    from gearman_manager.supervisor.daemon import detach

    return detach()


def _nothing() -> None:
    """No process waits to hear that the manager is up."""


def _pid_file(path: Path | None, folder: RunFolder) -> PidFile | None:
    """The pid file at `path`; None for the run folder's, which has its own lock."""
    if path is None or path.absolute() == folder.pid_file.absolute():
        return None
    try:
        return PidFile(path, owner="manager", remedy="choose another one")
    except ProcessError as error:
        raise StartError(str(error)) from error


def _log_unheard(state: str, reason: str) -> None:
    _log.warning("the service manager can't be told %s: %s", state.partition("=")[0], reason)


def _wait_with_signals() -> None:
    """Until the supervisor handles signals there is nothing to finish: a stop ends the process, others are noted."""
    early_signals.note_all()
    for number in early_signals.ENDING:
        signal.signal(number, _end_at_once)
    if early_signals.take(early_signals.ENDING):
        sys.exit(exit_codes.OK)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    sys.exit(exit_codes.OK)
