"""Brings the jobs of an earlier run back while the server serves: threads read, the replay takes rows in on the loop.

One thread reads pages, always one ahead; another finds what requests ask for meanwhile, so that neither holds the other
up. Memory is bounded by two pages beside the jobs themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearman_server.errors import StoreError
from gearman_server.job import PRIORITIES
from gearman_server.log import NOTICE, logger
from gearman_server.stores.thread import Delivery, NativeThread

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.replay import Answer, StoredJob, Wanted
    from gearman_server.stores.reading import Page, StoredRows

#: After rows could not be read, how long until the next attempt.
RETRY_S: Final = 0.25
_STOP_PATIENCE_S: Final = 2.0


class _Question(NamedTuple):
    """A request for stored jobs, and until when it may wait for the answer (monotonic seconds)."""

    wanted: Sequence[Wanted]
    answer: Answer
    deadline: float


class Loading:
    """The replay of a store from its start to its end."""

    def __init__(
        self, pages: StoredRows, look_ups: StoredRows, timeout_s: float, report: Callable[[StoreError], None]
    ) -> None:
        """`report` is told when rows can't be read now; they are tried again."""
        self._pages = pages
        self._look_ups = look_ups
        self._timeout_s = timeout_s
        self._report = report
        self._questions: list[_Question] = []
        self._has_ended = False
        self._set_aside_rows: set[str] = set()

    def start(self, broker: Broker, loop: Any) -> None:
        """Begin to read."""
        self._started = monotonic()
        self._broker = broker
        self._replay = broker.start_replay(self)
        self._page_thread = NativeThread(loop)
        self._look_up_thread = NativeThread(loop)
        self._page_timer = loop.timer(RETRY_S)
        self._look_up_timer = loop.timer(RETRY_S)
        self._read_page(PRIORITIES[0], -1)
        self._look_up_thread.run(self._stored)

    def stop(self) -> None:
        """Read no more. Blocks, but not for long."""
        if not self._has_ended:
            self._has_ended = True
            self._page_timer.stop()
            self._look_up_timer.stop()
            for thread, rows in ((self._page_thread, self._pages), (self._look_up_thread, self._look_ups)):
                if thread.is_busy:
                    rows.break_off()
                if thread.stop(_STOP_PATIENCE_S):
                    rows.close()

    # --- pages

    def _read_page(self, priority: int, after_id: int) -> None:
        self._page_thread.run(partial(self._page, priority, after_id))

    def _page(self, priority: int, after_id: int) -> Delivery:
        """On the thread."""
        try:
            return partial(self._take_page, priority, self._pages.page(priority, after_id))
        except StoreError as failure:
            return partial(self._retry_page, priority, after_id, failure)

    def _retry_page(self, priority: int, after_id: int, failure: StoreError) -> None:
        if not self._has_ended:
            self._report(failure)
            self._page_timer.start(self._read_page, priority, after_id)

    def _take_page(self, priority: int, page: Page) -> None:
        if self._has_ended:
            return
        if page.last_id is not None:
            self._read_page(priority, page.last_id)  # while the loop takes this one in
        elif priority != PRIORITIES[-1]:
            self._read_page(priority + 1, -1)
        for problem in page.unreadable:
            self._set_aside(*problem)
        for row_id, reason in self._replay.load(page.jobs, monotonic()):
            self._set_aside(f"row {row_id}", reason)
        if page.last_id is None:
            self._replay.end_of_priority(monotonic())
            if priority == PRIORITIES[-1]:
                self._end()

    def _set_aside(self, rows: str, reason: str) -> None:
        if rows not in self._set_aside_rows:  # each priority meets with them
            self._set_aside_rows.add(rows)
            logger.error("set aside, and not run: the store's %s: %s", rows, reason)

    def _end(self) -> None:
        self.stop()
        self._broker.end_replay(monotonic())
        took_s = monotonic() - self._started
        logger.log(NOTICE, "%d jobs are back from the store, after %.1f s", self._replay.loaded, took_s)

    # --- what requests ask for

    def look_up(self, wanted: Sequence[Wanted], answer: Answer) -> None:
        """Have `answer` called with those jobs, as they are in the store now."""
        self._questions.append(_Question(wanted, answer, monotonic() + self._timeout_s))
        self._ask()

    def _stored(self) -> Delivery:
        """On the thread: which functions have rows."""
        try:
            return partial(self._note_stored, self._look_ups.functions())
        except StoreError:
            return self._ask  # they all count as having some, then

    def _note_stored(self, stored: frozenset[tuple[bytes, int]]) -> None:
        if not self._has_ended:
            self._replay.note_stored(stored, monotonic())
            self._ask()

    def _ask(self) -> None:
        if self._questions and not self._look_up_thread.is_busy:
            questions, self._questions = self._questions, []
            self._look_up_thread.run(partial(self._answers, questions))

    def _answers(self, questions: list[_Question]) -> Delivery:
        """On the thread: one search for all."""
        try:
            found = self._look_ups.look_up([want for question in questions for want in question.wanted])
        except StoreError:
            return partial(self._ask_again, questions)
        return partial(self._tell, questions, found)

    def _ask_again(self, questions: list[_Question]) -> None:
        """The store can't be read. It is tried again, for as long as somebody may be kept waiting."""
        if self._has_ended:
            return
        now = monotonic()
        self._questions[:0] = [question for question in questions if question.deadline > now]
        self._look_up_timer.start(self._ask)
        for question in questions:
            if question.deadline <= now:
                question.answer(None, now)

    def _tell(self, questions: list[_Question], found: list[StoredJob]) -> None:
        if self._has_ended:
            return
        self._ask()
        now = monotonic()
        for question in questions:
            question.answer(found, now)
