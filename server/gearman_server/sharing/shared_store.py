"""The store of a server in a cluster: its own rows as in `SqlStore`, its beats, and what follows if they fail.

Everything here runs on the loop's thread. `adopter.py` takes over the rows of others.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from gearman_server.cluster.live_waits import LiveWaits
from gearman_server.cluster.members import Member, MemberState
from gearman_server.cluster.peers import Peers, encode_facts
from gearman_server.cluster.watch import Watch, trusted_until
from gearman_server.errors import ComparisonNeededError, OwnershipLostError, StartError, StoreError
from gearman_server.jobs.events import Event, StoreFenced
from gearman_server.log import NOTICE, logger
from gearman_server.loop import CheckingLoop, Pause, before_all
from gearman_server.sharing import servers_table
from gearman_server.sharing.adopter import Adopter
from gearman_server.sharing.directory import Directory
from gearman_server.sharing.heart import Beat, Heart
from gearman_server.sharing.links import Links
from gearman_server.sharing.ownership import SharedOwnership
from gearman_server.sharing.returning import Differences, Returning
from gearman_server.sharing.shared_changes import SharedChanges
from gearman_server.stores.batch import Batch, row_id
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url, reason_of
from gearman_server.stores.writer import WriteOrder, WriteOutcome
from gearman_server.thread import Delivery
from gearman_server.version import __version__

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.cluster.part import Part
    from gearman_server.requests.departures import Departures
    from gearman_server.stores.backend import Backend
    from gearman_server.stores.settings import ClusterSettings, StoreSettings

#: A server that was declared dead tries this often to come back.
_COME_BACK_EVERY_S: Final = 0.5


class SharedStore(SharedChanges):
    """A `Store` in a database that other servers use too."""

    def __init__(self, settings: StoreSettings, cluster: ClusterSettings, loop: CheckingLoop) -> None:
        """Join the cluster, and reserve numbers. Blocks.

        Raises:
            StartError: the database can't be used, or is another cluster's.
        """
        self._cluster = cluster
        database = Database(parse_url(settings.url), settings.timeout_s, self._make_ownership)
        super().__init__(settings, loop, database, self._backend)
        self._id = 0
        self._heart = Heart(database.engine, self._backend, self._sharing, loop)
        self._watch = Watch(cluster.lease_s)
        #: Until when nobody else can have taken our jobs (monotonic seconds).
        self._trusted_until = trusted_until(monotonic(), cluster.lease_s)
        try:
            self._ownership.fence_predecessors(database.engine)
            self._take_id(self._enter(self._number))
        except BaseException as error:
            self._heart.stop()
            self.close()
            if isinstance(error, StoreError | DBAPIError):
                raise StartError(f"the store {database.name} can't be used: {reason_of(error)}") from error
            raise
        self._part: Part | None = None
        self._departures: Departures | None = None
        self._returning: Returning | None = None
        #: Batches that wait for the end of a comparison.
        self._postponed: list[Batch] = []
        self._adopter: Adopter | None = None
        #: Whether others have taken our rows, and we have no new id yet.
        self._is_fenced = False
        self._come_back_pause = Pause(loop, _COME_BACK_EVERY_S)
        # It runs in each pass before anything else, so nothing is given out after a time in which nothing ran at all.
        self._guard = before_all(loop)
        self._peers = Peers(secrets.token_hex())
        self._links = Links(self._on_refusal)
        self._directory = Directory(self.reader)
        self._trouble = ""
        self._note_time: Callable[[float], None] = lambda _now: None

    def _make_ownership(self, backend: Backend, name: str) -> SharedOwnership:
        if backend.sharing is None:
            raise StartError(f"the store {name} has one server: a cluster needs PostgreSQL, MariaDB or MySQL")
        self._backend, self._sharing = backend, backend.sharing
        self._ownership = SharedOwnership(backend, backend.sharing, name, self._cluster)
        return self._ownership

    # --- life

    def restore_to(self, broker: Broker) -> None:
        """Give the broker what the store has, and take part in the cluster."""
        super().restore_to(broker)
        self._note_time = broker.note_time
        self._part, self._departures = broker.take_part(), broker.departures
        self._tell_members = broker.discovery.note
        me = Member(self._id, self._cluster.member, self._cluster.address, __version__, MemberState.ALIVE, None, b"")
        self._tell_members([me], self._id)  # the others follow with the first beat
        self._part.meet(self._peers, self._directory, self._links)
        self._batch_requests.links = self._links
        self._links.listener = self._shared_results.live = LiveWaits(broker.results, self._links)
        self._peers.id = self._id
        self._heart.facts = partial(_facts, self._part, self._peers.word)
        self._adopter = Adopter(self._database, self._writer, self._part.adoption, self._loop)
        broker.orphans.answer_s += self._cluster.lease_s
        comparison = self._part.comparison
        self._returning = Returning(self._database, self._ownership, self._writer, comparison, self._go_on_after)
        broker.events.subscribe(self._on_fenced, StoreFenced)
        self._guard.start(self._look_at_the_lease)
        self._heart.start(self._id, self._on_beat)

    def stop_writing(self) -> None:
        """Beat no more, and wait until the writer has written its batches."""
        self._guard.stop()
        self._come_back_pause.stop()
        self._heart.stop()
        self._links.close()
        if self._adopter is not None:
            self._adopter.stop()
        super().stop_writing()

    def _write_the_rest(self) -> bool:
        """Leave in order: the others take our jobs without waiting for the end of the lease."""
        is_free = super()._write_the_rest()
        if is_free and self._id and not self._is_fenced:
            try:
                state = (
                    MemberState.DEAD if self._departures is None or self._departures.are_unsure else MemberState.LEFT
                )
                self._database.call(partial(servers_table.declare_dead, number=self._id, state=state))
            except StoreError as error:
                logger.warning("the cluster can't be told of this server's end: %s", error)
        return is_free

    @property
    def _last_state(self) -> MemberState:
        """Whether it is known which jobs run."""
        is_sure = self._departures is not None and not self._departures.are_unsure
        return MemberState.LEFT if is_sure else MemberState.DEAD

    # --- beats

    def _on_beat(self, beat: Beat) -> None:
        if beat.id != self._id or self._part is None:
            return  # one of ours before we came back
        if beat.members is None:
            self._note_trouble(beat.reason)
            return
        if self._trouble:
            self._ownership.must_compare = True  # the writer may not have noticed anything
        self._note_trouble("")
        if self._ownership.must_compare and self._returning is not None:
            self._returning.start()
        now = monotonic()
        self._note_time(now)
        own = next((member for member in beat.members if member.id == self._id), None)
        if own is None and self._returning is not None:
            self._returning.start()  # fenced and forgotten, or the database has lost the row
            return
        if own is None or own.state is MemberState.DEAD:
            self._note_lost("another server of the cluster has declared this one dead")
            self.verdicts.append(StoreFenced())
            return
        self._trusted_until = trusted_until(beat.sent_at, self._cluster.lease_s)
        if now < self._trusted_until and self._part.durable_jobs.are_withheld and not self._is_fenced:
            logger.log(NOTICE, "the lease is valid again: durable jobs are given out")
            self._part.durable_jobs.give_out()
        self._tell_members(beat.members, self._id)
        if self._part.follow(beat.members, self._id):
            self._heart.wants_pauses = True
        self._note_due_batches(beat.has_due_batches)
        if beat.pauses is not None:
            self._part.follow_pauses(beat.pauses, beat.sent_at)
        self._links.follow(beat.members, self._id)
        overdue = self._watch.overdue(beat.members, self._id, now)
        if overdue:
            self._declare_dead(overdue, f"has not beaten for {self._cluster.lease_s:g} s")
        if self._adopter is not None and not self._is_fenced:
            self._adopter.adopt_from(beat.members, self._id)

    def _on_refusal(self, number: int) -> None:
        """The port of that server refuses connections: if it lives all the same, its fence tells it."""
        if self._part is not None and monotonic() < self._trusted_until:
            self._declare_dead([number], "does not listen any more")

    def _declare_dead(self, numbers: Sequence[int], why: str) -> None:
        members = [] if self._part is None else self._part.members
        dying = [each for each in members if each.id in numbers and each.state is MemberState.ALIVE]
        if dying:
            self._heart.declare_dead(dying, why, self._heart.beat)

    def _note_trouble(self, reason: str) -> None:
        if reason and not self._trouble:
            logger.warning("no beat: %s", reason)
        self._trouble = reason

    def _look_at_the_lease(self) -> None:
        if monotonic() < self._trusted_until or self._part is None or self._part.durable_jobs.are_withheld:
            return
        logger.warning("the lease is over, since no beat succeeded in time: no durable job is given out until one does")
        self._part.durable_jobs.withhold()

    # --- after a new connection

    def hand_over(self) -> None:
        """Hand the changes to the writer, unless it has to be found out first what the database has."""
        if self._returning is None or not self._returning.is_running:
            super().hand_over()

    def _hand_over_if_idle(self) -> None:
        if self._returning is None or not self._returning.is_running:
            super()._hand_over_if_idle()

    def _postpone(self, failure: ComparisonNeededError) -> None:
        """Write the batch once it is known what the database has."""
        batch = self._in_flight.popleft()
        if failure.is_unknown:
            batch.may_be_written = True
            batch.deletes[:0] = [row_id(job) for job in batch.inserts]
        self._postponed.append(batch)
        if self._returning is not None:
            self._returning.start()

    def _go_on_after(self, found: Differences | StoreError | None) -> None:
        postponed, self._postponed = self._postponed, []
        if isinstance(found, Differences):
            waiting = [self._open, self._repeated, *postponed]
            known = {number for batch in waiting for number in (*batch.deletes, *batch.counted, *batch.tied)}
            kept = self._adopter.jobless if self._adopter is not None else set()
            self._open.deletes += found.surplus - known - kept
            if found.missing or found.surplus:
                self._hand_over()
            for batch in postponed:
                self._in_flight.append(batch)
                deadline = monotonic() if batch.since is None else batch.since + self._timeout_s
                self._writer.write(WriteOrder(batch, deadline))
            return
        failure = found or OwnershipLostError("another server of the cluster has declared this one dead")
        for batch in postponed:
            self._in_flight.append(batch)
            self._on_outcome(WriteOutcome(failure=failure))
        if found is None and not postponed:
            self._note_lost(str(failure))
            self.verdicts.append(StoreFenced())

    # --- fenced

    def _on_outcome(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome.failure, ComparisonNeededError):
            self._postpone(outcome.failure)
            return
        wrote_pauses = outcome.failure is None and bool(self._in_flight[0].pauses)
        super()._on_outcome(outcome)
        if wrote_pauses and self._part is not None:
            self._part.note_pauses_written()
        if isinstance(outcome.failure, OwnershipLostError):
            self.verdicts.append(StoreFenced())  # the broker hears first what became of the inserts

    def _note_lost(self, _reason: str) -> None:
        self._drop_changes()

    def _on_fenced(self, _event: Event) -> None:
        """Others have our rows: forget the jobs that wait, and come back as a new server."""
        if self._is_fenced or self._part is None:
            return
        self._is_fenced = True
        logger.warning("server %d was declared dead by the others of the cluster: it comes back as a new one", self._id)
        self._heart.rest()
        if self._adopter is not None:
            self._adopter.stop()
        self._part.durable_jobs.withhold()
        self._part.durable_jobs.let_go(self._come_back)

    def _come_back(self) -> None:
        self._writer.run(self._enter_anew)

    def _enter_anew(self) -> Delivery:
        """Runs on the writer's thread."""
        sent_at = monotonic()
        try:
            numbers = self._database.reserve_numbers()
            number = self._enter(numbers.start)
        except StoreError as error:
            return partial(self._try_again, str(error))
        return partial(self._go_on, number, numbers, sent_at)

    def _enter(self, number: int) -> int:
        self._database.call(partial(self._ownership.enter, number=number))
        self._ownership.use(number)
        return number

    def _take_id(self, number: int) -> None:
        self._id = number
        name = self._cluster.name
        logger.log(NOTICE, "server %d of the cluster %s: %s", number, name, self._cluster.member)

    def _try_again(self, reason: str) -> None:
        self._note_trouble(reason)
        self._come_back_pause.start(self._come_back)

    def _go_on(self, number: int, numbers: range, sent_at: float) -> None:
        self._take_id(number)
        self._number, self._numbers_end = numbers.start, numbers.stop
        self._trusted_until = trusted_until(sent_at, self._cluster.lease_s)
        self._is_fenced = False
        self._watch = Watch(self._cluster.lease_s)
        self._peers.id = number
        if self._part is not None:
            self._part.limits.start_anew()
            self._part.durable_jobs.give_out()
        self._heart.start(number, self._on_beat)


def _facts(part: Part, word: str) -> bytes:
    return encode_facts(part.facts(word))
