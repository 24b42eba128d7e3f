"""Random histories in which batches of a store fail: in the end the store holds each thing that the broker knows, once.

The broker, the store and the SQLite file are real. The history says when each batch is written, and how that
ends: well, badly, or so that nobody knows (committed, and reported as failed).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gearman_client.packet import PacketType
from gearman_server.jobs.job import WRITTEN, Job, JobState
from gearman_server.jobs.job_table import JobTable
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.schedule_rules import ScheduleRule
from gearman_server.options.timing import Every
from gearman_server.stores import database as database_module
from gearman_server.stores import sql_store
from gearman_server.stores.letters_table import read_letters
from gearman_server.stores.results_table import read_results
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.small_tables import read_marks, read_pauses
from gearman_server.stores.sql_store import WELL_AFTER_S, SqlStore

from ..broker_harness import BrokerHarness, Peer
from .by_hand import HandLoop, HandWriter, writer_of

KEEP_S = 5.0
TIMEOUT_S = 3.0
POLICIES = {
    b"f": FunctionPolicy(keep_result_s=KEEP_S, retries=1, backoff_s=0.0, crash_retries=1),
    b"g": FunctionPolicy(crash_retries=0),
}
FUNCTIONS = sorted(POLICIES)


class StoreHistory(RuleBasedStateMachine):
    """Jobs come, run, end well or badly, are tried again; a schedule is triggered; results expire; batches fail."""

    #: Set by the test.
    make_broker: ClassVar[Callable[..., BrokerHarness]]
    folder: ClassVar[Path]
    monkeypatch: ClassVar[pytest.MonkeyPatch]
    number = count()

    @initialize()
    def start(self) -> None:
        self.monkeypatch.setattr(sql_store, "Writer", HandWriter)
        self.loop = HandLoop()
        self.store = SqlStore(StoreSettings(f"sqlite:///{self.folder}/{next(self.number)}.db", TIMEOUT_S), self.loop)
        self.harness = type(self).make_broker(store=self.store)
        self.monkeypatch.setattr(sql_store, "monotonic", lambda: self.harness.now)
        self.monkeypatch.setattr(sql_store, "MAX_UNDONE", 2)
        self.monkeypatch.setattr(database_module, "DELETES_AT_ONCE", 1)
        broker = self.harness.broker
        broker.use_policies(POLICIES)
        broker.use_schedules([ScheduleRule("tick", Every(4.0), b"g")], self.harness.now)
        self.store.restore_to(broker)
        self.lazy, self.probe, self.overdue = self.loop.timers[:3]
        self.writer = writer_of(self.store)
        self.operator = self.harness.peer()
        self.workers = [self.harness.worker(*FUNCTIONS) for _ in range(2)]
        self.waiting: list[Peer] = []
        self.commanding: list[Peer] = []
        self.workloads: dict[Peer, bytes] = {}
        self.given_out: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.promised: set[Job] = set()

    @property
    def table(self) -> JobTable:
        return self.harness.broker.table

    # --- jobs

    @rule(function=st.sampled_from(FUNCTIONS), unique=st.sampled_from([b"", b"u"]))
    def submit(self, function: bytes, unique: bytes) -> None:
        client = self.harness.peer()
        workload = b"%d" % len(self.workloads)
        client.send(PacketType.SUBMIT_JOB_BG, function, unique, workload)
        self.waiting.append(client)
        self.workloads[client] = workload

    @rule(worker=st.integers(0, 1))
    def grab(self, worker: int) -> None:
        for _, body in self.workers[worker].ask(PacketType.GRAB_JOB):
            self.given_out.add(body.rpartition(b"\0")[2])

    @rule(worker=st.integers(0, 1), how=st.sampled_from(["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"]))
    def work(self, worker: int, how: str) -> None:
        """End the worker's current job, or else the next one."""
        assigned = self.workers[worker].session.assigned
        if not assigned:
            self.grab(worker)
        for handle in list(assigned)[:1]:
            arguments = [] if how == "WORK_FAIL" else [b"r"]
            assert self.workers[worker].ask(PacketType[how], handle, *arguments) == []

    @rule(worker=st.integers(0, 1))
    def worker_dies(self, worker: int) -> None:
        self.workers[worker].leave()
        self.workers[worker] = self.harness.worker(*FUNCTIONS)

    @rule(worker=st.integers(0, 1), how=st.sampled_from(["succeeds", "fails"]))
    def grab_what_is_stored(self, worker: int, how: str) -> None:
        """The row is marked in a batch of its own."""
        self.a_batch_is_written("succeeds")
        self.grab(worker)
        self.a_batch_is_written(how)

    # --- the operator

    @precondition(lambda self: self.table.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.table.jobs)))
        self.operator.send(0, b"cancel job " + handle)

    @precondition(lambda self: self.harness.broker.dead_letters.by_handle)
    @rule(data=st.data(), what=st.sampled_from([b"retry", b"retry", b"drop"]))
    def deal_with_a_letter(self, data: st.DataObject, what: bytes) -> None:
        handle = data.draw(st.sampled_from(sorted(self.harness.broker.dead_letters.by_handle)))
        self.operator.send(0, b"dead %s %s" % (what, handle))

    @rule()
    def trigger(self) -> None:
        self.operator.send(0, b"schedules trigger tick")

    @rule(command=st.sampled_from([b"pause", b"resume"]), function=st.sampled_from(FUNCTIONS))
    def pause(self, command: bytes, function: bytes) -> None:
        operator = self.harness.peer()
        operator.send(0, command + b" function " + function)
        self.commanding.append(operator)

    @rule(seconds=st.sampled_from([0.1, 1.1, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.harness.advance(seconds)

    # --- the store

    @rule()
    def a_batch_is_handed_over(self) -> None:
        """At the end of a pass, or a little later."""
        self.harness.broker.end_pass()
        self.lazy.fire_once()
        self.probe.fire_once()

    @rule(how=st.sampled_from(["succeeds", "fails", "is lost"]))
    def a_batch_is_written(self, how: str) -> None:
        self.a_batch_is_handed_over()
        if self.writer.is_busy:
            self.writer.end(how)
            self.take_answers()

    @rule(how=st.sampled_from(["succeeds", "fails"]))
    def a_batch_takes_too_long(self, how: str) -> None:
        self.a_batch_is_handed_over()
        if self.writer.is_busy:
            self.harness.advance(TIMEOUT_S)
            self.overdue.fire()
            self.take_answers()
            self.submit(b"g", b"")
            self.writer.end(how)

    def take_answers(self) -> None:
        for client in list(self.waiting):
            for packet_type, body in client.take():
                self.waiting.remove(client)
                if packet_type == PacketType.JOB_CREATED and body in self.table.jobs:
                    self.promised.add(self.table.jobs[body])
                elif packet_type == PacketType.ERROR:
                    self.refused.add(self.workloads[client])

    # --- the end

    def teardown(self) -> None:
        if not hasattr(self, "writer"):
            return
        try:
            self.settle()
            self.take_answers()
            assert self.waiting == [], "somebody was never answered"
            assert all(operator.take_bytes() for operator in self.commanding)
            self.compare()
        finally:
            self.store.close()

    def settle(self) -> None:
        """The store is well again, and everything is written."""
        for _ in range(10):
            if self.writer.is_busy:
                self.writer.end("succeeds")
            self.a_batch_is_handed_over()
            if self.harness.broker.durability.trouble is not None:
                self.harness.now += WELL_AFTER_S  # only its clock moves: nothing else becomes due
        assert self.harness.broker.durability.trouble is None
        assert not self.writer.is_busy
        assert not self.store._open

    def compare(self) -> None:
        database = self.store._database
        with database._transaction() as connection:
            rows = connection.exec_driver_sql("SELECT handle, state, requeues, failures FROM gearman_jobs").all()
            workloads = set(connection.exec_driver_sql("SELECT workload FROM gearman_jobs").scalars())
        assert not self.refused & self.given_out, "a refused job has run"
        assert not self.refused & workloads, "a refused job will run after a restart"
        stored = [job for job in self.table.jobs.values() if job.record is not None]
        assert all(job.record is WRITTEN for job in stored)
        assert sorted(map(tuple, rows)) == sorted(
            (job.handle, int(job.state is JobState.RUNNING), job.requeues, job.history.failures if job.history else 0)
            for job in stored
        )
        promised = {job for job in self.promised if self.table.jobs.get(job.handle) is job}
        assert {job for job in promised if job.state is not JobState.CANCELLED} <= set(stored)
        broker = self.harness.broker
        letters, results = database.call(read_letters), database.call(read_results)
        assert {letter.handle: letter for letter in letters} == broker.dead_letters.by_handle
        assert {result.handle: result for result in results} == broker.results.kept.by_handle
        assert database.call(read_marks) == {one.rule.name: one.mark for one in broker.scheduler}
        functions = [broker.functions.by_name[name] for name in FUNCTIONS if name in broker.functions.by_name]
        pauses = {function.name: function.paused_since for function in functions if function.paused_since is not None}
        assert database.call(read_pauses) == pauses


@pytest.mark.timeout(300)
def test_in_the_end_the_store_holds_what_the_broker_knows_whatever_failed(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoreHistory.make_broker = make_broker
    StoreHistory.folder, StoreHistory.monkeypatch = tmp_path, monkeypatch
    case = StoreHistory.TestCase
    case.settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
