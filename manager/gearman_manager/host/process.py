"""Starts processes by exec, notices their end, and reads how they ended.

The supervisor uses neither gevent.subprocess nor gevent's child watchers (they stole exit statuses). It is a child
subreaper: when a zygote is killed its workers become the supervisor's own children, and stay alive.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from gearman_process.early_signals import NOTED

_PR_SET_CHILD_SUBREAPER: Final = 36
TITLE: Final = "gearman-manager"


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started, and the descriptor that becomes readable at its end."""

    pid: int
    pidfd: int


def become_subreaper() -> None:
    """Adopt orphaned descendants. Neither the standard library nor psutil has this call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start(
    arguments: Sequence[str], descriptors: Sequence[int], output: int, environment: Mapping[str, str] | None = None
) -> Child:
    """Exec a program in a session of its own, with these descriptors inherited and `output` as its output.

    The signals `NOTED` are blocked in it: it has to unblock them.

    Raises:
        OSError: it can't be started.
    """
    # It keeps the blocked signals until it can handle them; they would kill it before its first line.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOTED)
    try:
        popen = _popen(arguments, descriptors, output, environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        child = Child(popen.pid, os.pidfd_open(popen.pid))
    except OSError:
        popen.kill()
        popen.wait()
        raise
    popen.returncode = 0  # so that Popen neither reaps nor complains when it is collected
    return child


def _popen(
    arguments: Sequence[str], descriptors: Sequence[int], output: int, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # not gevent's: we reap by pidfd, and never call its wait or poll
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=list(descriptors),
        start_new_session=True,
        env=None if environment is None else dict(environment),
    )


def open_again(pidfd: int, pid: int) -> int | None:
    """Another descriptor of the process behind a pidfd, for somebody else; None if it has ended.

    A duplicate would not do. The kernel's poll set forgets a descriptor only with its last duplicate, and a closed one
    whose duplicate lives on makes libev build its poll set anew: fatal while there are no free descriptors.

    Raises:
        OSError: there is no free descriptor.
    """
    try:
        other = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # The number belongs to the same process if that still runs.
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    if ended.poll(0):
        os.close(other)
        return None
    return other


def exit_status(pidfd: int) -> int | None:
    """Reap the process behind a pidfd if it has ended and is our child.

    Returns its exit code, or minus the signal that ended it; None if another process reaps it, or it still runs.
    """
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if result is None else _status(result)


def reap_strangers(known: set[int]) -> list[tuple[int, int]]:
    """Reap zombies that we adopted as subreaper or as PID 1, and that are not `known`.

    Returns their pids and exit statuses: a zygote that ends may leave us a worker that it has not reaped yet.
    """
    reaped: list[tuple[int, int]] = []
    while True:
        try:
            waiting = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if waiting is None or waiting.si_pid in known:
                return reaped  # one of ours: its pidfd tells of it; the strangers behind it come with the next pass
            result = os.waitid(os.P_PID, waiting.si_pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return reaped
        if result is not None:
            reaped.append((result.si_pid, _status(result)))


def a_child_has_ended() -> bool:
    """Whether a child of ours has ended and is not reaped yet."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def stopped_children() -> list[int]:
    """The children that were stopped (by SIGSTOP and its like) since the last call and have not been continued."""
    pids = []
    with suppress(ChildProcessError):
        while (result := os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)) is not None:
            pids.append(result.si_pid)
    return [pid for pid in pids if is_stopped(pid)]


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped until it gets SIGCONT."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.Error, OSError):
        return False


def _status(result: os.waitid_result) -> int:
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def stray_children(known: set[int]) -> list[int]:
    """The workers of a zygote that died before it could report them: adopted, unknown, and ours by name."""
    strays = []
    for child in _children(recursive=False):
        with suppress(psutil.Error, OSError):
            title = " ".join(child.cmdline())
            if child.pid not in known and title.startswith((f"{TITLE}: worker", f"{TITLE}: zygote")):
                strays.append(child.pid)
    return strays


def _children(*, recursive: bool) -> list[psutil.Process]:
    """The processes below this one; none if they can't be looked up, for example without free descriptors."""
    try:
        return psutil.Process().children(recursive=recursive)
    except (psutil.Error, OSError):
        return []


def child_pids() -> set[int]:
    """Our children, zombies too. Reads a small file for each thread; psutil would read all of the machine's."""
    pids: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as children:
                pids.update(map(int, children.read().split()))
    except OSError:
        return {child.pid for child in _children(recursive=False)}
    return pids


def environment_value(pid: int, name: str) -> str | None:
    """A variable of a process's first environment; None if it is not set, or we may not read it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            entries = environ.read().split(b"\0")
    except OSError:
        return None
    start = f"{name}=".encode()
    return next((entry[len(start) :].decode(errors="replace") for entry in entries if entry.startswith(start)), None)


def connections_of(pids: Iterable[int]) -> dict[int, list[tuple[str, int]]]:
    """The TCP connections of these processes and all their descendants: own address with port, and the other's port."""
    by_member: dict[int, int] = {}
    for pid in pids:
        with suppress(psutil.Error):
            by_member |= {member.pid: pid for member in psutil.Process(pid).children(recursive=True)}
        by_member[pid] = pid
    found: dict[int, list[tuple[str, int]]] = {}
    if by_member:
        for connection in psutil.net_connections("tcp"):
            pid = by_member.get(connection.pid or 0, 0)
            own = connection.laddr
            if pid and own and connection.raddr:
                found.setdefault(pid, []).append((f"{own.ip}:{own.port}", connection.raddr.port))
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and everything below it."""
    with suppress(psutil.Error, OSError):
        root = psutil.Process(pid)
        for one in [*root.children(recursive=True), root]:
            with suppress(psutil.Error):
                one.kill()


def kill_descendants() -> None:
    """Kill all processes that are still below this one, at its very end."""
    for child in _children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Signal the process behind a pidfd; no error if it is gone already."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def kill_session(leader_pid: int) -> None:
    """Kill the rest of a dead worker's session, so that no process it started stays behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def describe_status(status: int | None) -> str:
    """An exit status in words: `exit status 3`, `killed by SIGKILL`."""
    if status is None:
        return "for an unknown reason"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
