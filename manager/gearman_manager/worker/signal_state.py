"""Restores a process's signals after a job: handlers, blocked signals, interval timers, and other hooks of its kind.

A job may install its own SIGTERM handler, block signals, or leave an alarm behind. The worker must still hear that it
is to leave, and no leftover may end the next job. What imports and setups installed stays, except for the signals that
the worker needs itself.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import Final

from gearman_manager.worker.bare_signals import getitimer, getsignal, install, pthread_sigmask

#: The signals by which the manager reaches a worker.
OURS: Final = (signal.SIGTERM, signal.SIGALRM)
_RESTORED: Final = (
    *OURS,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGVTALRM,
    signal.SIGPROF,
)
_NUMBERS: Final = tuple(map(int, _RESTORED))
#: The first two, by which the worker hears of its end and of its time.
STOP, ALARM = _NUMBERS[:2]
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class OwnSignals:
    """The signals that a worker needs itself: all that can be restored while other jobs run in the same process."""

    def __init__(self) -> None:
        """Note the present handlers, which are the worker's own."""
        self._handlers = tuple(map(getsignal, OURS))
        self.restore()

    def restore(self) -> None:
        """Install the handlers again, and let the signals through."""
        for number, handler in zip(OURS, self._handlers, strict=True):
            install(number, handler)  # in any case: `getsignal` does not see a handler in C, as of faulthandler
        pthread_sigmask(signal.SIG_UNBLOCK, OURS)


class SignalState:
    """The signals' state to which a process returns after each job."""

    def __init__(self) -> None:
        """Note the present state, in which the worker's own handlers are installed."""
        pthread_sigmask(signal.SIG_UNBLOCK, OURS)
        self._handlers = tuple(map(getsignal, _NUMBERS))
        self._blocked = pthread_sigmask(signal.SIG_BLOCK, ())
        self._timers = tuple(map(getitimer, _TIMERS))
        self._wakeup = signal.set_wakeup_fd(-1)
        self._trace, self._profile = sys.gettrace(), sys.getprofile()
        self._umask = os.umask(0o077)
        #: The handlers of STOP and ALARM. If they are in place, the others are restored less often.
        self.on_stop, self.on_alarm = self._handlers[:2]
        self.restore_all()

    def restore_all(self) -> None:
        """Undo everything."""
        faulthandler.cancel_dump_traceback_later()
        signal.set_wakeup_fd(self._wakeup)
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
        os.umask(self._umask)
        # The timers first: they may be about to ring, and some of the handlers before the job end the process.
        for timer, before in zip(_TIMERS, self._timers, strict=True):
            if getitimer(timer)[0] and not before[0]:
                signal.setitimer(timer, 0)
        for number, handler in zip(_RESTORED, self._handlers, strict=True):
            # Our own in any case: `getsignal` does not see a handler in C, as of faulthandler. None is one from before.
            if number in OURS or (handler is not None and getsignal(number) != handler):
                install(number, handler)
        if pthread_sigmask(signal.SIG_BLOCK, ()) != self._blocked:
            pthread_sigmask(signal.SIG_SETMASK, self._blocked)
