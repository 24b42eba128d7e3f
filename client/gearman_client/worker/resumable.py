"""The part of a job by which it goes on where it was: its cursor, checkpoints, and series of items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, Final, TypeVar

from gearman_client.arguments import to_limit
from gearman_client.errors import ArgumentError, JobInterrupted
from gearman_client.extensions import CHECKPOINT, CHECKPOINTS_OPTION
from gearman_client.packet import encode_request
from gearman_client.worker.checkpoints import EVERY_S, Items, Progress, Series, decode_cursor, encode_cursor
from gearman_client.worker.job_link import JobLink

_NOTHING_INTERRUPTS: Final = nullcontext()

Item = TypeVar("Item")


class Resumable(ABC):
    """A job of which the server keeps how far it has come."""

    __slots__ = ("_link", "progress")

    _link: JobLink
    #: Its checkpoints; None: it has none.
    progress: Progress | None
    handle_bytes: bytes

    @property
    @abstractmethod
    def is_lost(self) -> bool:
        """Whether the connection over which it came is gone."""

    @abstractmethod
    def check_stopped(self) -> None:
        """Raise JobStopped if somebody has stopped the job."""

    @abstractmethod
    def _tell(self, packet: bytes) -> None: ...

    @property
    def cursor(self) -> Any:
        """That of the last checkpoint, in this attempt or an earlier one; None: there was none."""
        progress = self.progress
        return None if progress is None or not progress.cursor else decode_cursor(progress.cursor)

    def checkpoint(self, cursor: Any) -> bool:
        """Keep how far the job has come with it, at the server: the next attempt finds it in `cursor`.

        cursor: any value that JSON can hold, of at most 64 KiB as JSON. False: the server can't keep it.

        Raises:
            ArgumentError: it is none.
            JobAnswered: the job has ended.
        """
        self.note_cursor(cursor)
        self.send_cursor()
        return self._can_go_on

    def iterate(
        self,
        items: Items[Item],
        *,
        cursor: Callable[[Item], Any] | None = None,
        every: timedelta | float = EVERY_S,
        uninterrupted: AbstractContextManager[None] = _NOTHING_INTERRUPTS,
    ) -> Series[Item]:
        """The items from the cursor on, with a checkpoint behind each, for `for` and `async for`; once in each job.

        When the worker has to leave, JobInterrupted ends the attempt in front of the next item; the job goes back to
        the head of its queue, at no cost, and goes on there. With a server that knows no checkpoints nothing of that
        happens: all items are gone through. It ends, too, when the connection is lost and the job runs again for that:
        with a durable server of ours it goes on, for a minute without one.

        items: their number is the cursor, so they have to be the same in each attempt; or a function that is given the
            cursor (None at first) and returns the items behind it.
        cursor: makes the cursor of an item, where a number will not do. Then `items` begin behind `job.cursor`.
        every: the longest time (seconds) whose items are repeated after a crash; 0: each checkpoint is sent at once.

        Raises:
            ArgumentError: it was called before; or the cursor of an earlier attempt is no number of items.
        """
        return Series(self, items, cursor, to_limit(every, "every"), uninterrupted)

    @property
    def is_interrupted(self) -> bool:
        """Whether `iterate` has ended this attempt."""
        return self.progress is not None and self.progress.is_interrupted

    @property
    def _extensions(self) -> Set[bytes]:
        """Those of its server, also after that is gone."""
        known = self._link.extensions
        return known if known or not self.is_lost else self._link.former_extensions

    @property
    def _can_go_on(self) -> bool:
        return CHECKPOINTS_OPTION in self._extensions

    def _its_progress(self) -> Progress:
        if self.progress is None:
            self.progress = Progress()
        return self.progress

    def begin_series(self) -> None:
        """Note that the job goes through a series of items."""
        progress = self._its_progress()
        if progress.has_series:
            raise ArgumentError(
                "a job has one cursor, so it can go through one series of items: iterate was called twice"
            )
        progress.has_series = True

    def note_cursor(self, cursor: Any) -> None:
        """Note how far the job has come; it is sent later, at the latest when the attempt fails."""
        encoded = encode_cursor(cursor)
        progress = self._its_progress()
        progress.cursor, progress.is_unsent = encoded, self._can_go_on

    def send_cursor(self) -> None:
        """Send what was noted."""
        packet = self._unsent_cursor()
        if packet:
            self._tell(packet)

    def give_way(self) -> None:
        """Interrupt the job if its worker has to leave, and its server can have it go on elsewhere; or if its server
        has it run again anyway.

        Raises:
            JobInterrupted: that is so.
            JobStopped: it is not to go on at all.
        """
        self.check_stopped()
        if (self.is_lost and not self._link.can_go_on) or (self._link.must_leave and self._can_go_on):
            self._its_progress().is_interrupted = True
            raise JobInterrupted

    def _unsent_cursor(self) -> bytes:
        progress = self.progress
        if progress is None or not progress.is_unsent or progress.cursor is None:
            return b""
        progress.is_unsent = False
        return encode_request(CHECKPOINT, self.handle_bytes, progress.cursor)
