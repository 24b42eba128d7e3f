"""A second pool that has nothing to do with a fault: its jobs must be answered during the whole fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gearman_client import GearmanError

from .conftest import RunningManager

MODULE = "def neighbour(job): return job.workload\n"
ANSWER_WITHIN_S = 15.0  # enough for a busy machine; a job that is held up waits for ever


class _Caller:
    def __init__(self, manager: RunningManager) -> None:
        self._manager = manager
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self.answers = 0
        self.error: GearmanError | None = None
        self.longest_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(ANSWER_WITHIN_S * 2)

    def _call(self) -> None:
        with self._manager.client(timeout_s=ANSWER_WITHIN_S) as client:
            while not self._enough.is_set() or not self.answers:
                began = time.monotonic()
                try:
                    assert client.submit("neighbour", b"still here") == b"still here"
                except GearmanError as error:
                    self.error = error
                    return
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.answers += 1
                self._enough.wait(0.005)


@contextmanager
def undisturbed(manager: RunningManager) -> Iterator[None]:
    """In this context the function `neighbour` (write MODULE) answers every call, in a pool of its own."""
    caller = _Caller(manager)
    caller.start()
    try:
        yield
    finally:
        caller.stop()
    assert caller.error is None, f"the neighbour's job: {caller.error}\n{manager.log()[-4000:]}"
    assert caller.answers > 0
