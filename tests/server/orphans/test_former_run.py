"""After a start: which jobs of the former run wait for their workers' words, and what is done until then."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gearman_client.extensions import ORPHANED_JOBS_OPTION
from gearman_client.packet import PacketType
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.store import StoredJob, Wanted
from gearman_server.orphans import former_run as module
from gearman_server.orphans.former_run import FormerRun

from ..broker_harness import BatchStore, DurableBroker
from .conftest import Heir, says_it_runs, sends


class Restarted(Heir):
    """A server that has its store alone, and has been started again: the test hands over the rows."""

    def __init__(self, *, ended_in_order: bool = False) -> None:
        DurableBroker.__init__(self, BrokerSettings(), BatchStore())  # it takes no part in a cluster
        self.questions: list[object] = []
        former = FormerRun(self.now + 1.5, ended_in_order=ended_in_order)
        self.replay = self.broker.start_replay(self, former)
        self.replay.end_of_priority(self.now)

    def look_up(self, _wanted: Sequence[Wanted], answer: object) -> None:
        self.questions.append(answer)

    def load(self, *rows: StoredJob) -> None:
        """Take in these rows, which are all."""
        assert list(self.replay.load(rows, self.now)) == []
        self.replay.end_of_priority(self.now)
        self.replay.end_of_priority(self.now)
        self.broker.end_replay(self.now)
        self.broker.settle()


@pytest.fixture
def killed() -> Restarted:
    """Its former run was killed."""
    return Restarted()


@pytest.fixture
def ended() -> Restarted:
    """Its former run has ended in order."""
    return Restarted(ended_in_order=True)


@pytest.fixture
def short_head(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many jobs at the head of a queue are in doubt."""
    monkeypatch.setattr(module, "HEAD", 2)
    return 2


def test_after_an_end_in_order_only_jobs_that_ran_are_in_doubt(ended: Restarted) -> None:
    ran, waits = ended.row(), ended.row(was_running=False)
    ended.load(ran, waits)
    assert ended.grabs() == [waits.handle]
    ended.pass_time(1.6)
    assert ended.grabs() == [ran.handle]
    assert ended.broker.table.jobs[ran.handle].attempt == 2


def test_after_a_kill_the_heads_of_the_queues_are_in_doubt_and_keep_their_place(
    killed: Restarted, short_head: int
) -> None:
    rows = [killed.row(was_running=number in (0, 3)) for number in range(6)]
    killed.load(*rows)
    assert killed.grabs() == [rows[4].handle, rows[5].handle]
    later = killed.peer().submit(b"f")
    killed.pass_time(1.6)
    assert killed.grabs() == [*(row.handle for row in rows[:4]), later]


def test_each_key_has_a_head_of_its_own(killed: Restarted, short_head: int) -> None:
    rows = [killed.row(was_running=False, options=b"key=%d" % (number // 3)) for number in range(6)]
    killed.load(*rows)
    assert killed.grabs() == [rows[2].handle, rows[5].handle]


def test_a_worker_has_its_job_again(killed: Restarted) -> None:
    worker, row = killed.speaker(), killed.row()
    killed.load(row)
    says_it_runs(worker, row)
    killed.pass_time(2)
    assert killed.state(row) == "running"
    sends(worker, row, b"result")
    assert killed.state(row) == ""


def test_an_answer_that_comes_before_its_job_is_taken_and_the_job_is_not_back(killed: Restarted) -> None:
    worker, row = killed.speaker(), killed.row()
    sends(worker, row, b"result")
    killed.load(row)
    assert killed.state(row) == ""
    killed.pass_time(2)
    assert killed.grabs() == []


def test_a_job_that_was_looked_up_before_its_turn_is_in_doubt_as_well(killed: Restarted) -> None:
    row, client = killed.row(), killed.peer()
    client.send(PacketType.GET_STATUS, row.handle)
    (answer,) = killed.questions
    answer([row], killed.now)  # type: ignore[operator]
    killed.broker.settle()
    assert client.take() == [(PacketType.STATUS_RES, row.handle + b"\0" + b"1\0" + b"0\0" + b"0\0" + b"0")]
    killed.load(row)
    assert killed.grabs() == []
    killed.pass_time(1.6)
    assert killed.grabs() == [row.handle]


def test_a_limit_counts_what_may_run(ended: Restarted) -> None:
    ended.broker.use_policies({b"f": FunctionPolicy(max_running=1)})
    ran, waits = ended.row(), ended.row(was_running=False)
    ended.load(ran, waits)
    idle, worker = ended.worker(b"f"), ended.speaker()
    assert idle.grab() is None
    says_it_runs(worker, ran)
    ended.pass_time(1.6)
    assert idle.grab() is None
    sends(worker, ran, b"result")
    assert idle.grab() == waits.handle


def test_a_limit_holds_nothing_longer_than_the_wait(ended: Restarted) -> None:
    ended.broker.use_policies({b"f": FunctionPolicy(max_running=2)})
    sleeper = ended.worker(b"f")
    ended.load(ended.row(), ended.row(was_running=False))
    sleeper.send(PacketType.PRE_SLEEP)
    sleeper.take()
    ended.pass_time(1.6)
    assert sleeper.take() == [(PacketType.NOOP, b"")]


def test_once_all_jobs_are_back_words_about_others_are_not_kept(killed: Restarted) -> None:
    worker, row = killed.speaker(), killed.row()
    killed.load()
    says_it_runs(worker, row)
    sends(worker, row, b"result")
    assert len(killed.broker.orphans._words) == 0


def test_the_store_hears_of_workers_that_go_on_with_their_jobs(killed: Restarted) -> None:
    heard: list[str] = []
    killed.broker.orphans.note_speaker = lambda: heard.append("a speaker")
    killed.worker(b"f")
    assert heard == []
    killed.peer().send(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)
    assert heard == ["a speaker"]
