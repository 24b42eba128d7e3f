"""Random histories of a cluster, step by step: beats, batches, accusations, adoption, and servers that stand still, are
cut off, come back or are replaced, in every order. The rules hold; and faults that are put in on purpose break them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gearman_server.cluster import watch
from gearman_server.cluster.durable_jobs import DurableJobs
from gearman_server.jobs.store import number_of

from .protocol_model import BrokenRuleError, History, ModelDatabase, ModelServer, must

#: One clock may be slow and another fast: so much that the margin of the lease is just enough.
RATES = (0.88, 1.0, 1.08)
STEP_S = 0.25
#: After these, every job of a dead server has been adopted, was in doubt for long enough, and has been run.
SETTLED_STEPS = 60
MOST_JOBS = 12
STEPS = ("run", "beat", "begin_batch", "commit", "serve", "complete")

servers = st.integers(0, 2)
flags = st.booleans()


class Protocol(RuleBasedStateMachine):
    """Two or three servers on one database."""

    make_database: ClassVar[Callable[[], ModelDatabase]] = ModelDatabase
    #: Whether the end is looked at, too.
    settles: ClassVar[bool] = True

    @initialize(rates=st.permutations(RATES), how_many=st.sampled_from([2, 3, 3]))
    def start(self, rates: list[float], how_many: int) -> None:
        self.database, self.history = type(self).make_database(), History()
        self.clocks = [(1000.0 * number, rate) for number, rate in enumerate(rates[:how_many], 1)]
        self.servers = [self._new(at) for at in range(how_many)]
        self.steps = self.submitted = 0

    def _new(self, at: int) -> ModelServer:
        return ModelServer(f"s{at}", self.database, self.history, self.clocks[at])

    def _at(self, at: int) -> ModelServer:
        return self.servers[at % len(self.servers)]

    # --- many steps, as in everyday life

    @rule(steps=st.integers(1, 10), works=flags)
    def live(self, steps: int, works: bool) -> None:
        for _ in range(steps):
            self.steps += 1
            self.pass_time(STEP_S)
            first = self.steps // 2 % len(self.servers)
            for server in (*self.servers[first:], *self.servers[:first]):
                if self.steps % 2:
                    server.beat()
                server.run()
                server.accuse(ends_blockers=True)
                server.try_again()
            for server in self.servers:
                server.commit()
                server.run()
            for server in self.servers:
                if works:
                    server.serve()
                server.begin_batch()
                for dead in server.dead_since:
                    server.begin_page(dead)

    @rule(at=servers, is_cut=flags, steps=st.integers(7, 12))
    def fall_silent(self, at: int, is_cut: bool, steps: int) -> None:
        """One stands still or is cut off for about a lease, and then jobs are asked for."""
        self.live(1, works=False)
        server = self._at(at)
        server.is_cut, server.is_still = is_cut, not is_cut
        self.live(steps, works=False)
        self.live(3, works=True)

    # --- single steps

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0]))
    def pass_time(self, seconds: float) -> None:
        for server in self.servers:
            server.pass_time(seconds)

    @rule(at=servers, how_many=st.integers(1, 5))
    def submit(self, at: int, how_many: int) -> None:
        if self.submitted < MOST_JOBS:
            self.submitted += how_many
            self._at(at).submit(how_many)

    @rule(at=servers, steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4))
    def step(self, at: int, steps: list[str]) -> None:
        for name in steps:
            getattr(self._at(at), name)()

    @rule(at=servers, dead=servers)
    def begin_page(self, at: int, dead: int) -> None:
        known = list(self._at(at).dead_since)
        if known:
            self._at(at).begin_page(known[dead % len(known)])

    @rule(at=servers, ends_blockers=flags)
    def accuse(self, at: int, ends_blockers: bool) -> None:
        self._at(at).accuse(ends_blockers=ends_blockers)

    # --- what goes wrong

    @rule(steps=st.integers(1, 15))
    def database_away(self, steps: int) -> None:
        self.live(2, works=False)
        self.database.is_away = True
        self.live(steps, works=True)
        self.database.is_away = False
        self.live(2, works=True)

    @rule()
    def heal(self) -> None:
        for server in self.servers:
            server.is_still = server.is_cut = False
        self.live(3, works=True)

    @rule(at=servers)
    def restart(self, at: int) -> None:
        """It is killed, and started again under its name; a transaction that it had begun is left open."""
        at %= len(self.servers)
        if not self.database.is_away:
            clock = self.servers[at].now, self.clocks[at][1]
            self.servers[at] = ModelServer(f"s{at}", self.database, self.history, clock)

    @invariant()
    def acknowledged_jobs_are_kept(self) -> None:
        for handle in self.history.acknowledged - self.history.ended:
            is_kept = number_of(handle) in self.database.rows or any(each.will_write(handle) for each in self.servers)
            must(is_kept, "an acknowledged job has a row, or a living owner that is about to write it")

    def teardown(self) -> None:
        """In the end all is well again, and every acknowledged job has been given to a worker."""
        if not self.settles:
            return
        self.database.is_away = False
        for server in self.servers:
            server.is_still = server.is_cut = False
        for _ in range(SETTLED_STEPS):
            self.live(1, works=True)
            for server in self.servers:
                server.complete()
        must(not self.history.acknowledged - self.history.ended, "every acknowledged job is run")


def run_histories(how_many: int, make_database: Callable[[], ModelDatabase] = ModelDatabase, **given: bool) -> None:
    """Always the same histories."""
    machine = type("Histories", (Protocol,), {"make_database": staticmethod(make_database), **given})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=how_many,
            stateful_step_count=20,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_rules_hold() -> None:
    run_histories(80)


def _without_fences(_patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    return lambda: ModelDatabase(checks_fence=False)


def _adoption_of_whatever_was_read(_patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    return lambda: ModelDatabase(checks_owner=False)


def _no_margin(patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    patch.setattr(watch, "LEASE_MARGIN_S", 0.0)
    return ModelDatabase


def _watch_that_goes_on_after_a_gap(patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    patch.setattr(watch, "_LATE", 1_000_000)
    return ModelDatabase


def _nothing_is_withheld(patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    patch.setattr(DurableJobs, "withhold", lambda _self: None)
    return ModelDatabase


def _nothing_is_let_go(patch: pytest.MonkeyPatch) -> Callable[[], ModelDatabase]:
    patch.setattr(DurableJobs, "let_go", lambda _self, when_done: when_done())
    return ModelDatabase


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (_without_fences, "after the fence"),
        (_adoption_of_whatever_was_read, "owner changes only after a fence|assigned by two servers"),
        (_no_margin, "others have fenced"),
        (_watch_that_goes_on_after_a_gap, "who accuses has reached the database"),
        (_nothing_is_withheld, "within the local lease|others have fenced"),
        (_nothing_is_let_go, "assigned by two servers"),
    ],
)
def test_a_fault_that_is_put_in_is_found(
    fault: Callable[[pytest.MonkeyPatch], Callable[[], ModelDatabase]], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokenRuleError, match=rule):
        run_histories(300, fault(monkeypatch), settles=False)
