"""Submissions that are one job: ids of submissions, unique keys that outlive their job, newer workloads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType
from gearman_server.jobs.store import KeyKind
from gearman_server.same_job import known_keys

from ..broker_harness import BatchStore, BrokerHarness, DurableBroker, Peer
from .replayed import stored

CREATED, ERROR = PacketType.JOB_CREATED, PacketType.ERROR


def ask(peer: Peer, *pairs: bytes, unique: bytes = b"u", workload: bytes = b"w") -> list[tuple[int, bytes]]:
    return peer.ask(SUBMIT_JOB_WITH, b"f", unique, *pairs, b"", workload)


def submit(peer: Peer, *pairs: bytes, unique: bytes = b"u", workload: bytes = b"w") -> bytes:
    [(packet_type, body)] = ask(peer, b"background=1", *pairs, unique=unique, workload=workload)
    assert packet_type == CREATED, body
    return body


def end(worker: Peer, kind: int = PacketType.WORK_COMPLETE) -> bytes:
    handle = worker.grab_handle()
    worker.send(kind, handle, b"")
    return handle


class TestSubmission:
    def test_sent_twice_it_is_one_job_even_after_its_end(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"submission=s1", unique=b"")
        assert submit(broker.peer(), b"submission=s1", unique=b"") == handle
        assert broker.status(b"f")[0] == 1
        end(worker)
        assert submit(client, b"submission=s1", unique=b"") == handle
        assert broker.status(b"f")[0] == 0
        assert submit(client, b"submission=s2", unique=b"") != handle
        broker.advance(86_401)
        assert submit(client, b"submission=s1", unique=b"") != handle

    def test_a_foreground_job_sent_again_is_joined_while_it_lives(self, broker: BrokerHarness) -> None:
        client, again, worker = broker.peer(), broker.peer(), broker.worker(b"f")
        [(_, handle)] = ask(client, b"submission=s1", unique=b"")
        worker.grab()
        assert ask(again, b"submission=s1", unique=b"") == [(CREATED, handle)]
        client.leave()
        worker.send(PacketType.WORK_COMPLETE, handle, b"done")
        assert again.take() == [(PacketType.WORK_COMPLETE, handle + b"\0done")]
        [(packet_type, body)] = ask(again, b"submission=s1", unique=b"")
        assert (packet_type, body) == (ERROR, b"DUPLICATE\0Its key is known for a job that has ended: " + handle)

    def test_the_second_answer_waits_for_the_commit_too(self, durable: DurableBroker) -> None:
        client, again = durable.peer(), durable.peer()
        assert ask(client, b"background=1", b"submission=s1", unique=b"") == []
        assert ask(again, b"background=1", b"submission=s1", unique=b"") == []
        durable.commit()
        [first], [second] = client.take(), again.take()
        assert first == second
        [key] = durable.store.keys.values()
        assert (key.kind, key.function, key.text, key.handle) == (KeyKind.SUBMISSION, b"f", b"s1", first[1])

    def test_an_id_whose_job_could_not_be_stored_is_free_again(self, durable: DurableBroker) -> None:
        client = durable.peer()
        ask(client, b"background=1", b"submission=s1", unique=b"")
        durable.fail()
        assert client.take()[0][0] == ERROR
        ask(client, b"background=1", b"submission=s1", unique=b"")
        durable.commit()
        assert client.take()[0][0] == CREATED

    def test_it_is_known_after_a_restart_before_its_row_is_read(
        self, durable: DurableBroker, batch_store: BatchStore, make_broker: Callable[..., BrokerHarness]
    ) -> None:
        client = durable.peer()
        ask(client, b"background=1", b"submission=s1", unique=b"")
        durable.commit()
        [(_, handle)] = client.take()
        again = make_broker(store=batch_store)
        again.broker.known_keys.restore(batch_store.keys.values())
        assert submit(again.peer(), b"submission=s1", unique=b"") == handle

    @pytest.mark.parametrize("pairs", [(), (b"replace=1",)])
    def test_one_that_joined_a_job_is_known_after_its_end(
        self, broker: BrokerHarness, pairs: tuple[bytes, ...]
    ) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"submission=s1")
        assert submit(client, b"submission=s2", *pairs) == handle
        end(worker)
        assert [submit(client, b"submission=" + text, *pairs) for text in (b"s1", b"s2")] == [handle, handle]
        assert broker.status(b"f")[0] == 0
        broker.advance(86_401)
        assert submit(client, b"submission=s2", *pairs) != handle

    def test_one_that_was_answered_with_a_job_that_has_ended_is_known_beyond_its_unique_for(
        self, broker: BrokerHarness
    ) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"unique_for=1000")
        end(worker)
        assert submit(client, b"submission=s1") == handle
        broker.advance(2)
        assert submit(client, b"submission=s1") == handle
        assert submit(client, b"submission=s2") != handle

    def test_those_that_joined_are_kept_before_the_row_is_deleted(
        self, durable: DurableBroker, batch_store: BatchStore, make_broker: Callable[..., BrokerHarness]
    ) -> None:
        client, worker = durable.peer(), durable.worker(b"f")
        ask(client, b"background=1", b"submission=s1")
        ask(client, b"background=1", b"submission=s2")  # its row is not written yet
        assert batch_store.keys == {}
        durable.commit()
        [(_, handle), second] = client.take()
        assert second == (CREATED, handle)
        assert submit(client, b"submission=s3") == handle
        assert len(batch_store.keys) == 3
        end(worker)
        again = make_broker(store=batch_store)
        again.broker.known_keys.restore(batch_store.keys.values())
        peer = again.peer()
        assert {submit(peer, b"submission=s%d" % number) for number in (1, 2, 3)} == {handle}
        again.advance(86_401)
        assert batch_store.keys == {}

    def test_one_that_joined_a_job_which_could_not_be_stored_is_free_again(
        self, durable: DurableBroker, batch_store: BatchStore
    ) -> None:
        client = durable.peer()
        ask(client, b"background=1", b"submission=s1")
        ask(client, b"background=1", b"submission=s2")
        durable.fail()
        assert [packet_type for packet_type, _ in client.take()] == [ERROR, ERROR]
        assert batch_store.keys == {}
        ask(client, b"background=1", b"submission=s2", unique=b"")
        durable.commit()
        assert client.take()[0][0] == CREATED

    def test_the_id_of_a_job_that_ends_before_its_row_is_written_is_kept(
        self, durable: DurableBroker, batch_store: BatchStore
    ) -> None:
        worker = durable.worker(b"f")
        ask(durable.peer(), b"background=1", b"submission=s1", unique=b"")
        end(worker)
        assert [key.text for key in batch_store.keys.values()] == [b"s1"]


class TestUniqueFor:
    def test_the_key_is_known_for_so_long_after_the_end(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"unique_for=5000")
        broker.advance(100)
        end(worker)
        assert submit(client) == handle
        assert client.submit(b"f", b"w", b"u", "SUBMIT_JOB_BG") == handle
        [(packet_type, body)] = client.ask(PacketType.SUBMIT_JOB, b"f", b"u", b"w")
        assert (packet_type, body) == (ERROR, b"DUPLICATE\0Its key is known for a job that has ended: " + handle)
        assert client.submit(b"g", b"w", b"u", "SUBMIT_JOB_BG") != handle
        broker.advance(4.999)
        assert submit(client) == handle
        broker.advance(0.001)
        assert submit(client) != handle

    @pytest.mark.parametrize("how", ["fail", "expire"])
    def test_every_end_keeps_the_key(self, broker: BrokerHarness, how: str) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"unique_for=5000", b"expires_in=1000")
        if how == "fail":
            end(worker, PacketType.WORK_FAIL)
        else:
            broker.advance(1)
        assert submit(client) == handle

    @pytest.mark.parametrize("is_running", [False, True])
    def test_to_cancel_frees_the_key(self, broker: BrokerHarness, is_running: bool) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"unique_for=5000")
        if is_running:
            worker.grab()
        client.text(b"cancel job " + handle)
        other = submit(client)
        assert other != handle
        if is_running:
            worker.send(PacketType.WORK_COMPLETE, handle, b"")
            assert submit(client) == other

    def test_the_key_is_written_with_the_end_and_comes_back(
        self, durable: DurableBroker, batch_store: BatchStore, make_broker: Callable[..., BrokerHarness]
    ) -> None:
        client, worker = durable.peer(), durable.worker(b"f")
        ask(client, b"background=1", b"unique_for=5000")
        durable.commit()
        [(_, handle)] = client.take()
        end(worker)
        again = make_broker(store=batch_store)
        again.broker.known_keys.restore(batch_store.keys.values())
        assert submit(again.peer()) == handle
        again.advance(5)
        assert batch_store.keys == {}

    def test_the_oldest_are_forgotten_when_there_are_too_many(
        self, broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known_keys, "MAX_KEYS", 1500)
        client, worker = broker.peer(), broker.worker(b"f")
        for number in range(1501):
            submit(client, b"unique_for=5000", unique=b"%d" % number)
            end(worker)
        submit(client, unique=b"0")
        submit(client, unique=b"1400")
        assert broker.status(b"f")[0] == 1


class TestUniqueUntilStart:
    def test_the_key_is_free_once_the_job_begins(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"unique_until=start")
        assert submit(client) == handle
        worker.grab()
        other = submit(client)
        assert other != handle
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        assert submit(client) == other

    def test_a_stored_job_that_had_begun_does_not_get_its_key_back(
        self, make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
    ) -> None:
        from .replayed import Replayed

        replayed = Replayed(make_broker, batch_store)
        options = b"unique_until=start"
        replayed.load(
            stored(1, unique=b"u", options=options, was_running=True), stored(2, unique=b"v", options=options)
        )
        jobs = replayed.harness.broker.table
        assert [jobs.find_by_unique(key) is not None for key in (b"u", b"v")] == [False, True]


class TestReplace:
    def test_a_newer_workload_takes_the_place_of_a_waiting_one(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"replace=1", workload=b"old")
        assert submit(client, b"replace=1", workload=b"new") == handle
        assert worker.ask(PacketType.GRAB_JOB) == [(PacketType.JOB_ASSIGN, handle + b"\0f\0new")]
        assert submit(client, b"replace=1", workload=b"late") == handle  # it runs: the submission joins it
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        assert worker.grab() is None

    @pytest.mark.parametrize(("delay_ms", "runs_after_s"), [(5000, 7.0), (1000, 3.0)])
    def test_each_submission_puts_the_time_off_or_forward(
        self, broker: BrokerHarness, delay_ms: int, runs_after_s: float
    ) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"replace=1", b"delay=5000", workload=b"old")
        broker.advance(2)
        submit(client, b"replace=1", b"delay=%d" % delay_ms, workload=b"new")
        broker.advance(runs_after_s - 2 - 0.001)
        assert worker.grab() is None
        broker.advance(0.001)
        assert worker.ask(PacketType.GRAB_JOB) == [(PacketType.JOB_ASSIGN, handle + b"\0f\0new")]
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        broker.advance(10)
        assert broker.status(b"f") == (0, 0, 1)

    def test_the_answer_waits_until_the_newer_workload_is_written(self, durable: DurableBroker) -> None:
        client, again = durable.peer(), durable.peer()
        ask(client, b"background=1", b"replace=1", workload=b"old")
        durable.commit()
        [(_, handle)] = client.take()
        assert ask(again, b"background=1", b"replace=1", workload=b"new") == []
        durable.commit()
        durable.broker.settle()
        assert again.take() == [(CREATED, handle)]
        assert durable.store.rows == {handle: b"new"}

    def test_the_answer_comes_with_the_jobs_end(self, durable: DurableBroker) -> None:
        client, worker = durable.peer(), durable.worker(b"f")
        ask(client, b"background=1", b"replace=1", workload=b"old")
        durable.commit()
        [(_, handle)] = client.take()
        ask(client, b"background=1", b"replace=1", workload=b"new")
        end(worker)
        assert client.take() == [(CREATED, handle)]

    def test_a_submitter_does_not_wait_for_ever(self, durable: DurableBroker) -> None:
        client = durable.peer()
        ask(client, b"background=1", b"replace=1", workload=b"old")
        durable.commit()
        client.take()
        ask(client, b"background=1", b"replace=1", workload=b"new")
        durable.advance(60)
        assert client.session.ending == "the store does not say whether a job was stored"


@pytest.mark.parametrize("pair", [b"unique_for=5", b"unique_until=start", b"replace=1"])
@pytest.mark.parametrize("unique", [b"", b"-"])
def test_these_options_need_a_unique_key_of_the_jobs_own(broker: BrokerHarness, pair: bytes, unique: bytes) -> None:
    [(packet_type, body)] = ask(broker.peer(), pair, unique=unique)
    name = pair.partition(b"=")[0]
    assert (packet_type, body) == (ERROR, b"INVALID_OPTION\0" + name + b": it needs a unique key of the job's own")
