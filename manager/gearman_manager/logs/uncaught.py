"""The outermost boundary of the event loop: logs errors that no greenlet or callback caught, and the loop goes on.

Without it gevent would print them to standard error, which a manager that logs to a file may not have. It would also
stop the watcher whose callback raised, and the manager would miss all its further events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

_log = logging.getLogger("manager")


def log_uncaught(hub: Any, told: tuple[type[BaseException], ...]) -> None:
    """Log the errors of this hub's greenlets and callbacks, except the types `told`: their waiters report those."""
    hub.NOT_ERROR = (*hub.NOT_ERROR, *told)
    hub.print_exception = _log_exception


def watch_readable(loop: Any, descriptor: int, callback: Callable[[], None]) -> Any:
    """Start an event-loop watcher that calls back, in the hub, whenever the descriptor is readable."""
    watcher = loop.io(descriptor, 1)
    watcher.start(_guarded, callback)
    return watcher


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 (the loop's boundary)
        _log.exception("unexpected, in a callback; the manager goes on")


def _log_exception(
    context: object, kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    reason = kind() if error is None else error
    _log.error("unexpected, in %s; the manager goes on", context, exc_info=(kind, reason, traceback))
