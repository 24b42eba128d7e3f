"""The process of a relay: its log and its signals. TERM and INT end it after the answers that are under way."""

from __future__ import annotations

import logging
import os
import signal
from typing import Final

from gearman_manager.logs import log
from gearman_manager.outbox.database import Database, parse_url
from gearman_manager.outbox.figures import Figures
from gearman_manager.outbox.metrics_port import MetricsPort
from gearman_manager.outbox.relay import Relay
from gearman_manager.outbox.settings import RelaySettings

_log = logging.getLogger("outbox")


class _LogSettings:
    """The log goes to standard error: the terminal's, the manager's, or the service manager's."""

    file: Final = None
    format: Final = None
    level: Final = "info"


class _PoolFormatter(log.TextFormatter):
    """For a pool of the manager, which puts the time before each line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname:<7} {self.body(record)}"


def run(url: str, settings: RelaySettings) -> None:
    """Hand rows over until a signal comes.

    Raises:
        ManagerError: the URL, the table or a job server can't be used.
    """
    database, figures = Database(parse_url(url)), Figures()
    log.set_up(_LogSettings())
    if "GEARMAN_WORKER" in os.environ:
        for handler in logging.root.handlers:
            handler.setFormatter(_PoolFormatter())
    if settings.metrics is not None:
        MetricsPort(settings.metrics, figures.text)
    relay = Relay(database, settings, figures)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: relay.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a manager's reload
    _log.info("hands the rows of %s in %s to %s", settings.table, database.name, ", ".join(map(str, settings.servers)))
    relay.run()
    _log.info("ended")
