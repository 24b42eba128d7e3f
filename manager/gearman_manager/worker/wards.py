"""The workers that a zygote guards: if the supervisor is killed, none of them runs for longer than its `stop_timeout`.

A worker notices the supervisor's end itself and leaves after its job, but a job that never ends would keep it for ever,
and one that is in C code can't be interrupted from within. So the zygote, which every manager has, stays until all
workers are gone, and kills those that take too long, and what they have started.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gearman_manager.ipc.lifeline import has_ended
from gearman_manager.worker.started_processes import kill_started_by

#: The channel may end a little before the supervisor's process has.
_END_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ward:
    """A worker that is guarded, from the supervisor's message."""

    pid: int
    client_id: str
    stop_timeout_s: float
    is_program: bool


class Wards:
    """All workers of the manager, whoever started them, by their pidfds."""

    def __init__(self) -> None:
        self._wards: dict[int, Ward] = {}
        self._poll = select.poll()

    def add(self, pidfd: int, ward: Ward) -> None:
        """Guard a worker; those that are gone are forgotten."""
        self._forget_ended(0)
        if ward in self._wards.values():
            os.close(pidfd)
            return
        self._wards[pidfd] = ward
        self._poll.register(pidfd, select.POLLIN)

    def close(self) -> None:
        """Close the descriptors, in a worker that was forked."""
        for pidfd in self._wards:
            os.close(pidfd)

    def outlive_supervisor(self, lifeline: int) -> None:
        """The supervisor is gone: wait until all workers are, and kill those that take longer than they may."""
        if not has_ended(lifeline, _END_WAIT_S):
            return  # it lives, and only has no more use for us
        began, ended_ns = time.monotonic(), time.monotonic_ns()
        for pidfd, ward in self._wards.items():
            if not ward.is_program:  # the kernel has sent a program its own stop signal
                _send(pidfd, signal.SIGTERM)  # for one that does not serve yet, and so does not look
        while self._wards:
            now = time.monotonic() - began
            for pidfd, ward in self._wards.items():
                if ward.stop_timeout_s <= now:
                    kill_started_by(ward.pid, ward.client_id, ended_ns)  # first: then they are still below it
                    _send(pidfd, signal.SIGKILL)
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(ward.pid, signal.SIGKILL)
            left_s = min((ward.stop_timeout_s - now for ward in self._wards.values()), default=0.0)
            self._forget_ended(max(left_s, 0.05))

    def _forget_ended(self, timeout_s: float) -> None:
        for pidfd, _ in self._poll.poll(timeout_s * 1000):
            self._poll.unregister(pidfd)
            del self._wards[pidfd]
            os.close(pidfd)


def _send(pidfd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, number)
