"""When a waiting worker asks a job server whether it is there: times only, no I/O.

A connection can die without a word, in a NAT, a balancer or a switch. Then no NOOP wakes the worker, and nobody
notices.
"""

from __future__ import annotations

import random
from math import inf
from typing import Final

from gearman_client.packet import PacketType, encode_request
from gearman_client.worker.worker_settings import WorkerSettings

ARE_YOU_THERE: Final = encode_request(PacketType.ECHO_REQ, b"there?")


class Probe:
    """The question of one connection. `due_at` (monotonic): when to send it, or when its answer is overdue."""

    __slots__ = ("_is_answered_here", "_probe_s", "answer_s", "due_at", "is_sent")

    def __init__(self, settings: WorkerSettings) -> None:
        self._probe_s = settings.probe_s
        #: How long to wait for the answer.
        self.answer_s = min(settings.probe_s, settings.reply_timeout_s)
        self.start_anew()

    def start_anew(self) -> None:
        """Begin with a new connection, which is not asleep."""
        self._is_answered_here = True
        self.stop()

    def stop(self) -> None:
        """The worker does not sleep: it waits for answers that have limits of their own."""
        self.is_sent = False
        self.due_at = inf

    def wait(self, now: float) -> None:
        """The server was heard of: ask after a while of silence, and not at the same moment as a hundred others."""
        self.is_sent = False
        if self._probe_s and self._is_answered_here:
            self.due_at = now + self._probe_s * random.uniform(0.75, 1.25)
        else:
            self.due_at = inf

    def sent(self, now: float) -> None:
        """The question was sent."""
        self.is_sent = True
        self.due_at = now + self.answer_s

    def refused(self) -> None:
        """The server does not know ECHO_REQ, which proves that it is there; it is not asked again."""
        self._is_answered_here = False
        self.stop()
