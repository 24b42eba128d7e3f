"""The first module of both commands: from its first line on, no signal kills a program that is still starting.

Signals are noted until the program takes them, lets them go, or sets handlers of its own. The console scripts name the
functions at the end, which import a command only once signals are noted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from importlib import import_module
from types import FrameType
from typing import Any, Final

#: The signals that a running program handles, and that would kill one that is starting.
NOTED: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
#: Those that ask a program to end.
ENDING: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})

_noted: list[int] = []
_before: dict[int, Any] = {}


def note_all() -> None:
    """Note these signals from now on, also those that came while the process that started this one blocked them."""
    for number in NOTED:
        if number not in _before:
            _before[number] = signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NOTED)


def take(numbers: Iterable[int] = NOTED) -> list[int]:
    """The signals of these numbers that came, each once, in the order in which they came. They are forgotten."""
    wanted = set(numbers)
    taken = [number for number in dict.fromkeys(_noted) if number in wanted]
    _noted[:] = [number for number in _noted if number not in wanted]
    return taken


def let_go() -> None:
    """Handle signals as before `note_all`, and send those to this process that came meanwhile."""
    for number, handler in _before.items():
        if signal.getsignal(number) is _note:
            signal.signal(number, handler)
    _before.clear()
    for number in take():
        os.kill(os.getpid(), number)


def ignore_all() -> None:
    """Ignore these signals: the program has ended in all but name, and they must not turn its end into a crash."""
    for number in NOTED:
        signal.signal(number, signal.SIG_IGN)


def _note(number: int, _frame: FrameType | None) -> None:
    _noted.append(number)


# --- the console scripts


def gearman_manager() -> None:
    """The command `gearman-manager`."""
    _main_of("gearman_manager.command.command_line")()


def gearman_server() -> None:
    """The command `gearman-server`."""
    _main_of("gearman_server.command.command_line")()


def _main_of(module: str) -> Callable[[], object]:
    note_all()
    with import_module("gearman_process.lasting").all_lasts():
        main: Callable[[], object] = import_module(module).main
    return main
