"""Collects from the job servers how attempts ended: a greenlet for each server, so that a slow one delays no other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

import gevent
import gevent.event

from gearman_client import Address, AdminClient, AdminError, GearmanError
from gearman_manager.control.turns import Turns
from gearman_manager.finished.attempt import FinishedAttempt, Page, attempts_of, read_page
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.private_attempts import shown_attempt
from gearman_manager.job_servers.connection import connect_to

_log = logging.getLogger("history")
#: How often a server is asked for what has ended since.
EVERY_S: Final = 1.0
#: The pause when more is there already: so no rate of jobs takes more than a small share of the processor. What the
#: server can't keep for so long is missed.
PAUSE_S: Final = 0.1
#: How long the last reading may take, at the manager's end.
LAST_S: Final = 1.0
#: A server that does not keep ends, or does not know the command, may do so after its next start.
REFUSED_S: Final = 30.0
RETRY_S: Final = 1.0
PAGE_LINES: Final = 250
#: A page of so many bytes may be one that was cut.
PAGE_BYTES: Final = 128 * 1024
#: Subscribers get so many at once at most.
_BATCH: Final = 50
CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 8.0
#: The log says at most this often that ends were missed.
TELL_EVERY_S: Final = 60.0

Receive = Callable[[Sequence[FinishedAttempt]], None]


class Collector:
    """Asks those job servers that answer, and hands on what they tell."""

    def __init__(self, servers: Callable[[], Sequence[Address]], keeper: Keeper) -> None:
        """`servers` gives the job servers that know our text commands."""
        self._servers = servers
        self._keeper = keeper
        self._receivers: list[Receive] = []
        #: By address and how it is reached: two that differ in their TLS are equal otherwise.
        self._readers: dict[tuple[Address, object], Any] = {}
        self._greenlet = gevent.Greenlet(self._run)
        self._ending = gevent.event.Event()
        #: Ends that no server has kept long enough, since the manager's start.
        self.missed = 0
        self._told_missed = 0
        self._told_at = -TELL_EVERY_S

    def subscribe(self, receive: Receive) -> None:
        """Hand each batch to `receive` too, before it is written: up to 50 ends of one server, in their order.

        It is called in a greenlet of the supervisor, so it must take less than a millisecond. It must not raise.
        """
        self._receivers.append(receive)

    def start(self) -> None:
        """Collect from now on."""
        self._greenlet.start()

    def close(self) -> None:
        """Collect what has ended until now, and nothing more."""
        self._greenlet.kill()
        readers = list(self._readers.values())
        self._ending.set()
        gevent.joinall(readers, LAST_S)
        gevent.killall(readers)
        self._readers.clear()

    def _run(self) -> None:
        while True:
            wanted = {(each, each.tls) for each in self._servers()} if self._keeper.is_on else set()
            for gone in self._readers.keys() - wanted:
                self._readers.pop(gone).kill(block=False)
            for new in wanted - self._readers.keys():
                self._readers[new] = gevent.spawn(self._read_forever, new[0])
            self._keeper.tidy()
            gevent.sleep(EVERY_S)

    def _read_forever(self, address: Address) -> None:
        while True:
            wait_s = RETRY_S
            try:
                self._read(address)
            except AdminError as error:
                wait_s = REFUSED_S
                _log.debug("the job server %s does not tell of finished jobs: %s", address, error)
            except (OSError, GearmanError) as error:
                _log.debug("the job server %s can't be asked for finished jobs: %s", address, error)
            except Exception:  # noqa: BLE001 (the loop's boundary: the next try may do better)
                wait_s = REFUSED_S
                _log.exception("reading the finished jobs of %s failed; trying again", address)
            if self._ending.is_set() or self._ending.wait(wait_s):
                return

    def _read(self, address: Address) -> None:
        """Read over one connection, until it is lost."""
        server = str(address)
        cursor = self._keeper.cursor_of(server)
        with closing(connect_to(address, CONNECT_TIMEOUT_S)) as sock:
            admin = AdminClient(sock, timeout_s=ANSWER_TIMEOUT_S)
            while True:
                is_last = self._ending.is_set()
                answer = admin.command(f"jobs finished limit={PAGE_LINES} after={cursor}")
                page = read_page(answer)
                self._take_in(page, server, cursor)
                cursor = page.cursor
                goes_on = len(page.lines) >= PAGE_LINES or len(answer) >= PAGE_BYTES
                if is_last and not goes_on:
                    return
                self._ending.wait(PAUSE_S if goes_on else EVERY_S)

    def _take_in(self, page: Page, server: str, cursor: str) -> None:
        if page.missed and cursor.partition(".")[0] == page.run:  # else we did not know that server
            self._note_missed(page.missed, server)
        if not page.lines:
            if page.cursor != cursor:
                self._keeper.keep([], server, page.cursor)
            return
        turns = Turns()
        kept: list[FinishedAttempt] = []
        for attempt in attempts_of(page, server):
            kept.append(shown_attempt(attempt, self._keeper.privacy))
            turns.others()
        # Only now: a page of which a line makes no sense is read again later.
        for begin in range(0, len(kept), _BATCH):
            self._tell(kept[begin : begin + _BATCH])
            turns.others()
        self._keeper.keep(kept, server, page.cursor)

    def _tell(self, batch: list[FinishedAttempt]) -> None:
        for receive in self._receivers:
            receive(batch)

    def _note_missed(self, missed: int, server: str) -> None:
        self.missed += missed
        now = time.monotonic()
        if now >= self._told_at + TELL_EVERY_S:
            count, self._told_missed, self._told_at = self.missed - self._told_missed, self.missed, now
            _log.warning("%d ends of jobs are not kept: on %s they came faster than they are read", count, server)
