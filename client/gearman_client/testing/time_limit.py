"""A time limit for user code: in the main thread it is interrupted, as in a worker; elsewhere the time is looked at
afterwards, because Python can interrupt no other thread. A coroutine is cancelled, in every thread."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from time import monotonic
from types import FrameType
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
#: How long a coroutine function may clean up after it was cancelled; and so often one that does not end is interrupted.
CLEAN_UP_S: Final = 1.0


class JobTimeout(BaseException):
    """Raised inside a function when its time is up. If the manager is loaded it is also the manager's `JobTimeout`."""


def timeout_class() -> type[BaseException]:
    """The class to raise: a function may catch the one of this module, or the manager's."""
    of_manager = getattr(sys.modules.get("gearman_manager.errors"), "JobTimeout", None)
    return JobTimeout if of_manager is None else _both(of_manager)


@cache
def _both(of_manager: type[BaseException]) -> type[BaseException]:
    return type("JobTimeout", (JobTimeout, of_manager), {})


def call_within(timeout_s: float, call: Callable[[], Result], what: str) -> Result:
    """Call, for at most `timeout_s` seconds (0: without a limit); `what` names the function in the error.

    Raises:
        JobTimeout: it took longer.
    """
    return _called(timeout_s, call, _too_long(what, timeout_s)) if timeout_s else call()


def finish_within(
    timeout_s: float, finish: Callable[[Coroutine[Any, Any, Any]], Result], work: Coroutine[Any, Any, Any], what: str
) -> Result:
    """As `call_within`, for a coroutine, which `finish` runs in a loop: it is cancelled when its time is up.

    Raises:
        JobTimeout: it ended by being cancelled, or it went on for another second.
    """
    if not timeout_s:
        return finish(work)
    limited = _cancelled_after(timeout_s, work, _too_long(what, timeout_s))
    endless = timeout_class()(f"{what} goes on in spite of its timeout of {timeout_s:g} s")
    return _called(timeout_s + CLEAN_UP_S, lambda: finish(limited), endless)


async def _cancelled_after(timeout_s: float, work: Coroutine[Any, Any, Any], late: BaseException) -> Any:
    import asyncio  # here: most tests have no use for it

    task, is_up = asyncio.current_task(), False

    def expire() -> None:
        nonlocal is_up
        is_up = True
        if task is not None:
            task.cancel()

    started = monotonic()
    timer = asyncio.get_running_loop().call_later(timeout_s, expire)
    try:
        result = await work
    except (asyncio.CancelledError, BaseExceptionGroup) as error:
        if is_up:
            raise late from error
        raise
    finally:
        timer.cancel()
    if not is_up and monotonic() - started > timeout_s:  # it never gave way to the loop
        raise late
    return result


def _too_long(what: str, timeout_s: float) -> BaseException:
    return timeout_class()(f"{what} took longer than its timeout of {timeout_s:g} s")


def _called(limit_s: float, call: Callable[[], Result], late: BaseException) -> Result:
    if _can_interrupt(limit_s):
        return _interrupted(limit_s, call, late)
    started = monotonic()
    result = call()
    if monotonic() - started > limit_s:
        raise late
    return result


def _can_interrupt(timeout_s: float) -> bool:
    """Not where somebody else's alarm, such as that of pytest-timeout, is due earlier."""
    if threading.current_thread() is not threading.main_thread():
        return False
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    return not left_s or left_s > timeout_s


def _interrupted(timeout_s: float, call: Callable[[], Result], late: BaseException) -> Result:
    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise late

    started = monotonic()
    before = signal.signal(signal.SIGALRM, on_alarm)
    # Again and again: an event loop that is left by an exception waits for its tasks, which may not end.
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, timeout_s, CLEAN_UP_S)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left_s:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left_s - (monotonic() - started)), interval_s)
