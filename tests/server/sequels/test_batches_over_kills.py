"""Random histories in which a server with batches and chains is killed: each callback comes once, and the counts are
right, whatever was written, lost or done in between.

Broker, store and SQLite file are real; a kill forgets the broker and the store, and leaves the file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.sequels import job_batches
from gearman_server.stores import database as database_module
from gearman_server.stores import loading, sql_store
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.sql_store import WELL_AFTER_S, SqlStore

from ..broker_harness import BrokerHarness, Peer
from ..stores.by_hand import HandLoop, HandThreads, HandWriter, writer_of
from .batch_peer import CALLBACK_FUNCTIONS, facts

MOST_BATCHES = 8
KINDS = {
    "plain": (),
    "expiring": (b"expires_in=5000",),
    "delayed": (b"delay=2000",),
    "chain": (b"then=" + encode_link(b"g"), b"on_failure=" + encode_link(b"g")),
}


class KilledServer(RuleBasedStateMachine):
    """Batches are opened, filled, closed and cancelled; jobs end in all ways; batches of the store fail; kills."""

    #: Set by the test.
    make_broker: ClassVar[Callable[..., BrokerHarness]]
    folder: ClassVar[Path]
    monkeypatch: ClassVar[pytest.MonkeyPatch]
    number = count()

    @initialize()
    def start(self) -> None:
        self.monkeypatch.setattr(sql_store, "Writer", HandWriter)
        self.monkeypatch.setattr(database_module, "DELETES_AT_ONCE", 1)
        self.url = f"sqlite:///{self.folder}/{next(self.number)}.db"
        self.threads = HandThreads()
        self.monkeypatch.setattr(loading, "NativeThread", self.threads.make)
        self.unix_time: float | None = None
        #: By batch: whether its close or cancel was acknowledged, and the ends of its jobs that workers reported.
        self.closed: set[bytes] = set()
        #: The jobs that were acknowledged, by batch.
        self.accepted: dict[bytes, set[bytes]] = defaultdict(set)
        self.sent = 0
        self.names: list[bytes] = []
        #: The handles of the callbacks that were given to a worker, by batch and function.
        self.callbacks: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
        #: The handles of the second jobs of chains that were given out, by workload.
        self.followers: dict[bytes, set[bytes]] = defaultdict(set)
        self.begin()
        self.opens()
        self.a_batch_is_written("succeeds")

    def begin(self) -> None:
        self.loop = HandLoop()
        self.store = SqlStore(StoreSettings(self.url, 3.0), self.loop)
        self.harness = type(self).make_broker(store=self.store)
        if self.unix_time is not None:
            self.harness.unix_time = self.unix_time
        self.monkeypatch.setattr(sql_store, "monotonic", lambda: self.harness.now)
        self.harness.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0.0, crash_retries=1)})
        self.store.restore_to(self.harness.broker)
        self.lazy, self.probe = self.loop.timers[:2]
        self.writer = writer_of(self.store)
        self.pending: list[tuple[Peer, Callable[[int, bytes], None]]] = []
        self.worker = self.harness.worker(b"f", b"g")
        self.finisher = self.harness.worker(*CALLBACK_FUNCTIONS)

    # --- requests

    def request(self, packet_type: int, *arguments: bytes, then: Callable[[int, bytes], None]) -> None:
        client = self.harness.peer()
        client.send(packet_type, *arguments)
        self.pending.append((client, then))

    @rule()
    def opens(self) -> None:
        if len(self.names) < MOST_BATCHES:
            self.names.append(b"batch-%d" % len(self.names))
            self.open_again(self.names[-1])

    def open_again(self, name: bytes) -> None:
        callbacks = [b"%s=%s" % (function, encode_link(function, b"", name)) for function in CALLBACK_FUNCTIONS]
        self.request(OPEN_BATCH, name, *callbacks, then=lambda packet_type, body: None)

    @rule(kind=st.sampled_from(sorted(KINDS)), jobs=st.integers(1, 3))
    def submits(self, kind: str, jobs: int) -> None:
        """Into the newest batch."""
        name = self.names[-1]
        for _ in range(jobs):
            self.sent += 1
            workload = b"%d" % self.sent
            arguments = (b"f", b"", b"background=1", b"batch=" + name, *KINDS[kind], b"", workload)

            def note(packet_type: int, _body: bytes, workload: bytes = workload) -> None:
                if packet_type == PacketType.JOB_CREATED:
                    self.accepted[name].add(workload)

            self.request(SUBMIT_JOB_WITH, *arguments, then=note)

    @rule(at=st.integers(0, 1), how=st.sampled_from(["close", "close", "cancel", "stop"]))
    def closes(self, at: int, how: str) -> None:
        """The newest batch, or the one before it."""
        self.close(self.names[-1 - at % len(self.names)], how)

    def close(self, name: bytes, how: str) -> None:
        def note(packet_type: int, body: bytes) -> None:
            if packet_type == BATCH and b"state=unknown" not in body:
                self.closed.add(name)

        if how == "close":
            self.request(CLOSE_BATCH, name, then=note)
        else:
            self.request(END_BATCH, name, how.encode(), then=note)

    # --- ends

    @rule(how=st.sampled_from(["WORK_COMPLETE", "WORK_COMPLETE", "WORK_FAIL", "dies"]), jobs=st.integers(1, 3))
    def works(self, how: str, jobs: int) -> None:
        for _ in range(jobs):
            [(packet_type, body)] = self.worker.ask(PacketType.GRAB_JOB)
            if packet_type == PacketType.NO_JOB:
                return
            handle, function, workload = body.split(b"\0", 2)
            if function == b"g":
                self.followers[workload].add(handle)
            if how == "dies":
                self.worker.leave()
                self.worker = self.harness.worker(b"f", b"g")
            elif how == "WORK_FAIL":
                self.worker.send(PacketType.WORK_FAIL, handle)
            else:
                self.worker.send(PacketType.WORK_COMPLETE, handle, workload)

    @rule()
    def a_callback_runs(self) -> None:
        self.run_callback()

    def run_callback(self) -> bool:
        [(packet_type, body)] = self.finisher.ask(PacketType.GRAB_JOB)
        if packet_type == PacketType.NO_JOB:
            return False
        handle, function, name = body.split(b"\0", 2)
        self.callbacks[name, function].add(handle)
        self.finisher.send(PacketType.WORK_COMPLETE, handle, b"")
        return True

    @rule(at=st.integers(0, 20))
    def a_job_is_cancelled(self, at: int) -> None:
        handles = [handle for handle, job in self.harness.broker.table.jobs.items() if job.function.name == b"f"]
        if handles:
            self.harness.peer(address="127.0.0.1").text(b"cancel job " + handles[at % len(handles)])

    @rule(seconds=st.sampled_from([1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.harness.advance(seconds)

    # --- the store

    def a_pass_ends(self) -> None:
        self.harness.do_chores()
        self.threads.run_all()
        self.harness.broker.end_pass()
        for client, note in list(self.pending):
            for packet_type, body in client.take():
                self.pending.remove((client, note))
                note(packet_type, body)

    @rule(how=st.sampled_from(["succeeds", "succeeds", "fails", "is lost"]))
    def a_batch_is_written(self, how: str) -> None:
        self.a_pass_ends()
        self.lazy.fire_once()
        self.probe.fire_once()
        if self.writer.is_busy:
            self.writer.end(how)
            self.a_pass_ends()

    @rule(how=st.sampled_from(["WORK_COMPLETE", "WORK_FAIL"]))
    def all_is_done_and_the_server_is_killed_before_it_writes(self, how: str) -> None:
        self.close(self.names[-1], "close")
        self.works(how, 10)
        self.run_callback()
        self.the_server_is_killed()

    @rule()
    def the_server_is_killed(self) -> None:
        self.store._database.close()
        self.unix_time = self.harness.unix_time
        self.begin()

    @rule()
    def killed_while_it_writes(self) -> None:
        """The transaction is committed, and nobody hears of it."""
        self.a_pass_ends()
        if self.writer.is_busy:
            order = self.writer.orders[0]
            self.store._database.write(order.batch, is_repeated=False)
        self.the_server_is_killed()

    # --- the end

    def teardown(self) -> None:
        if not hasattr(self, "writer"):
            return
        try:
            self.settle()
            self.compare()
        finally:
            self.store.close()

    def settle(self) -> None:
        """All is written, closed, and done."""
        self.write_all()
        for name in self.names:
            self.open_again(name)
        self.write_all()
        for name in self.names:
            self.close(name, "close")
        while self.harness.broker.table.jobs.keys() - self.callback_handles():
            self.write_all()
            self.works("WORK_COMPLETE", 1000)
            self.harness.advance(3.0)
        self.write_all()
        while self.run_callback():
            self.write_all()
        assert self.harness.broker.table.jobs == {}
        assert self.pending == []

    def callback_handles(self) -> set[bytes]:
        jobs = self.harness.broker.table.jobs
        return {handle for handle, job in jobs.items() if job.function.name in CALLBACK_FUNCTIONS}

    def write_all(self) -> None:
        for _ in range(3):
            self.a_batch_is_written("succeeds")
            if self.harness.broker.durability.trouble is not None:
                self.harness.now += WELL_AFTER_S
        assert self.harness.broker.durability.trouble is None
        assert not self.writer.is_busy

    def compare(self) -> None:
        for name in self.names:
            found = facts(self.harness.peer().ask(GET_BATCH, name))
            assert found["state"] == "done"
            assert int(found["jobs"]) >= len(self.accepted[name]), "a job that was accepted is not counted"
            is_success = found["complete"] == found["jobs"] and found["is_cancelled"] == "0"
            ran = Counter({function: len(self.callbacks[name, function]) for function in CALLBACK_FUNCTIONS})
            assert ran == Counter(
                {b"on_complete": 1, b"on_success": int(is_success), b"on_failure": int(not is_success)}
            )
        assert all(len(handles) == 1 for handles in self.followers.values()), "a job of a chain came twice"
        with self.store._database._transaction() as connection:
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM gearman_jobs").scalar() == 0


@pytest.mark.pure_core
@pytest.mark.timeout(300)
def test_callbacks_come_once_and_counts_are_right_whatever_is_killed(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KilledServer.make_broker = make_broker
    KilledServer.folder, KilledServer.monkeypatch = tmp_path, monkeypatch
    # Hours pass in some histories, and a batch that is done is not remembered for as long.
    monkeypatch.setattr(job_batches, "KEEP_DONE_S", 1e9)
    case = KilledServer.TestCase
    case.settings = settings(
        max_examples=12,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],  # to shrink a failure takes longer than a test may
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
