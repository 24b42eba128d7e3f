"""The first module of both commands: from its first line on, Ctrl-C ends a command that is starting without a word.

The console scripts name the functions at the end, which import a command only then: that is most of a short command's
time, and in a loop of a shell most Ctrl-C come in it. No other program imports this module.
"""

from __future__ import annotations

# Not `signal`, which takes longer to load than all else here.
import _signal  # type: ignore[import-not-found]
import os


def _end(_number: int, _frame: object) -> None:
    os._exit(130)  # as a shell says it of a program that SIGINT has ended


# A command in the background of a script ignores SIGINT, and goes on to do so.
_is_heard = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
if _is_heard:
    _signal.signal(_signal.SIGINT, _end)


def gearman() -> int:
    """The command `gearman`; returns the exit code."""
    return _start("gearman")


def gearadmin() -> int:
    """The command `gearadmin`; returns the exit code."""
    return _start("gearadmin")


def _start(command: str) -> int:
    from importlib import import_module

    main = import_module(f"gearman_client.commands.{command}").main
    if _is_heard:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    code: int = main()
    return code
