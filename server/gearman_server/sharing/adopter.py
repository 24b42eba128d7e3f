"""Takes over the rows of dead servers, a page at a time, on the writer's thread between the batches.

Adoption has no leader: each living server takes what it gets. So no page is longer in the way than a batch, and memory
holds two pages besides the jobs themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearman_server.cluster.members import BEAT_EVERY_S, MemberState
from gearman_server.errors import StoreError
from gearman_server.jobs.job import PRIORITIES
from gearman_server.log import NOTICE, logger
from gearman_server.loop import Loop, Pause
from gearman_server.orphans.orphans import WORD_S
from gearman_server.sharing import adopting, servers_table
from gearman_server.sharing.adopting import Position
from gearman_server.stores.rows import OWNER
from gearman_server.thread import Delivery

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.cluster.adoption import Adoption
    from gearman_server.cluster.members import Member
    from gearman_server.sharing.adopting import AdoptedPage
    from gearman_server.stores.database import Database
    from gearman_server.stores.writer import Writer

#: The time until the next attempt after a page that failed.
_RETRY_S: Final = 0.25
#: A dead server's share of the limits is nobody else's before those that have got its running jobs have told that they
#: use it: after the wait for words, with a beat or two.
_COUNTS_S: Final = WORD_S + 3 * BEAT_EVERY_S
#: Below the id of every row, those included that only probe the store.
_FROM_THE_FIRST: Final = -(1 << 62)
#: Rows whose owner is no server at all are looked for this often.
_SWEEP_EVERY_S: Final = 60.0


class Adopter:
    """Adopts from one dead server after the other."""

    def __init__(self, database: Database, writer: Writer, adoption: Adoption, loop: Loop) -> None:
        self._database = database
        self._writer = writer
        self._adoption = adoption
        #: Who adopts; 0 while nobody does.
        self._id = 0
        #: Whether a page, or the question after one, is under way.
        self._is_busy = False
        self._pause = Pause(loop, _RETRY_S)
        self._taken = 0
        self._swept_at = float("-inf")
        #: Ids of rows that are ours, or may be, though they are no jobs here: those that can't be used, and those of a
        #: page whose commit got no answer.
        self.jobless: set[int] = set()
        #: The servers that are dead, and since when that is known here (monotonic seconds).
        self._dead: dict[int, tuple[Member, float]] = {}
        #: Those of which there seem to be no more rows, and when they are buried.
        self._bury_at: dict[int, float] = {}
        #: Those that were seen to since the last beat: one after the other, and none again before the next one.
        self._seen_to: set[int] = set()

    def adopt_from(self, members: Sequence[Member], own_id: int) -> None:
        """Go on with whatever there is to adopt for the server with this id. Call this after each beat."""
        self._id = own_id
        now = monotonic()
        dead = [member for member in members if member.state is not MemberState.ALIVE]
        self._dead = {member.id: self._dead.get(member.id, (member, now)) for member in dead}
        self._bury_at = {number: at for number, at in self._bury_at.items() if number in self._dead}
        if self._is_busy:
            return
        self._seen_to.clear()
        if not self._begin_next() and not dead and now - self._swept_at > _SWEEP_EVERY_S:
            self._swept_at = now
            self._run(partial(self._sweep, {member.id for member in members}))

    def stop(self) -> None:
        """Adopt nothing more until `adopt_from` is called again: what is under way was not ours to take."""
        self._id = 0
        self.jobless.clear()
        if self._pause.is_running:
            self._pause.stop()
            self._rest()

    def _begin_next(self) -> bool:
        """See to the next dead server. False: there is none to see to now."""
        now = monotonic()
        due = (dead for dead in self._dead if dead not in self._seen_to and now >= self._bury_at.get(dead, now))
        dead = next(due, None) if self._id else None
        if dead is None:
            return False
        self._seen_to.add(dead)
        self._taken = 0
        self._page(Position(dead, PRIORITIES[0], _FROM_THE_FIRST))
        return True

    def _run(self, call: Callable[[], Delivery]) -> None:
        self._is_busy = True
        self._writer.run(call)

    def _page(self, position: Position) -> None:
        self._run(partial(self._adopt, position, self._id))

    # --- on the writer's thread

    def _adopt(self, position: Position, own_id: int) -> Delivery:
        ids: list[int] = []

        def take(connection: Connection) -> AdoptedPage:
            page = adopting.adopt(connection, position, own_id)
            ids.extend(page.ids)
            return page

        try:
            page = self._database.call(take, as_owner=True)
        except StoreError as error:
            if not error.is_unknown:
                return partial(self._failed, position, error, None)
            return partial(self._doubt, position, error, ids)
        self._database.cursors.note(job.id for job in page.jobs if job.cursor is not None)
        return partial(self._take_in, position, page)

    def _find_out(self, position: Position, own_id: int, ids: Sequence[int]) -> Delivery:
        """Read what became of a page whose commit got no answer: its rows are ours, or they are not."""
        try:
            page = self._database.call(partial(adopting.read_own, ids=ids, owner=own_id), as_owner=True)
        except StoreError as error:
            again = partial(self._find_out, position, own_id, ids)
            return partial(self._failed, position, error, again)
        self._database.cursors.note(job.id for job in page.jobs if job.cursor is not None)
        return partial(self._take_in, position, page, is_end=False)

    def _bury(self, dead: int) -> Delivery:
        with suppress(StoreError):  # the next beat is soon enough
            self._database.call(partial(servers_table.bury, number=dead), as_owner=True)
        return partial(self._note_end, dead)

    def _sweep(self, known: set[int]) -> Delivery:
        """Have rows adopted whose owner is no server: nobody else would ever run them."""
        after = 0
        try:
            while (owner := self._database.call(partial(adopting.next_owner, after=after))) is not None:
                after = owner
                if owner not in known:
                    self._database.call(partial(servers_table.add_dead, number=owner), as_owner=True)
        except StoreError:
            pass  # the next sweep is soon enough
        return self._rest

    # --- on the loop's thread

    def _rest(self) -> None:
        self._is_busy = False

    def _take_in(self, position: Position, page: AdoptedPage, *, is_end: bool = True) -> None:
        if not self._id:
            self._rest()
            return
        dead, priority, after = position
        if page.ids or not is_end:
            # The thread reads while the loop takes this page in.
            self._page(position._replace(after=max(page.ids, default=after)))
        elif priority != PRIORITIES[-1]:
            self._page(Position(dead, priority + 1, _FROM_THE_FIRST))
        else:
            self._end(dead)
            return
        self._taken += len(page.jobs)
        for rows, reason in page.unreadable:
            logger.error("set aside, and not run: the store's %s: %s", rows, reason)
        now = monotonic()
        member, since = self._dead.get(dead, (None, now))
        has_left = member is not None and member.state is MemberState.LEFT
        self.jobless.update(page.ids)
        self.jobless.difference_update(job.id for job in page.jobs)
        for number, reason in self._adoption.take_in(page.jobs, now, since + WORD_S, has_left=has_left):
            self.jobless.add(number)
            logger.error("set aside, and not run: the store's row %d: %s", number, reason)

    def _end(self, dead: int) -> None:
        """No more rows were found: bury the server, if its share of the limits counts no more."""
        member, since = self._dead.get(dead, (None, 0.0))
        at = since + _COUNTS_S
        if member is None or member.state is MemberState.LEFT or monotonic() >= at:
            self._run(partial(self._bury, dead))
        else:
            self._bury_at[dead] = at
            self._note_end(dead)

    def _doubt(self, position: Position, error: StoreError, ids: Sequence[int]) -> None:
        self.jobless.update(ids)
        self._failed(position, error, partial(self._find_out, position, self._id, ids))

    def _failed(self, position: Position, error: StoreError, again: Callable[[], Delivery] | None) -> None:
        if not self._id:
            self._rest()
            return
        logger.warning("the jobs of server %d can't be adopted now: %s", position.dead, error)
        if again is not None:
            self._pause.start(self._run, again)
        else:
            self._pause.start(self._page, position)

    def _note_end(self, dead: int) -> None:
        self._rest()
        self._adoption.end()
        if self._taken:
            whose = "this store's former server" if dead == OWNER else f"server {dead}"
            logger.log(NOTICE, "%d jobs of %s, which is dead, were adopted", self._taken, whose)
        self._begin_next()
