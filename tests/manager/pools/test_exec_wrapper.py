"""The wrapper around programs: user, environment, signals. Each case is a real process."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gearman_manager.pools import exec_wrapper
from gearman_process.account import SESSION_VARIABLES

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
#: The kernel's lists of blocked and ignored signals.
SIGNALS = ["sh", "-c", "grep -E '^Sig(Blk|Ign):' /proc/self/status"]
#: Runs a script as Python 3.13 does, whose `typing` does not import `warnings`.
NOTHING_LOADED = """
import sys, typing
sys.modules.pop("warnings", None)
del sys.argv[0]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


#: The C library keeps these two (bits from 0) for itself: no program can set them, and its `posix_spawn`, by which make
#: starts us, leaves them ignored.
OF_THE_C_LIBRARY = 1 << 31 | 1 << 32


def wrapped(command: list[str], *options: str, environment: dict[str, str] | None = None, before: str = "") -> str:
    """What the program prints; `before` is a shell's line before the wrapper."""
    python = [sys.executable, "-I", "-S", *(("-c", NOTHING_LOADED) if before else ())]
    wrapper = [*python, exec_wrapper.__file__, "--parent", str(os.getpid())]
    line = f"{before}exec {shlex.join([*wrapper, '--stop-signal', 'SIGTERM', *options, '--', *command])}"
    program = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", line] if before else ["sh", "-ec", line],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert program.stderr == ""
    return program.stdout


def test_a_program_starts_with_no_signal_blocked_or_ignored() -> None:
    lines = [line.split() for line in wrapped(SIGNALS).splitlines()]
    masks = {name: int(mask, 16) & ~OF_THE_C_LIBRARY for name, mask in lines}
    assert masks == {"SigBlk:": 0, "SigIgn:": 0}


@needs_root
def test_the_environment_of_another_user_says_so() -> None:
    nobody = pwd.getpwnam("nobody")
    roots = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "PATH": os.environ["PATH"], "MINE": "yes"}
    roots |= dict.fromkeys(SESSION_VARIABLES, "/root/own")
    names = sorted({*roots} - {"PATH"})
    shown = wrapped(["env"], "--user", "nobody", "--own", "", environment=roots)
    found = dict(line.split("=", 1) for line in shown.splitlines())
    assert {name: found[name] for name in names if name in found} == {
        "HOME": nobody.pw_dir,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "MINE": "yes",
    }


@needs_root
def test_variables_that_the_pool_sets_win() -> None:
    given = {"PATH": os.environ["PATH"], "HOME": "/srv/shop", "XDG_CACHE_HOME": "/srv/cache"}
    shown = wrapped(["env"], "--user", "nobody", "--own", "HOME,XDG_CACHE_HOME", environment=given).splitlines()
    assert {"HOME=/srv/shop", "XDG_CACHE_HOME=/srv/cache", "USER=nobody"} <= set(shown)


@needs_root
def test_a_python_that_the_user_can_not_read_starts_the_program_all_the_same(tmp_path: Path) -> None:
    library = Path(os.__file__).parent
    closed = shutil.copytree(library, tmp_path / "closed", ignore=shutil.ignore_patterns("test", "site-packages"))
    closed.chmod(0o700)
    before = f"mount --bind {shlex.quote(str(closed))} {shlex.quote(str(library))}; "
    assert wrapped(["id", "-un"], "--user", "nobody", "--own", "", before=before) == "nobody\n"


def test_the_own_user_needs_no_rights() -> None:
    program = [*("--user", str(os.getuid()), "--own", "HOME")]
    assert wrapped(["id", "-u"], *program) == f"{os.getuid()}\n"
