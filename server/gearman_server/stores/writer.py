"""Writes batches on a thread of its own, one at a time, each as a whole.

It repeats a batch whose connection broke, until the batch's time is up, and one that another transaction was in the way
of, at least some times; every other failure is reported at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.errors import OwnershipLostError, StoreError
from gearman_server.thread import Delivery, NativeThread, native_sleep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gearman_server.jobs.job import Job
    from gearman_server.loop import Loop
    from gearman_server.stores.batch import Batch
    from gearman_server.stores.database import Database

_FIRST_PAUSE_S: Final = 0.02
_MAX_PAUSE_S: Final = 0.5
#: So often a batch is repeated that collides with others, also if nobody waits for it and it has no time.
_LEAST_REPEATS: Final = 5


class WriteOrder(NamedTuple):
    """A batch to write."""

    batch: Batch
    #: Until when the batch is repeated if the connection breaks (monotonic seconds).
    deadline: float
    #: Few numbers for handles are left: reserve more, too.
    wants_numbers: bool = False
    #: Write nothing: only see whether the database is still the one that the next start will open.
    is_look: bool = False


class WriteOutcome(NamedTuple):
    """The outcome of the oldest batch that has none yet."""

    #: Jobs that the database refuses because of their contents.
    refused: Sequence[Job] = ()
    failure: StoreError | None = None
    numbers: range | None = None


class Writer:
    """Writes batches; `report` is called with each outcome, on the loop's thread."""

    def __init__(self, database: Database, loop: Loop, report: Callable[[WriteOutcome], None]) -> None:
        self._database = database
        self._report = report
        self._thread = NativeThread(loop)

    def write(self, order: WriteOrder) -> None:
        """Hand a batch over. It is written after the earlier ones, whether these succeed or fail."""
        self._thread.run(partial(self._carry_out, order))

    def run(self, call: Callable[[], Delivery]) -> None:
        """Have something else done with the database, after the batches that were handed over before."""
        self._thread.run(call)

    def stop(self, patience_s: float) -> bool:
        """Let it finish its batches, and end; blocks. False: the database does not answer, even after a break-off."""
        if self._thread.stop(patience_s):
            return True
        self._database.break_off()
        return self._thread.stop(patience_s)

    # --- on the writer's thread

    def _carry_out(self, order: WriteOrder) -> Delivery:
        return partial(self._report, self._outcome(order))

    def _outcome(self, order: WriteOrder) -> WriteOutcome:
        if order.batch.is_given_up:
            return WriteOutcome(failure=StoreError("given up before it was written"))
        try:
            refused = self._database.look() if order.is_look else self._write(order)
        except StoreError as error:
            return WriteOutcome(failure=error)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it must not die
            reason = f"internal error: {type(error).__name__}: {error}"
            return WriteOutcome(failure=StoreError(reason, is_unknown=True))
        return WriteOutcome(refused, numbers=self._numbers() if order.wants_numbers else None)

    def _numbers(self) -> range | None:
        """More numbers, or None; there is time to try again later."""
        try:
            return self._database.reserve_numbers()
        except StoreError:
            return None

    def _write(self, order: WriteOrder) -> Sequence[Job]:
        pause_s, collisions = _FIRST_PAUSE_S, 0
        is_repeated = is_unknown = False
        while True:
            try:
                return self._database.write(order.batch, is_repeated=is_repeated)
            except StoreError as error:
                # An attempt that fails for sure does not say what became of the one before.
                is_unknown = error.is_unknown = is_unknown or error.is_unknown
                may_repeat = error.is_lost and not isinstance(error, OwnershipLostError)
                collisions += error.is_collision
                has_time = time.monotonic() + pause_s <= order.deadline
                has_time |= error.is_collision and collisions <= _LEAST_REPEATS
                if not may_repeat or order.batch.is_given_up or not has_time:
                    raise
            is_repeated = True
            native_sleep(pause_s)
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)
