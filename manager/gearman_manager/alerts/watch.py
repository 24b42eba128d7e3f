"""Looks at the manager once a second, and has people told of what is wrong."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import gevent

from gearman_manager.alerts.board import Board
from gearman_manager.alerts.deliveries import Deliveries
from gearman_manager.alerts.memory import Memory
from gearman_manager.alerts.named_targets import targets_of
from gearman_manager.alerts.rules import failures_of, findings
from gearman_manager.alerts.server_questions import ServerQuestions
from gearman_manager.alerts.snapshot import FunctionView, PeerView, PoolView, ServerView, Snapshot
from gearman_manager.alerts.wording import compose
from gearman_manager.code.generations import Generations
from gearman_manager.config import Config
from gearman_manager.config.alert_keys import AlertRules
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.queues import Queues

_log = logging.getLogger("alerts")
LOOK_S: Final = 1.0
#: How long a job server may be away until the others alone count, which may have taken over its jobs.
AWAY_S: Final = 60.0
_CRASHING: Final = frozenset({PoolState.FAILING, PoolState.BACKING_OFF})


class Mutes(Protocol):
    """Failures of which nobody wants to hear."""

    def is_muted_letter(self, handle: str, now: float, /) -> bool:
        """Whether a dead letter is one of these; `now` in Unix seconds."""

    def failures(self, pool: str, /) -> int:
        """How many of the jobs that the pool has failed are."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The live objects. `config` gives the configuration in force, `pages` the address of the pages, `peers` by name
    whether other managers answer, and why not."""

    config: Callable[[], Config]
    generations: Generations
    workforce: Workforce
    queues: Queues
    mutes: Mutes
    pages: Callable[[], str | None]
    peers: Callable[[], Mapping[str, tuple[bool | None, str]]]


class AlertWatch:
    """A greenlet of its own. Without rules it only looks whether a reload has brought some."""

    def __init__(self, sources: Watched, questions: ServerQuestions, deliveries: Deliveries) -> None:
        self._sources = sources
        self._questions = questions
        self._deliveries = deliveries
        self._memory = Memory()
        self._board = Board()
        self._functions: dict[str, FunctionView] = {}
        self._known_at = 0.0  #: when the queues of all servers were known last
        self._greenlet = gevent.Greenlet(self._run)
        self._has_failed = False

    def start(self) -> None:
        """Watch from now on."""
        self._greenlet.start()

    def close(self) -> None:
        """Watch no longer, and deliver nothing more."""
        self._greenlet.kill()
        self._questions.close()
        self._deliveries.close()

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            config = self._sources.config()
            if not config.alerts.is_on:
                self._memory, self._board = Memory(), Board()
                continue
            try:
                self._look(config)
                self._has_failed = False
            except Exception:  # noqa: BLE001 (the loop's boundary: the next look may do better)
                if not self._has_failed:  # of errors in a row only the first is logged
                    _log.exception("the look for troubles failed; trying again")
                self._has_failed = True

    def _look(self, config: Config) -> None:
        rules, now, unix_now = config.alerts.rules, time.monotonic(), time.time()
        seen = self._snapshot(rules, now, unix_now)
        self._memory.take_in(seen, failures_of(rules)[1])
        self._questions.ask(now, self._asked_about(rules, now), wants_letters=rules.dead is not None)
        self._board.take_in(now, findings(rules, seen, self._memory), config.alerts.again)
        digest = self._board.digest(now)
        if digest is not None:
            manager = f"gearman-manager on {socket.gethostname()}"
            self._deliveries.send(compose(digest, manager, unix_now - now), targets_of(config))

    def _asked_about(self, rules: AlertRules, now: float) -> list[str]:
        """The functions in which jobs have waited all the time for so long that one may be too old."""
        if rules.waiting is None:
            return []
        since = {name: memory.waiting_since for name, memory in self._memory.functions.items()}
        return [name for name, begun in since.items() if begun is not None and now - begun >= rules.waiting]

    def _snapshot(self, rules: AlertRules, now: float, unix_now: float) -> Snapshot:
        generation = self._sources.generations.current
        names = {*generation.layout.functions, *rules.no_jobs} if generation is not None else set()
        queues = self._sources.queues
        if not queues.away:
            self._known_at = now
        # While a server is away, what waits there is not known: for a while all stays as it was.
        if not queues.away or now - self._known_at >= AWAY_S:
            self._functions = {name: self._function(name) for name in names}
        return Snapshot(
            now=now,
            unix_now=unix_now,
            pools={pool.name: self._pool(pool) for pool in self._sources.workforce.active},
            functions=self._functions,
            servers={str(each.address): ServerView(each.is_answering, each.trouble) for each in queues.servers},
            peers={name: PeerView(*state) for name, state in self._sources.peers().items()},
            letters=[each for each in self._questions.letters if not self._is_muted(each.handle, unix_now)],
            pages=self._sources.pages() or "",
        )

    def _is_muted(self, handle: str, unix_now: float) -> bool:
        return self._sources.mutes.is_muted_letter(handle, unix_now)

    def _function(self, name: str) -> FunctionView:
        queue = self._sources.queues.of(name)
        is_paused = queue.hold is not None and queue.hold.paused_at > 0
        oldest = self._questions.oldest.get(name) if queue.waiting else None
        return FunctionView(queue.waiting, queue.queued, queue.running, is_paused, oldest)

    def _pool(self, pool: Pool) -> PoolView:
        workforce, gone = self._sources.workforce, pool.counts
        done, failed, error = gone.done, gone.failed, ""
        for live in workforce.of(pool.name):
            view = live.slots.view()
            done, failed = done + view.done, failed + view.failed
            error = view.last_error or error
        return PoolView(
            functions=workforce.registered(pool.name),
            is_crashing=pool.state in _CRASHING,
            has_workers=any(worker.state is WorkerState.READY for worker in pool.workers.values()),
            last_error=pool.last_error,
            ended=done + failed,
            failed=max(0, failed - self._sources.mutes.failures(pool.name)),
            job_error=error,
        )
