"""The broker: packets in, replies in the sessions' out-buffers. It is the whole job server but for moving the bytes.

Pure: no socket, no clock, no gevent. Its driver hands it packets and the monotonic time, calls `end_pass` once all that
have arrived are carried out, sends the out-buffers of the sessions in `touched`, and calls `tick` at the time that the
broker names. The wall clock is handed in too; it counts only for times that people wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gearman_client.extensions import QUEUE_EVENTS_OPTION, SERVER_TROUBLES_OPTION, SERVERS_OPTION
from gearman_client.packet import Packet
from gearman_server.broker_settings import BrokerSettings
from gearman_server.cluster.part import Part, Requests
from gearman_server.ending.attempts import Attempts
from gearman_server.ending.counting import Counting
from gearman_server.ending.throttled import Throttling
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.access import Identity
from gearman_server.jobs.agenda import STEP, Agenda
from gearman_server.jobs.dead_letters import DeadLetters
from gearman_server.jobs.durability import Durability
from gearman_server.jobs.events import ConnectionClosed, ConnectionOpened, Event, EventStream, JobDue, RequestRefused
from gearman_server.jobs.functions import Functions
from gearman_server.jobs.job import Job
from gearman_server.jobs.job_life import JobLife
from gearman_server.jobs.job_table import Handles, JobTable
from gearman_server.jobs.kept_results import KeptResults
from gearman_server.jobs.policies import FunctionPolicy, Policies
from gearman_server.jobs.replies import error
from gearman_server.jobs.result_keeping import ResultKeeping
from gearman_server.jobs.schedule_rules import ScheduleRule
from gearman_server.jobs.session import ASKING, Session
from gearman_server.jobs.store import InsertsFailed, Store, Unread
from gearman_server.jobs.timeouts import JobTimeouts
from gearman_server.jobs.wake_up import WakeUp
from gearman_server.keys.key_rules import KeyRules
from gearman_server.orphans.doubts import Doubts
from gearman_server.orphans.former_run import NOTHING_RUNS, FormerRun
from gearman_server.orphans.orphans import Orphans
from gearman_server.requests.abilities import Abilities
from gearman_server.requests.assignments import Assignments
from gearman_server.requests.batches import Batches
from gearman_server.requests.departures import Departures
from gearman_server.requests.held_jobs import HeldJobs
from gearman_server.requests.insert_outcomes import InsertOutcomes
from gearman_server.requests.job_batches import JobBatchRequests
from gearman_server.requests.named_jobs import NamedJobs
from gearman_server.requests.pauses import Pauses
from gearman_server.requests.queries import Queries
from gearman_server.requests.queue_events import QueueEvents
from gearman_server.requests.refusals import UNREADABLE, answer_unreadable, refusals, refuse_type
from gearman_server.requests.replay import Comebacks, Release, Replay
from gearman_server.requests.restoring import Restoring, Revival
from gearman_server.requests.scheduled_jobs import ScheduledJobs
from gearman_server.requests.scheduler import Scheduler
from gearman_server.requests.sets import Sets
from gearman_server.requests.stops import Stops
from gearman_server.requests.store_news import StoreNews
from gearman_server.requests.submissions import Handler, Submissions
from gearman_server.requests.submissions_with import SubmissionsWith
from gearman_server.requests.troubles import Troubles
from gearman_server.requests.work_packets import WorkPackets
from gearman_server.same_job.known_keys import KnownKeys
from gearman_server.sequels.job_batches import CANCEL, STOP
from gearman_server.sequels.sequels import Sequels
from gearman_server.text_commands.admin import AdminCommands, ServerFacts
from gearman_server.text_commands.bulk_changes import LongChanges
from gearman_server.text_commands.change_commands import ChangeCommands
from gearman_server.text_commands.count_commands import CountCommands
from gearman_server.text_commands.dead_commands import DeadCommands
from gearman_server.text_commands.discovery import Discovery
from gearman_server.text_commands.finished_command import finished_command
from gearman_server.text_commands.job_commands import JobCommands
from gearman_server.text_commands.key_commands import KeyCommands
from gearman_server.text_commands.pause_commands import PauseCommands
from gearman_server.text_commands.schedule_commands import ScheduleCommands
from gearman_server.text_commands.stop_command import StopCommand
from gearman_server.text_commands.worker_commands import WorkerCommands


class Broker:
    """All jobs, functions and sessions, and the effect of each packet on them."""

    def __init__(
        self,
        store: Store,
        settings: BrokerSettings,
        facts: ServerFacts,
        unix_time: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`unix_time` is the wall clock, `random` gives numbers from 0 to 1."""
        self._settings, self._store, self._verdicts = settings, store, store.verdicts
        #: Ends a pass: settles everything that its packets left open, and hands the changes to the store. Then the
        #: driver sends the out-buffers. Without a durable store this is `settle` itself.
        self.end_pass = self._end_durable_pass if store.is_durable else self.settle
        self.sessions: set[Session] = set()
        #: Sessions that got packets through the request of another. The driver clears this set.
        self.touched: set[Session] = set()
        self.events = events = EventStream()
        self._agenda = agenda = Agenda(unix_time)
        #: Long work. While there is any, the driver calls `do_chore` again and again, and serves others in between.
        self.chores = agenda.chores
        self.functions = Functions(Policies(settings.job_retries), agenda, events)
        self.counting = Counting(self.functions, events, unix_time)
        self.table = JobTable(Handles(store.take_numbers, settings.handle_prefix), self.touched)
        self.durability = Durability(store, self.touched, agenda)
        self.dead_letters = DeadLetters(store, settings.dead_letters, agenda, events)
        kept = KeptResults(store, settings.results, agenda, events)
        self.results = ResultKeeping(kept, self.table.jobs, agenda, self.touched)
        self._wake_up = WakeUp(agenda, self.touched, settings.worker_wakeup)
        self._due, self._freed = self._wake_up.due, self._wake_up.freed
        self._life = JobLife(self.table, agenda, events, self.durability, self.results, self._wake_up)
        self._inserts = InsertOutcomes(self._life)
        self._timeouts = JobTimeouts(self.table.jobs)
        self._attempts = Attempts(self._life, self.dead_letters, self.results, agenda, events, random)
        Throttling(self._life, self._attempts, KeyRules(self.functions, self.sessions, self._wake_up, agenda), events)
        self.job_batches = Sequels(self.functions, self.table, self._life, self._attempts.expiry, store).batches
        self._restoring = Restoring(self.functions, self.table, self._life, self._attempts, self.job_batches, agenda)
        self._queue_events = QueueEvents(self.functions, agenda, self.touched)
        self.troubles = Troubles(self.touched, events)
        self.discovery = Discovery(facts.name, facts.address, facts.version, self.touched)
        self.pauses = Pauses(self.functions, self._wake_up, store, agenda, self.touched, events)
        events.subscribe(self._note_change, JobDue)
        abilities = Abilities(self.functions, self._attempts, self._wake_up, agenda.chores, self.touched, events)
        self.departures = Departures(self._life, self._attempts, abilities, self._wake_up, agenda.chores)
        self._assignments = Assignments(
            self._life, self._wake_up, self._timeouts, agenda, self.touched, settings.grab_patience_s
        )
        self._asking = self._assignments.asking
        self._held_jobs = HeldJobs(self._wake_up, agenda, self.touched)
        batches = Batches(abilities, self._wake_up, agenda)
        sets = Sets(self._life, self._attempts, self._assignments, batches, self._held_jobs, agenda)
        self._stops = Stops(self._life, self._timeouts, self.durability, agenda, settings.admin_allow)
        options = sets.options() | self._stops.options() | {SERVERS_OPTION: self.discovery.subscribe}
        work = WorkPackets(self._life, self._attempts, self.results, events).handlers()
        start_timeout, unread = self._assignments.start_timeout, self.functions.unread
        self.orphans = Orphans(self._life, self._attempts, start_timeout, work, unread, store.store_id)
        self._doubts = Doubts(self._life, self._wake_up, self._attempts, self.orphans)
        options |= {QUEUE_EVENTS_OPTION: self._queue_events.subscribe, SERVER_TROUBLES_OPTION: self.troubles.subscribe}
        options |= self.orphans.options()
        self.known_keys = KnownKeys(store, self.table, self._life, agenda, events)
        submissions = Submissions(self.functions, self.table, self._life, self.durability, self._wake_up, events)
        with_options = SubmissionsWith(submissions, self.job_batches, self._attempts.expiry, self.known_keys, agenda)
        self._submissions = submissions.handlers() | with_options.handlers()
        self.scheduler = Scheduler(ScheduledJobs(submissions), self.durability, unread, store, agenda, events)
        self._news = StoreNews(store, self._life, self._inserts, self.pauses, self.job_batches, self.scheduler)
        #: The return of stored jobs, until every row is read and every request that had to wait is carried out.
        self._replay: Replay | None = None
        #: This server's part in a cluster; None: it has its store alone.
        self.part: Part | None = None
        self._text_commands = self._make_text_commands(facts, abilities)
        self._queries = Queries(self.table, self.results, options)
        self._handlers: dict[int, Handler] = {
            **self._submissions,
            **abilities.handlers(),
            **self._assignments.handlers(),
            **(work | self.orphans.handlers()),
            **sets.handlers(),
            **self._stops.handlers(),
            **JobBatchRequests(self.job_batches, submissions, self._stops).handlers(),
            **self._queries.handlers(),
            0: self._text_line,
            UNREADABLE: answer_unreadable,
        }
        self._find_handler = self._handlers.get
        sets.handlers_of_all = self._handlers

    def _make_text_commands(self, facts: ServerFacts, abilities: Abilities) -> AdminCommands:
        allowed, jobs, agenda = self._settings.admin_allow, self.table.jobs, self._agenda
        revival = Revival(self.functions, self.table, self._life, self.durability, self.dead_letters, agenda)
        self.long_changes = long_changes = LongChanges(agenda, self.touched, self.durability)
        changes = ChangeCommands(self.functions, self._life, self._attempts, self.events, long_changes, self._stops)
        commands = AdminCommands(self.functions, jobs, self.sessions, facts, self.events)
        commands.add(changes.commands(allow_shutdown=self._settings.allow_shutdown))
        commands.add(PauseCommands(self.functions, self.pauses, agenda, allowed).commands())
        others = {b"keys": KeyCommands(self.functions, self.sessions, agenda, long_changes).keys}
        others |= finished_command(self._life, self._settings.finished_jobs)
        workers = WorkerCommands(self.sessions, abilities, self._attempts, long_changes)
        #: The commands for dead letters; a store that other servers share makes them use its table.
        self.dead_commands = dead = DeadCommands(self.dead_letters, revival, agenda, long_changes, allowed)
        queued = JobCommands(self._life, self.job_batches, self._stops, long_changes, allowed, others)
        schedules, stop = ScheduleCommands(self.scheduler, allowed), StopCommand(self._stops)
        counts = CountCommands(self.functions, self.counting, agenda)
        commands.add({b"dead": dead.execute, b"jobs": queued.execute, b"servers": self.discovery.execute})
        commands.add({b"schedules": schedules.execute, b"worker": workers.execute, b"stop": stop.execute})
        commands.add({b"counts": counts.execute})
        return commands

    @property
    def has_running_jobs(self) -> bool:
        """Whether any worker holds a job."""
        return any(function.running for function in self.functions.by_name.values())

    def note_time(self, now: float) -> None:
        """Set the time (monotonic seconds) for calls that do not pass it."""
        self._agenda.now = now

    # --- connections

    def connect(self, identity: Identity, number: int = 0) -> Session:
        """The session for a connection that was accepted."""
        session = Session(identity, number, wants_exceptions=self._settings.exceptions)
        self.sessions.add(session)
        self.events.emit(ConnectionOpened(identity))
        return session

    def disconnect(self, session: Session, reason: str) -> None:
        """The connection ended: the jobs that it ran are requeued, and those that only it waited for are abandoned."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        session.close()
        if self._replay is not None:
            self._replay.forget(session)
        self.departures.forget(session)
        self._wake_up.wake_freed()
        for subscription in (self._queue_events, self.troubles, self.discovery, self.orphans):
            subscription.unsubscribe(session)
        self._held_jobs.forget(session)
        self._stops.forget(session)
        self.results.forget(session)
        self._note_change()
        self.events.emit(ConnectionClosed(session.identity, session.client_id, reason))

    # --- requests

    def receive(self, session: Session, packets: Iterable[Packet], now: float, is_admitted: bool = False) -> None:
        """Carry out a connection's packets, in order. Malformed input ends that connection and no other.

        While stored jobs come back, some packets may have to wait. Those that have waited already come `is_admitted`.
        """
        if session.is_halted:
            if session.ending is None:
                session.set_aside(packets)
            return
        if self._replay is not None and not is_admitted:
            packets = self._replay.admit(session, packets)
        self._agenda.now = now
        find_handler = self._find_handler
        left = iter(packets)
        for packet_type, body in left:
            if session.worker_state is ASKING:
                self._assignments.answer(session, now)
            handler = find_handler(packet_type)
            try:
                if handler is not None:
                    handler(session, body, now)
                else:
                    refuse_type(packet_type)
            except RefusedError as error:
                self._refuse(session, error.code, error.text)
            except MalformedPacketError as error:
                self.end_for_violation(session, b"INVALID_PACKET", str(error))
            if session.is_halted:
                session.end_turn(left)
                break
        if self._freed:
            self._wake_up.wake_freed()
        if self._queue_events.subscribers:
            self._queue_events.note_change()

    def go_on(self, session: Session, now: float) -> None:
        """Carry out some of the packets that a session has set aside, if it can go on."""
        if session.can_go_on:
            self.receive(session, session.begin_turn(), now)
            session.end_turn(())

    def do_chore(self, now: float) -> None:
        """Do the next step of long work, which takes half a millisecond."""
        self._agenda.now = now
        self.chores.step()
        if self._freed:
            self._wake_up.wake_freed()
        self._note_change()

    def _end_durable_pass(self) -> None:
        self.settle()
        self._store.hand_over()
        if self._verdicts:
            self._take_verdicts()  # changes that the store did not even try have failed already

    def settle(self) -> None:
        """Take the store's verdicts, and carry out the requests that no longer have to wait for stored jobs. Give
        workers whose GRAB_JOB found nothing a job that has come since, or NO_JOB. Wake sleepers for the remaining
        jobs."""
        if self._verdicts:
            self._take_verdicts()
        if self._replay is not None:
            self._carry_out_released(self._replay)
        if self._asking and self._assignments.answer_asking(self._agenda.now):
            self._note_change()
        if self._due:
            self._wake_up.settle(self._agenda.now)

    def _carry_out_released(self, replay: Replay) -> None:
        for session, packets, how in replay.take_released():
            if how is Release.UNREADABLE:
                packets = [(UNREADABLE, b"")]  # as a packet, because no reply overtakes another
            self.receive(session, packets, self._agenda.now, is_admitted=how is not Release.BEHIND)
            self.touched.add(session)
        if replay.is_over:
            self._replay = None

    def end_for_violation(self, session: Session, code: bytes, text: str) -> None:
        """Answer a violation of the protocol with an ERROR, and have the connection closed."""
        if session.ending is None:
            session.end(f"sent what is not the protocol: {text}")
            self._assignments.answer(session, self._agenda.now)
            self._refuse(session, code, text.encode())

    def _refuse(self, session: Session, code: bytes, text: bytes) -> None:
        session.reply(error(code, text))
        self.events.emit(RequestRefused(session.identity, code, text))

    def _text_line(self, session: Session, line: bytes, _now: float) -> None:
        answer = self._text_commands.execute(session, line)
        if isinstance(answer, bytes):
            session.reply(answer)
        elif answer is not None:
            session.answer(answer)
        session.yield_turn()

    # --- time, store, end

    @property
    def next_due(self) -> float | None:
        """When `tick` is due; None when nothing is pending."""
        timeout, agenda = self._timeouts.next_due, self._agenda.next_due
        return agenda if timeout is None or (agenda is not None and agenda < timeout) else timeout

    def tick(self, now: float) -> float | None:
        """Do what is due, but not very much at once. Returns when to call again, or None if nothing is pending."""
        self._agenda.now = now
        for job, overrun in self._timeouts.take_due(now, STEP):
            self._attempts.overrun(job, overrun)
            self._note_change()
        self._agenda.run_due(now)
        self._wake_up.wake_freed()
        return self.next_due

    def _note_change(self, _cause: Event | None = None) -> None:
        """Note that queues may have changed without a request."""
        if self._queue_events.subscribers:
            self._queue_events.note_change()

    def use_policies(self, by_function: Mapping[bytes, FunctionPolicy]) -> None:
        """Replace the operator's rules for functions, by their names."""
        for function in self.functions.use_policies(by_function):
            if function.takeable:
                self._wake_up.wake(function, function.takeable)  # a former throttle's alarm wakes nobody any more
        self.results.note_policies()
        self.dead_letters.use_policies(by_function)
        self._note_change()

    def use_schedules(self, rules: Iterable[ScheduleRule], now: float) -> None:
        """Replace the rules for jobs that are submitted by the clock."""
        self._agenda.now = now
        self.scheduler.use(rules, now)

    def _take_verdicts(self) -> None:
        """Act on the store's news about inserts and about its health."""
        while self._verdicts:
            verdict = self._verdicts.popleft()
            self._news.act_on(verdict)
            if isinstance(verdict, InsertsFailed):
                self._note_change()

    def start_replay(self, unread: Unread, former: FormerRun = NOTHING_RUNS) -> Replay:
        """Begin the return of an earlier run's jobs. Until it ends, requests may have to wait for the store."""
        named = NamedJobs(self.table, self.functions, self.results.kept)
        comebacks = Comebacks(self._restoring, self._doubts, former)
        self._replay = Replay(comebacks, self.functions, self._wake_up, named, unread, self._agenda)
        return self._replay

    def take_part(self) -> Part:
        """Share the store with other servers from now on."""
        requests = Requests(self._handlers, self._queries, self._stops, self.pauses, self.departures)
        part = self.part = Part(self._life, self._wake_up, self._restoring, self._doubts, requests)
        self.orphans.has_peers = True
        return part

    def ends_of_batches(self) -> dict[int, Callable[[Job], object]]:
        """How a job is ended that is part of a batch, by the batch's mark."""
        return {CANCEL: self._life.cancel, STOP: self._stops.stop_unasked}

    def end_replay(self, now: float) -> None:
        """All stored jobs are back: the requests that had to wait are carried out at the end of this pass."""
        if self._replay is not None:
            self._replay.end(now)
        self.job_batches.all_are_back(now)

    def stop_assigning(self) -> None:
        """The server is ending: running jobs finish, no other is started, and submissions are refused."""
        self._assignments.stop()
        self.scheduler.stop()
        self._handlers.update(refusals(self._submissions))
