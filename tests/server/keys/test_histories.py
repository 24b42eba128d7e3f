"""Keyed queues against a simple model, by random histories: no job is lost, given out twice, early or unfairly."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gearman_server.jobs.job import PRIORITIES, Job
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate
from gearman_server.keys import key_table, keyed_queue
from gearman_server.keys.key_rules import table_of

from .keyed_function import KeyedFunction

KEYS = [b"", b"a", b"b", b"c"]
POLICIES = [
    FunctionPolicy(),
    FunctionPolicy(max_running=3),
    FunctionPolicy(keys=KeyPolicy(is_fair=True)),
    FunctionPolicy(keys=KeyPolicy(max_running=1)),
    FunctionPolicy(keys=KeyPolicy(rate=Rate(2, 10.0), is_fair=True, weights={b"a": 3})),
    FunctionPolicy(max_running=3, keys=KeyPolicy(max_running=2, rate=Rate(3, 5.0))),
]


class History(RuleBasedStateMachine):
    """Jobs come, start, end, come back and are cancelled, keys are held, and the rules change."""

    can_switch: ClassVar[bool]  # set by the test

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Job, int] = {}
        self.held_until: dict[bytes, float] = {}
        #: When the running and ended jobs were started, while the present rate has been in force.
        self.starts: list[tuple[bytes, float]] = []
        self.orders = [0, 0]
        #: Limits are exact for jobs that came or ended since they are in force, and the order once all is sorted.
        self.has_switched = False
        #: Keys that had not been counted by the rules before the last ones may remember starts of an earlier rate.
        self.is_exact = True

    @initialize(policy=st.sampled_from(POLICIES))
    def start(self, policy: FunctionPolicy) -> None:
        self.keyed = KeyedFunction(policy)
        self.policy = policy

    @rule(key=st.sampled_from(KEYS), priority=st.sampled_from(PRIORITIES), jobs=st.integers(1, 8))
    def submit(self, key: bytes, priority: int, jobs: int) -> None:
        for _ in range(jobs):
            self.orders[1] += 1
            self.waiting[self.keyed.submit(key, priority)] = self.orders[1]

    @rule(jobs=st.integers(1, 4))
    def take(self, jobs: int) -> None:
        for _ in range(jobs):
            allowed = self.startable()
            job = self.keyed.take()
            if job is None:
                assert not allowed or self.keyed.agenda.chores or not self.is_exact
                return
            if not self.keyed.agenda.chores and self.is_exact:
                assert job in allowed
                first = min(other.priority for other in allowed)
                assert job.priority == first
                rivals = [other for other in allowed if other.priority == first]
                if self.policy.keys is not None and self.policy.keys.is_fair:
                    rivals = [other for other in rivals if other.key == job.key]
                if not self.has_switched:
                    assert self.waiting[job] == min(self.waiting[other] for other in rivals)
            del self.waiting[job]
            self.starts.append((job.key, self.keyed.now))

    @precondition(lambda self: self.keyed.running)
    @rule(data=st.data(), comes_back=st.booleans())
    def end(self, data: st.DataObject, comes_back: bool) -> None:
        job = data.draw(st.sampled_from(self.keyed.running))
        if comes_back:
            if (job.key, job.since) in self.starts:
                self.starts.remove((job.key, job.since))
            self.keyed.put_back(job)
            self.orders[0] -= 1
            self.waiting[job] = self.orders[0]
        else:
            self.keyed.end(job)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.waiting)))
        del self.waiting[job]
        self.keyed.cancel(job)

    @precondition(lambda self: self.waiting)
    @rule()
    def withdraw(self) -> None:
        """The last jobs go to the tail of their queues again."""
        last = sorted(self.waiting, key=self.waiting.__getitem__)[-2:]
        for job in last:
            self.keyed.function.queues[job.priority].withdraw({job})
        for job in last:
            self.keyed.function.queues[job.priority].append(job)
            self.orders[1] += 1
            self.waiting[job] = self.orders[1]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), seconds=st.sampled_from([0.5, 5.0]))
    def hold(self, data: st.DataObject, seconds: float) -> None:
        job = data.draw(st.sampled_from(list(self.waiting)))
        until = self.keyed.now + seconds
        self.held_until[job.key] = max(until, self.held_until.get(job.key, 0.0))
        self.has_switched |= table_of(self.keyed.function) is None
        self.keyed.rules.hold_key(job, seconds)

    @precondition(lambda self: self.can_switch)
    @rule(policy=st.sampled_from(POLICIES), are_chores_done=st.booleans())
    def switch(self, policy: FunctionPolicy, are_chores_done: bool) -> None:
        self.is_exact &= not self.keyed.agenda.chores
        self.keyed.use(policy)
        self.has_switched = True
        if policy.keys is None or self.policy.keys is None or policy.keys.rate != self.policy.keys.rate:
            self.starts = []
        self.policy = policy
        if are_chores_done:
            self.keyed.do_chores()

    @rule()
    def chores(self) -> None:
        self.keyed.do_chores()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.keyed.advance(seconds)

    def startable(self) -> list[Job]:
        """The jobs of which any could be the next to start."""
        keys, running = self.policy.keys or KeyPolicy(), Counter(job.key for job in self.keyed.running)
        if self.policy.max_running is not None and running.total() >= self.policy.max_running:
            return []
        return [job for job in self.waiting if self.room(job.key, keys, running) > 0]

    def room(self, key: bytes, keys: KeyPolicy, running: Counter[bytes]) -> int:
        if self.keyed.now < self.held_until.get(key, 0.0):
            return 0
        room = 10**9 if keys.max_running is None else keys.max_running - running[key]
        if keys.rate is not None:
            starts = sum(key == other and self.keyed.now < at + keys.rate.per_s for other, at in self.starts)
            room = min(room, keys.rate.count - starts)
        return max(0, room)

    @invariant()
    def numbers_agree(self) -> None:
        function = self.keyed.function
        assert function.queued == len(self.waiting)
        assert set().union(*function.queues) >= self.waiting.keys()
        if self.keyed.agenda.chores or not self.is_exact:
            return
        keys, running = self.policy.keys or KeyPolicy(), Counter(job.key for job in self.keyed.running)
        waiting = Counter(job.key for job in self.waiting)
        startable = sum(min(jobs, self.room(key, keys, running)) for key, jobs in waiting.items())
        if self.policy.max_running is not None:
            startable = min(startable, max(0, self.policy.max_running - running.total()))
        assert function.startable(self.keyed.now) == startable

    def teardown(self) -> None:
        """Whatever has happened, all jobs can be taken in the end, and nothing is left of keys and holds."""
        self.keyed.use(FunctionPolicy())
        self.keyed.do_chores()
        self.keyed.advance(20.0)
        self.keyed.advance(2.0)
        while (job := self.keyed.take()) is not None or self.keyed.agenda.chores:
            if job is None:
                self.keyed.do_chores()
            else:
                del self.waiting[job]
        assert not self.waiting
        for job in self.keyed.running:
            self.keyed.end(job)
        self.keyed.advance(2.0)
        self.keyed.advance(2.0)
        assert table_of(self.keyed.function) is None
        assert self.keyed.function.throttle is None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("can_switch", [False, True], ids=["the same rules", "rules that change"])
def test_keyed_queues_keep_every_promise_in_random_histories(monkeypatch: pytest.MonkeyPatch, can_switch: bool) -> None:
    for module in (keyed_queue, key_table):
        monkeypatch.setattr(module, "STEP", 2)
    monkeypatch.setattr(keyed_queue, "_FEW", 2)
    monkeypatch.setattr(keyed_queue, "_LOOKS", 3)
    History.can_switch = can_switch
    case = History.TestCase
    case.settings = settings(
        max_examples=150,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
