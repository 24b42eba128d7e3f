"""Signals in zygotes and workers: a signal to all processes of the manager at once is left to the supervisor.

The supervisor starts a process with these signals blocked; it unblocks them once it can handle them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from gearman_manager.worker.bare_signals import SIG_DFL, getsignal, install, pthread_sigmask
from gearman_process.early_signals import NOTED


def leave_to_supervisor(numbers: Iterable[int] = (NOTED | {signal.SIGPWR}) - {signal.SIGTERM}) -> None:
    """Do nothing on these signals."""
    for number in numbers:
        install(number, _do_nothing)  # not SIG_IGN: programs that jobs start would inherit that through exec
    pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextmanager
def term_is_kept() -> Iterator[None]:
    """In this context SIGTERM waits. Around a fork: Python forgets what comes to a child before its first line."""
    pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def end_at_once() -> None:
    """As a worker that does not serve yet, end on SIGTERM: there is nothing to finish."""
    install(signal.SIGTERM, lambda *_: os._exit(0))
    pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def end_copies_by_term() -> None:
    """Let SIGTERM end the processes that a job forks: `terminate` and `Pool` of multiprocessing count on it.

    Called when the worker's own handler is installed. A handler of the job's own stays. SIGTERM waits around the fork,
    for the reason above.
    """
    ours, before = getsignal(signal.SIGTERM), threading.local()

    def block() -> None:
        before.mask = pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def unblock() -> None:
        pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def end_by_it() -> None:
        if getsignal(signal.SIGTERM) is ours:
            install(signal.SIGTERM, SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=end_by_it)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler for signals that are meant for the supervisor."""
