"""Prepares its process and then execs a worker program. Runs as a script of its own.

It imports the standard library alone, since it is run with -I -S, and nothing after it has become another user, who
may not be allowed to read it. Its errors go to the program's output.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
import warnings  # noqa: F401 (os.execvpe imports it)
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
#: As in `gearman_process.account`.
_SESSION_VARIABLES: Final = (
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "MAIL",
)
CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127


def main(arguments: list[str]) -> int:
    """`--parent PID --stop-signal NAME [--nice N] [--user NAME --own VARIABLES] [--cwd DIR] -- PROGRAM ARGUMENTS…`.

    The environment of another user says so, except for those variables, in a list with commas.
    """
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
    libc, number = ctypes.CDLL(None), signal.Signals[options["--stop-signal"]]
    if "--user" in options:
        _become(options["--user"], options["--own"].split(","))
    # After the change of user, which clears it. If the supervisor dies the kernel sends the program its stop signal.
    libc.prctl(_PR_SET_PDEATHSIG, int(number))
    # Python ignores SIGPIPE and SIGXFSZ; `yes | head -1` in a script would never end. A shell has a manager that it
    # starts in the background ignore others.
    for ignored in signal.valid_signals():
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor starts its children with signals blocked
    if os.getppid() != int(options["--parent"]):
        sys.exit(0)  # the supervisor died before the call above


def _become(name: str, own: list[str]) -> None:
    # As `gearman_process.account` does it, which can't be imported here because of -I -S.
    user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    if (user.pw_uid, user.pw_gid) == (os.getuid(), os.getgid()):
        return
    os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    is_user = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    for variable in {*is_user, *_SESSION_VARIABLES}.difference(own):
        os.environ.pop(variable, None)
        if variable in is_user:
            os.environ[variable] = is_user[variable]


def _refuse(program: str, error: Exception, code: int) -> int:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    print(f"{program} can't be started: {reason}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
