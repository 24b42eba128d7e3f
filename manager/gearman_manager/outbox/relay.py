"""The relay's loop: looks for rows, claims them, gives them to the links, and writes what has become of them.

One thread has the database, a link for each job server has a thread of its own. Nothing is written about a row that was
sent before its answer has come; so whatever is killed in between, the row is still there, and is sent again to the same
server, or another one of its cluster, which takes its submission once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from gearman_client.address import Address
from gearman_manager.errors import ManagerError
from gearman_manager.outbox.batch import Answered, Batch
from gearman_manager.outbox.claims import Candidate, Change, Openings
from gearman_manager.outbox.database import TROUBLES, Database, is_missing_table, reason_of
from gearman_manager.outbox.figures import Figures
from gearman_manager.outbox.job_servers import JobServers
from gearman_manager.outbox.link import Down, Link, Told, Up
from gearman_manager.outbox.listing import counts
from gearman_manager.outbox.outcomes import Asked, Holds, Outcome, outcome_of
from gearman_manager.outbox.planning import openings_of, plan
from gearman_manager.outbox.row import OutboxRow, UnsendableRow, row_of
from gearman_manager.outbox.settings import RelaySettings
from gearman_manager.outbox.table import OutboxTable

_log = logging.getLogger("outbox")

#: For so long no other relay takes a claimed row. After a kill that is how long its rows wait.
LEASE_S: Final = 3.0
_RENEW_S: Final = 1.0
#: How long the start waits for the first word of the job servers.
_FIRST_WORD_S: Final = 5.0
#: How long the end waits for answers that are under way.
_END_S: Final = 5.0
#: An empty look may take this share of the time: behind a blocked key with many rows a look takes long.
_SHARE_OF_LOOKS: Final = 0.2
_LONGEST_POLL_S: Final = 1.0
#: The wait after trouble with the database, which doubles up to the other one.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 3.0
#: A claim looks so often for rows behind those of blocked keys, which are left out for so long, and so many of them.
_LOOKS: Final = 4
_BLOCKED_MS: Final = 100
_MOST_BLOCKED: Final = 2000
#: How often rows are looked for that no server can be asked for, and figures are counted.
_KEEP_HOUSE_S: Final = 10.0
#: A job server knows a submission for a day; one hour for all clocks and waits.
_KNOWN_FOR_MS: Final = 23 * 3600 * 1000


class Relay:
    """Hands rows over until `stop`.

    Raises (out of `run`):
        ManagerError: there is no table, or a job server that answers at the start is none of ours.
    """

    def __init__(self, database: Database, settings: RelaySettings, figures: Figures) -> None:
        self._database = database
        self._settings = settings
        self._figures = figures
        self._table = OutboxTable(settings.table, f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"[:200])
        self._reports: SimpleQueue[tuple[Link, Any] | None] = SimpleQueue()
        self._servers = JobServers(settings.servers, self._link_to)
        self._holds = Holds()
        self._is_stopping = threading.Event()
        #: Answers that are not in the database yet.
        self._unwritten: list[tuple[Link, Sequence[Answered]]] = []
        self._renew_at = self._keep_house_at = 0.0
        self._poll_s = 0.0
        #: Keys whose first row can't be sent now, and until when they are not looked at (milliseconds).
        self._blocked: dict[str, int] = {}
        self._trouble, self._pause_s = "", _FIRST_PAUSE_S

    def _link_to(self, address: Address) -> Link:
        return Link(address, self._settings.reply_timeout_s, lambda link, report: self._reports.put((link, report)))

    def stop(self) -> None:
        """End after the answers that are under way; a signal handler may call it."""
        self._is_stopping.set()
        self._reports.put(None)

    def run(self) -> None:
        """Hand rows over."""
        self._check_table()
        self._servers.start()
        try:
            self._hear_first_words()
            until = float("inf")
            while not self._is_stopping.is_set() or (self._has_work and monotonic() < until):
                if self._is_stopping.is_set() and until == float("inf"):
                    until = monotonic() + _END_S
                self._turn()
        finally:
            for link in self._servers:
                link.stop(1.0)
            self._database.close()

    @property
    def _has_work(self) -> bool:
        return bool(self._unwritten) or any(link.batch for link in self._servers)

    # --- the start

    def _check_table(self) -> None:
        """Wait for the database.

        Raises:
            ManagerError: it has no table of an outbox.
        """
        while not self._is_stopping.is_set():
            try:
                with self._database.transaction(only_reads=True) as connection:
                    self._table.contents(connection, [0])
            except TROUBLES as failure:
                if is_missing_table(failure):
                    raise ManagerError(missing_table(self._database.name, self._table.name)) from failure
                self._note_trouble(failure)
                self._is_stopping.wait(self._pause_s)
            else:
                self._note_no_trouble()
                return

    def _hear_first_words(self) -> None:
        """Hear of each job server once, or wait for so long.

        Raises:
            ManagerError: one of them is no gearman-server.
        """
        missing, deadline = set(self._servers), monotonic() + _FIRST_WORD_S
        while missing and not self._is_stopping.is_set() and (left_s := deadline - monotonic()) > 0:
            try:
                report = self._reports.get(timeout=left_s)
            except Empty:
                return
            if report is None:
                return
            link, word = report
            if link in missing and isinstance(word, Down) and word.is_foreign:
                raise ManagerError(f"{word.reason}; the outbox needs a gearman-server")
            if not isinstance(word, Told):
                missing.discard(link)
            self._hear(link, word)

    # --- the loop

    def _turn(self) -> None:
        self._listen()
        self._note_servers(self._servers.forget(monotonic()))
        try:
            self._write_and_claim()
        except TROUBLES as failure:
            self._note_trouble(failure)
            self._wait(self._pause_s)
        else:
            self._note_no_trouble()

    def _listen(self) -> None:
        """Take the reports of the links, and wait for one if there is nothing else to do."""
        wait_s = 0.0 if self._unwritten else self._poll_s
        while True:
            try:
                report = self._reports.get(timeout=wait_s) if wait_s > 0 else self._reports.get_nowait()
            except Empty:
                return
            wait_s = 0.0
            if report is not None:
                self._hear(*report)

    def _wait(self, pause_s: float) -> None:
        deadline = monotonic() + pause_s
        while (left_s := deadline - monotonic()) > 0 and not self._is_stopping.is_set():
            try:
                report = self._reports.get(timeout=left_s)
            except Empty:
                return
            if report is not None:
                self._hear(*report)

    def _hear(self, link: Link, report: Any) -> None:
        if isinstance(report, Told):
            self._note_servers(self._servers.learn(link, report.table, monotonic()))
        elif not self._servers.is_known(link) and isinstance(report, (Up, Down)):
            return
        elif isinstance(report, Up):
            self._poll_s = 0.0
            self._figures.is_up[link.name] = True
            _log.info("job server %s answers", link.name)
        elif isinstance(report, Down):
            if self._figures.note_down(link.name):
                level = logging.ERROR if report.is_foreign else logging.WARNING
                _log.log(level, "job server %s: %s", link.name, report.reason)
        else:
            self._unwritten.append((link, report))

    def _note_servers(self, are_others: bool) -> None:
        if are_others:
            links = self._servers.links
            self._figures.keep_servers(links)
            _log.info("the job servers are now %s", ", ".join(links))

    def _write_and_claim(self) -> None:
        """One transaction: what has become of rows, and the next ones for servers that have nothing to do."""
        now_ms, begun = self._database.now_ms(), monotonic()
        outcomes = self._outcomes(now_ms)
        answered = {link for link, _ in self._unwritten}
        idle = [
            name
            for name, link in self._servers.links.items()
            if link.is_ready and (link.batch is None or link in answered)
        ]
        takes = bool(idle) and not self._is_stopping.is_set()
        if takes and not outcomes:  # a look costs less than a claim, which takes a lock from the program in SQLite
            with self._database.transaction(only_reads=True) as connection:
                takes = self._table.has_due(connection, now_ms)
        batches: Mapping[str, Batch] = {}
        if outcomes or takes or self._is_due():
            with self._database.transaction() as connection:
                self._write(connection, outcomes)
                self._keep_up(connection, now_ms)
                if takes:
                    batches = self._claim(connection, now_ms, begun, idle)
        self._written(outcomes)
        for server, batch in batches.items():
            self._servers.links[server].send(batch)
        took_s = monotonic() - begun
        self._poll_s = 0.0 if batches else min(max(self._settings.poll_s, took_s / _SHARE_OF_LOOKS), _LONGEST_POLL_S)

    # --- what has become of rows

    def _outcomes(self, now_ms: int) -> Sequence[Outcome]:
        retries, doubted = self._settings.retries, self._servers.name_for_doubt
        for _, answers in self._unwritten:
            for each in answers:
                self._blocked.pop(each.row.order_key or "", None)
        return [
            outcome_of(Asked(link.name, doubted(link)), answers, self._holds, now_ms, retries)
            for link, answers in self._unwritten
        ]

    def _write(self, connection: Any, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._table.remove(connection, [row.id for row in outcome.created])
            self._table.put_back(connection, outcome.changes)

    def _written(self, outcomes: Sequence[Outcome]) -> None:
        """The transaction is committed: the rows' batches are over."""
        now_ms = self._database.now_ms() if outcomes else 0
        for (link, _), outcome in zip(self._unwritten, outcomes, strict=True):
            link.batch = None
            self._log_aside(outcome)
            self._figures.note(link.name, outcome, now_ms)
        self._unwritten.clear()

    def _log_aside(self, outcome: Outcome) -> None:
        """One line for all rows of a batch with the same reason: there may be very many."""
        alike: dict[tuple[str, str], list[int]] = {}
        for row, reason in outcome.aside:
            alike.setdefault((row.function, reason), []).append(row.id)
        for (function, reason), ids in alike.items():
            others = f" and {len(ids) - 1} others" if len(ids) > 1 else ""
            _log.error("row %d%s set aside: %s", ids[0], others, reason, extra={"function": function})

    # --- claims

    @property
    def _ready(self) -> Sequence[str]:
        return [name for name, link in self._servers.links.items() if link.is_ready]

    def _claim(self, connection: Any, now_ms: int, begun: float, idle: Sequence[str]) -> Mapping[str, Batch]:
        links, homes, ready = self._servers.links, self._servers.homes, self._ready
        openings = openings_of(homes, ready, idle, self._holds.held(now_ms))
        openings = replace(openings, stand_ins=self._servers.stand_ins(ready, idle))
        candidates = self._candidates(connection, now_ms, openings)
        planned = plan(candidates, openings, homes, ready) if candidates else {}
        if not planned:
            return {}
        ids: dict[str, list[int]] = {}
        for server, rows in planned.items():
            ids.setdefault(self._servers.name_for_doubt(links[server]), []).extend(row.id for row in rows)
        contents = self._table.contents(connection, [number for some in ids.values() for number in some])
        self._table.claim(connection, ids, now_ms, now_ms + int(LEASE_S * 1000))
        batches = {}
        for server, rows in planned.items():
            sendable = self._sendable(connection, rows, contents, now_ms)
            if sendable:
                batches[server] = Batch(server, sendable, begun + LEASE_S)
        return batches

    def _candidates(self, connection: Any, now_ms: int, openings: Openings) -> Sequence[Candidate]:
        """The rows that may be claimed. Keys whose first row can't be sent now are left out for a moment, so that the
        rows of others are found behind theirs."""
        self._blocked = {key: until_ms for key, until_ms in self._blocked.items() if until_ms > now_ms}
        for _ in range(_LOOKS):
            candidates, blocked = self._table.candidates(connection, now_ms, openings, self._blocked)
            if candidates or not blocked or len(self._blocked) > _MOST_BLOCKED:
                return candidates
            self._blocked.update(dict.fromkeys(blocked, now_ms + _BLOCKED_MS))
        return []

    def _sendable(
        self, connection: Any, rows: Sequence[Candidate], contents: Mapping[int, Any], now_ms: int
    ) -> Sequence[OutboxRow]:
        """The rows; those of which no packet can be made are set aside."""
        sendable = []
        for row in rows:
            try:
                sendable.append(row_of(contents[row.id], is_in_doubt=row.server is not None))
            except UnsendableRow as error:
                self._table.put_back(connection, [Change(row.id, None, row.attempts, str(error), None)])
                _log.error("row %d set aside: %s", row.id, error)
        return sendable

    # --- leases, and what is done now and then

    def _is_due(self) -> bool:
        now = monotonic()
        return now >= self._keep_house_at or (now >= self._renew_at and any(link.batch for link in self._servers))

    def _keep_up(self, connection: Any, now_ms: int) -> None:
        now = monotonic()
        if now >= self._renew_at:
            self._renew_at = now + _RENEW_S
            for link in self._servers:
                if link.batch is not None:
                    ids = [row.id for row in link.batch.rows]
                    self._table.renew(connection, ids, now_ms + int(LEASE_S * 1000))
                    link.batch.leased_until = now + LEASE_S
        if now >= self._keep_house_at:
            self._keep_house_at = now + _KEEP_HOUSE_S
            names = [link.name for link in self._servers]
            gone = self._table.set_aside_doubtful(connection, now_ms, names, now_ms - _KNOWN_FOR_MS)
            for number in gone:
                _log.error("row %d set aside: nobody can be asked whether it was handed over", number)
            if self._settings.metrics is not None:
                self._figures.counts = counts(connection, self._table.rows, now_ms)

    # --- trouble

    def _note_trouble(self, failure: BaseException) -> None:
        reason = reason_of(failure)
        if reason != self._trouble:
            self._trouble = reason
            _log.error("the database %s: %s; it is tried again", self._database.name, reason)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _note_no_trouble(self) -> None:
        if self._trouble:
            _log.info("the database %s works again", self._database.name)
        self._trouble, self._pause_s = "", _FIRST_PAUSE_S


def missing_table(database: str, table: str) -> str:
    """The message for a database without the table."""
    return (
        f"{database} has no table {table}: a migration of the program makes it, with the statements of "
        "gearman_client.outbox.create_statements(…), or `gearman-manager outbox create URL`"
    )
