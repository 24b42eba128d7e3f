"""Prepares its process and then execs a worker program. Runs as a script of its own.

It imports the standard library alone, since it is run with -I -S. Its errors go to the program's output.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127


def main(arguments: list[str]) -> int:
    """`--parent PID --stop-signal NAME [--nice N] [--user NAME] [--cwd DIR] -- PROGRAM ARGUMENTS…`."""
    split = arguments.index("--")
    pairs = arguments[:split]
    options = dict(zip(pairs[::2], pairs[1::2], strict=True))
    command = arguments[split + 1 :]
    try:
        _prepare(options)
        os.execvp(command[0], command)
    except FileNotFoundError as error:
        return _refuse(command[0], error, NOT_FOUND)
    except (OSError, KeyError) as error:
        return _refuse(command[0], error, CANNOT_EXECUTE)


def _prepare(options: dict[str, str]) -> None:
    if "--cwd" in options:
        os.chdir(options["--cwd"])
    if (nice := int(options.get("--nice", "0"))) != 0:
        os.nice(nice)
    if "--user" in options:
        _become(options["--user"])
    # After the change of user, which clears it. If the supervisor dies the kernel sends the program its stop signal.
    number = signal.Signals[options["--stop-signal"]]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor starts its children with signals blocked
    if os.getppid() != int(options["--parent"]):
        sys.exit(0)  # the supervisor died before the call above


def _become(name: str) -> None:
    # As `gearman_process.account` does it, which can't be imported here because of -I -S.
    user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _refuse(program: str, error: Exception, code: int) -> int:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    print(f"{program} can't be started: {reason}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
