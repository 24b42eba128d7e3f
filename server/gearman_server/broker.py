"""The broker: packets in, replies in the sessions' out-buffers. The whole job server but for the bytes' way in and out.

Pure: no socket, no clock, no gevent. Whoever drives it hands it packets and the monotonic time, calls `settle` when all
that has arrived is carried out, sends what is in the out-buffers of the sessions in `touched`, and calls `tick` when it
says. The wall clock, which it is handed as well, counts only for times that people wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from gearman_client.packet import Packet
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.access import Identity
from gearman_server.jobs.agenda import Agenda
from gearman_server.jobs.attempts import Attempts, Failure
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.events import (
    OVERRAN,
    TIMEOUT,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    EventStream,
    JobDue,
    RequestRefused,
    StoreFailed,
    StoreLost,
    StoreRecovered,
)
from gearman_server.jobs.job import Job
from gearman_server.jobs.job_table import BrokerSettings, JobTable
from gearman_server.jobs.kept_results import KeptResult
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.replies import error
from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRule
from gearman_server.jobs.session import Session
from gearman_server.jobs.store import Store, Unread
from gearman_server.jobs.timeouts import JobTimeouts, Overrun
from gearman_server.requests.assignments import Assignments
from gearman_server.requests.queries import Queries
from gearman_server.requests.queue_events import QueueEvents
from gearman_server.requests.replay import Replay
from gearman_server.requests.scheduler import Scheduler
from gearman_server.requests.submissions import Handler, Submissions
from gearman_server.requests.work_packets import WorkPackets
from gearman_server.text_commands.admin import AdminCommands, ServerFacts
from gearman_server.text_commands.schedule_commands import ScheduleCommands

_LAST_STANDARD_TYPE: Final = 42


class Broker:
    """All jobs, functions and sessions, and what each packet does to them."""

    def __init__(
        self,
        store: Store,
        settings: BrokerSettings,
        facts: ServerFacts,
        unix_time: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`unix_time` is the wall clock, `random` gives numbers from 0 to 1."""
        self.events = EventStream()
        self.sessions: set[Session] = set()
        self._agenda = Agenda()
        self.table = JobTable(store, settings, self.events, self._agenda, unix_time)
        self._settings = settings
        self._freed = self.table.throttling.freed
        self._replay: Replay | None = None
        self._timeouts = JobTimeouts(self.table.jobs)
        self._queue_events = QueueEvents(self.table, self._agenda)
        self._attempts = Attempts(self.table, unix_time, random)
        self._assignments = Assignments(self.table, self._attempts, self._timeouts, settings.grab_patience_s)
        self.events.subscribe(self._note_change, JobDue)
        submissions = Submissions(self.table)
        self._submissions = submissions.handlers()
        self.scheduler = Scheduler(self.table, store, submissions.submit_scheduled)
        self._admin = AdminCommands(self.table, self._attempts, self.sessions, facts, settings)
        self._admin.add(b"schedules", ScheduleCommands(self.scheduler, settings.admin_allow).execute)
        self._handlers: dict[int, Handler] = {
            **self._submissions,
            **self._assignments.handlers(),
            **WorkPackets(self.table, self._attempts).handlers(),
            **Queries(self.table, self._queue_events).handlers(),
            0: self._text_line,
        }
        self._find_handler = self._handlers.get

    @property
    def touched(self) -> set[Session]:
        """Sessions for which packets were left by somebody else's request. The driver clears it."""
        return self.table.touched

    @property
    def has_running_jobs(self) -> bool:
        """Whether any worker holds a job."""
        return any(function.running for function in self.table.functions.values())

    # --- connections

    def connect(self, identity: Identity, number: int = 0) -> Session:
        """A connection was accepted."""
        session = Session(identity, number, wants_exceptions=self._settings.exceptions)
        self.sessions.add(session)
        self.events.emit(ConnectionOpened(identity))
        return session

    def disconnect(self, session: Session, reason: str) -> None:
        """The connection ended: its jobs go back to their queues, and what it alone waited for is abandoned."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        session.close()
        self.table.stop_listening(session)
        if self._replay is not None:
            self._replay.forget(session)
        # Newest first, as in gearmand. Out of the sleepers first, or requeueing would wake the dead.
        self.table.wake_up.rouse(session)
        for job in reversed(list(session.assigned.values())):
            self._attempts.lose_worker(job, "its worker's connection ended")
        self._assignments.forget_abilities(session)
        self.table.throttling.wake_freed()
        self._queue_events.unsubscribe(session)
        self.table.results.forget(session)
        self._note_change()
        self.events.emit(ConnectionClosed(session.identity, session.client_id, reason))

    # --- requests

    def receive(self, session: Session, packets: Iterable[Packet], now: float) -> None:
        """Carry out what a connection asked for, in order. Malformed input ends that connection and no other."""
        if session.ending is not None:
            return
        if self._replay is not None:
            packets = self._replay.admit(session, packets)
        self.table.now = now
        find_handler = self._find_handler
        for packet_type, body in packets:
            if session.asking is not None:
                self._assignments.answer(session, now)
            handler = find_handler(packet_type)
            try:
                if handler is not None:
                    handler(session, body, now)
                else:
                    _refuse_type(packet_type)
            except RefusedError as error:
                self._refuse(session, error.code, error.text)
            except MalformedPacketError as error:
                self.end_for_violation(session, b"INVALID_PACKET", str(error))
            if session.ending is not None:
                break
        if self._freed:
            self.table.throttling.wake_freed()
        if self._queue_events.subscribers:
            self._queue_events.note_change()

    def settle(self) -> None:
        """All that has arrived is carried out: who asked for a job and found none is given one that has come since, or
        told that there is none, and sleepers are woken for the jobs that are left."""
        if self._assignments.asking and self._assignments.answer_asking(self.table.now):
            self._note_change()
        if self.table.wake_up.due:
            self.table.wake_up.settle(self.table.now)

    def end_for_violation(self, session: Session, code: bytes, text: str) -> None:
        """What the peer sends is not the protocol: an ERROR, then its connection is closed."""
        if session.ending is None:
            session.end(f"sent what is not the protocol: {text}")
            self._assignments.answer(session, self.table.now)
            self._refuse(session, code, text.encode())

    def _refuse(self, session: Session, code: bytes, text: bytes) -> None:
        session.reply(error(code, text))
        self.events.emit(RequestRefused(session.identity, code, text))

    def _text_line(self, session: Session, line: bytes, _now: float) -> None:
        answer = self._admin.execute(session, line)
        if answer is None:
            session.end("sent a text command of too many words")
        else:
            session.reply(answer)

    # --- time, store, end

    @property
    def next_due(self) -> float | None:
        """When `tick` has something to do; None when nothing is pending."""
        timeout, agenda = self._timeouts.next_due, self._agenda.next_due
        if timeout is None or (agenda is not None and agenda < timeout):
            return agenda
        return timeout

    def tick(self, now: float) -> float | None:
        """Do what is due. Returns when to call again, None when nothing is pending."""
        self.table.now = now
        for job, overrun in self._timeouts.take_due(now):
            if overrun is Overrun.POLICY:
                self._attempts.fail(job, Failure(None, TIMEOUT))
            else:
                self._attempts.lose_worker(job, OVERRAN)
            self._note_change()
        self._agenda.run_due(now)
        self.table.throttling.wake_freed()
        return self.next_due

    def _note_change(self, _cause: Event | None = None) -> None:
        """Queues may have changed other than by a request."""
        if self._queue_events.subscribers:
            self._queue_events.note_change()

    def use_policies(self, by_function: Mapping[bytes, FunctionPolicy]) -> None:
        """The rules for functions, by their name, that the operator has written: the old ones are forgotten."""
        self.table.use_policies(by_function)
        self._note_change()

    def restore_schedules(self, marks: Mapping[str, ScheduleMark]) -> None:
        """How far the schedules have come, as the store knows; before `use_schedules`."""
        self.scheduler.restore(marks)

    def use_schedules(self, rules: Iterable[ScheduleRule], now: float) -> None:
        """The jobs to be submitted by the clock: the old rules are forgotten."""
        self.table.now = now
        self.scheduler.use(rules, now)

    def inserts_written(self, jobs: Iterable[Job]) -> None:
        """The store has committed these inserts: their submitters are told."""
        self.table.durability.inserts_written(jobs)
        self.scheduler.inserts_written()

    def inserts_failed(self, jobs: Iterable[Job]) -> None:
        """The store could not commit these inserts: their submitters get QUEUE_ERROR."""
        jobs = list(jobs)
        self.scheduler.inserts_failing(jobs)
        self.table.durability.inserts_failed(jobs)
        self._note_change()

    def start_replay(self, unread: Unread) -> Replay:
        """Jobs of an earlier run are about to come back: until they have, requests may have to wait for the store."""
        self._replay = self.table.replay = Replay(
            self.table, self._attempts, unread, self.receive, self._assignments.answer
        )
        return self._replay

    def end_replay(self, now: float) -> None:
        """They all have."""
        replay, self._replay, self.table.replay = self._replay, None, None
        if replay is not None:
            replay.end(now)

    def restore_dead(self, letters: Iterable[DeadLetter], now: float) -> None:
        """The store's letters of jobs that failed for good in an earlier run, the oldest first."""
        self.table.dead_letters.restore(letters, now)

    def restore_results(self, results: Iterable[KeptResult], now: float) -> None:
        """The store's results of jobs that ended in an earlier run, in the order of their ends."""
        self.table.results.kept.restore(results, now)

    @property
    def store_trouble(self) -> str | None:
        """Why the store can't be written, in a sentence; None while it can, and where there is none."""
        return self.table.durability.trouble

    def store_troubled(self, reason: str) -> None:
        """The store can't be used: background submissions are refused until it can."""
        self.table.durability.trouble = reason
        self.events.emit(StoreFailed(reason))

    def store_recovered(self) -> None:
        """The store can be written again."""
        self.table.durability.trouble = None
        self.events.emit(StoreRecovered())

    def store_lost(self, reason: str) -> None:
        """The store belongs to somebody else: whoever runs this server ends it."""
        self.events.emit(StoreLost(reason))

    def stop_assigning(self) -> None:
        """The server is ending: running jobs are finished, no other is started, and submissions are refused."""
        self._assignments.stop()
        self.scheduler.stop()
        self._handlers.update(dict.fromkeys(self._submissions, _refuse_submission))


def _refuse_type(packet_type: int) -> None:
    if -_LAST_STANDARD_TYPE <= packet_type < 0:
        raise RefusedError(b"INVALID_MAGIC", b"Request magic expected")
    if 0 < packet_type <= _LAST_STANDARD_TYPE:
        raise RefusedError(b"INVALID_COMMAND", b"Command not expected")
    raise MalformedPacketError(f"unknown packet type {abs(packet_type)}")


def _refuse_submission(_session: Session, _body: bytes, _now: float) -> None:
    raise RefusedError(b"QUEUE_ERROR", b"The server is shutting down")
