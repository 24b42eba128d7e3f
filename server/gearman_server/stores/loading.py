"""Brings the jobs of an earlier run back while the server serves: threads read, the replay takes rows in on the loop.

One thread reads pages, always one ahead; another looks jobs up for requests, so that neither delays the other. Memory
is bounded by two pages besides the jobs themselves. If the database stops answering, the read is broken off and
repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.errors import StoreError
from gearman_server.jobs.job import PRIORITIES
from gearman_server.log import NOTICE, logger
from gearman_server.loop import Loop, Pause
from gearman_server.thread import Delivery, NativeThread

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.store import Answer, StoredJob, Wanted
    from gearman_server.orphans.former_run import FormerRun
    from gearman_server.stores.reading import RowPage, StoredRows

#: The time until the next attempt after a failed read.
RETRY_S: Final = 0.25
_STOP_PATIENCE_S: Final = 2.0
#: The number of looks at the clock within the timeout of a request.
_LOOKS: Final = 20
#: A read is broken off after this many timeouts, the next one after twice as many: it may go through very many rows.
_PATIENCE: Final = 4


class _Question(NamedTuple):
    """A request for stored jobs, and its deadline (monotonic seconds)."""

    wanted: Sequence[Wanted]
    answer: Answer
    deadline: float


class _Reader:
    """A thread that reads, and the start of its current read."""

    def __init__(self, rows: StoredRows, thread: NativeThread, patience_s: float) -> None:
        self.rows = rows
        self.thread = thread
        self._patience_s = patience_s
        self._since = monotonic()

    def run(self, call: Callable[[], Delivery]) -> None:
        """Hand a read over."""
        self._since = monotonic()
        self.thread.run(call)

    def break_off_if_stuck(self, now: float) -> None:
        """Break off a read that takes too long, because a connection can stay silent for ever. The next read gets twice
        the time, in case this one only had many rows."""
        if self.thread.is_busy and now - self._since > self._patience_s:
            self._since = now
            self._patience_s *= 2
            self.rows.break_off()


class Loading:
    """The replay of a store from its start to its end."""

    def __init__(
        self,
        rows: tuple[StoredRows, StoredRows],
        broker: Broker,
        former: FormerRun,
        loop: Loop,
        timeout_s: float,
        report: Callable[[StoreError], None],
    ) -> None:
        """`rows` are two readers: one for pages, one for the look-ups of requests. `report` is called with each failure
        to read a page; the page is tried again."""
        self._pages, self._look_ups = rows
        self._timeout_s = timeout_s
        self._report = report
        # The questions that the thread is answering, and the ones that it is asked next.
        self._asked: list[_Question] = []
        self._questions: list[_Question] = []
        self._has_ended = False
        self._set_aside_rows: set[str] = set()
        self._started = monotonic()
        self._broker = broker
        self._replay = broker.start_replay(self, former)
        patience_s = _PATIENCE * timeout_s
        self._page_reader = _Reader(self._pages, NativeThread(loop), patience_s)
        self._look_up_reader = _Reader(self._look_ups, NativeThread(loop), patience_s)
        self._page_pause = Pause(loop, RETRY_S)
        self._look_up_pause = Pause(loop, RETRY_S)
        self._clock_timer = loop.timer(timeout_s / _LOOKS, timeout_s / _LOOKS)

    def start(self) -> None:
        """Begin to read."""
        self._clock_timer.start(self._look_at_the_clock)
        self._read_page(PRIORITIES[0], -1)
        self._look_up_reader.run(self._stored)

    def stop(self) -> None:
        """Read no more. Blocks, but not for long."""
        if not self._has_ended:
            self._has_ended = True
            self._page_pause.stop()
            self._look_up_pause.stop()
            self._clock_timer.stop()
            for reader in (self._page_reader, self._look_up_reader):
                if reader.thread.is_busy:
                    reader.rows.break_off()
                if reader.thread.stop(_STOP_PATIENCE_S):
                    reader.rows.close()

    def _look_at_the_clock(self) -> None:
        """Answer questions whose timeout is over, and break off reads of a silent database."""
        now = monotonic()
        overdue = [question for question in (*self._asked, *self._questions) if question.deadline <= now]
        if overdue:
            self._asked = [question for question in self._asked if question.deadline > now]
            self._questions = [question for question in self._questions if question.deadline > now]
        for question in overdue:
            question.answer(None, now)
        self._page_reader.break_off_if_stuck(now)
        self._look_up_reader.break_off_if_stuck(now)

    # --- pages

    def _read_page(self, priority: int, after_id: int) -> None:
        self._page_reader.run(partial(self._page, priority, after_id))

    def _page(self, priority: int, after_id: int) -> Delivery:
        """Runs on the thread."""
        try:
            return partial(self._take_page, priority, self._pages.page(priority, after_id))
        except StoreError as error:
            return partial(self._retry_page, priority, after_id, error)

    def _retry_page(self, priority: int, after_id: int, failure: StoreError) -> None:
        if not self._has_ended:
            self._report(failure)
            self._page_pause.start(self._read_page, priority, after_id)

    def _take_page(self, priority: int, page: RowPage) -> None:
        if self._has_ended:
            return
        if page.last_id is not None:
            self._read_page(priority, page.last_id)  # the thread reads while the loop takes this page in
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
        if rows not in self._set_aside_rows:  # the pages of each priority report them
            self._set_aside_rows.add(rows)
            logger.error("set aside, and not run: the store's %s: %s", rows, reason)

    def _end(self) -> None:
        self.stop()
        self._broker.end_replay(monotonic())
        took_s = monotonic() - self._started
        logger.log(NOTICE, "%d jobs are back from the store, after %.1f s", self._replay.loaded, took_s)

    # --- look-ups for requests

    def look_up(self, wanted: Sequence[Wanted], answer: Answer) -> None:
        """Call `answer`, later, with those of the wanted jobs that are in the store."""
        self._questions.append(_Question(wanted, answer, monotonic() + self._timeout_s))
        self._ask()

    def _stored(self) -> Delivery:
        """Runs on the thread: read which functions have rows."""
        try:
            return partial(self._note_stored, self._look_ups.functions())
        except StoreError:
            return self._ask  # then every function may have rows

    def _note_stored(self, stored: frozenset[tuple[bytes, int]]) -> None:
        if not self._has_ended:
            self._replay.note_stored(stored, monotonic())
            self._ask()

    def _ask(self) -> None:
        if self._questions and not self._look_up_reader.thread.is_busy:
            self._asked, self._questions = self._questions, []
            wanted = [want for question in self._asked for want in question.wanted]
            self._look_up_reader.run(partial(self._find, wanted))

    def _find(self, wanted: list[Wanted]) -> Delivery:
        """Runs on the thread: one search for all questions."""
        try:
            return partial(self._tell, self._look_ups.look_up(wanted))
        except StoreError:
            return self._ask_again

    def _ask_again(self) -> None:
        """The store can't be read: try again, until the questions reach their deadlines."""
        if not self._has_ended:
            self._questions[:0], self._asked = self._asked, []
            self._look_up_pause.start(self._ask)

    def _tell(self, found: list[StoredJob]) -> None:
        if self._has_ended:
            return
        asked, self._asked = self._asked, []
        self._ask()
        now = monotonic()
        for question in asked:
            question.answer(found, now)
