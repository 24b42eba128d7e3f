"""The functions of the module `signal` without its enum members, into which it turns each number at ten times the cost.

`install` takes no other SIG_DFL than the one from here. A worker makes such calls after each job, and pays for each
further function in Python with one to ten pages of its own.
"""

from __future__ import annotations

from _signal import SIG_DFL as SIG_DFL  # type: ignore[import-not-found]
from _signal import getitimer as getitimer
from _signal import getsignal as getsignal
from _signal import pthread_sigmask as pthread_sigmask
from _signal import signal as install

__all__ = ["SIG_DFL", "getitimer", "getsignal", "install", "pthread_sigmask"]
