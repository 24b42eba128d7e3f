"""Jobs of a dead server whose workers go on with them are not run again; the others are, after a short wait."""

from __future__ import annotations

import pytest

from gearman_client.extensions import CHECKPOINT, ORPHAN_WORK, ORPHANED_JOBS_OPTION, STORE_ID, WORK_FAILURE
from gearman_client.packet import PacketType, encode_request
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate
from gearman_server.jobs.store import MemoryStore

from ..broker_harness import BrokerHarness
from .conftest import Heir, says_it_is_gone, says_it_runs, sends

RUNS = pytest.mark.parametrize("was_running", [True, False], ids=["marked", "unmarked"])


# --- nobody says a word


@RUNS
def test_a_job_without_a_word_is_queued_after_the_wait(heir: Heir, was_running: bool) -> None:
    row = heir.row(was_running=was_running)
    heir.adopt(row)
    heir.pass_time(1.4)
    assert heir.grabs() == []
    heir.pass_time(0.2)
    assert heir.grabs() == [row.handle]
    assert heir.broker.table.jobs[row.handle].attempt == 1 + was_running, "only a job that ran has lost an attempt"


def test_jobs_without_a_word_keep_their_order_ahead_of_all_others(heir: Heir) -> None:
    heir.worker(b"f")
    own = heir.peer().submit(b"f")
    rows = [heir.row(was_running=number % 3 == 0) for number in range(250)]
    heir.adopt(*rows[:120])
    heir.adopt(*rows[120:], wait_s=1.2)
    heir.adoption.end()
    heir.pass_time(1.6)
    assert heir.grabs() == [*(row.handle for row in rows), own]


def test_a_job_that_goes_on_counts_for_the_limits_of_its_key(heir: Heir) -> None:
    heir.broker.use_policies({b"f": FunctionPolicy(keys=KeyPolicy(max_running=1, rate=Rate(2, 60.0)))})
    rows = [heir.row(options=b"key=a") for _ in range(4)]
    worker = heir.speaker()
    heir.adopt(*rows)
    says_it_runs(worker, rows[0])
    heir.pass_time(2)
    assert heir.grabs() == []
    sends(worker, rows[0], b"result")
    assert heir.grabs() == [rows[1].handle]


def test_a_job_that_has_had_its_attempts_is_given_up_only_after_the_wait(heir: Heir) -> None:
    heir.broker.use_policies({b"f": FunctionPolicy(crash_retries=0)})
    kept, lost = heir.row(), heir.row()
    worker = heir.speaker()
    heir.adopt(kept, lost)
    says_it_runs(worker, kept)
    heir.pass_time(2)
    assert [heir.state(kept), heir.state(lost)] == ["running", ""]


def test_a_server_that_ended_in_order_has_written_what_waits(heir: Heir) -> None:
    waiting, running = heir.row(was_running=False), heir.row()
    heir.adopt(waiting, running, has_left=True)
    assert heir.grabs() == [waiting.handle]
    heir.pass_time(2)
    assert heir.grabs() == [running.handle]


def test_a_job_in_doubt_can_be_cancelled(heir: Heir) -> None:
    row = heir.row()
    heir.adopt(row)
    assert heir.peer("127.0.0.1").text(b"cancel job " + row.handle) == b""  # it is answered once that is written
    heir.pass_time(2)
    assert heir.state(row) == ""
    assert heir.grabs() == []
    assert heir.status(b"f")[0] == 0


# --- words


@RUNS
@pytest.mark.parametrize("is_early", [True, False], ids=["before the job", "after the job"])
def test_the_worker_of_a_job_goes_on_and_its_answer_is_taken(heir: Heir, was_running: bool, is_early: bool) -> None:
    worker, supervisor = heir.speaker(b"gm:m/f/1"), heir.speaker(b"gm:m")
    row = heir.row(was_running=was_running)
    if is_early:
        says_it_runs(supervisor, row, b"gm:m/f/1")
    heir.adopt(row)
    if not is_early:
        says_it_runs(supervisor, row, b"gm:m/f/1")
    job = heir.broker.table.jobs[row.handle]
    assert job.worker is worker.session
    assert (job.attempt, heir.status(b"f")) == (1, (1, 1, 2))
    assert heir.store.updates[-1] == (row.handle, 1), "its attempt is not lost in the store either"
    heir.pass_time(2)
    assert heir.grabs() == []
    sends(worker, row, b"result")
    assert heir.state(row) == ""
    heir.commit()


@pytest.mark.parametrize("is_early", [True, False], ids=["before the job", "after the job"])
def test_an_answer_that_the_dead_server_did_not_write_is_taken_though_its_worker_has_left(
    heir: Heir, is_early: bool
) -> None:
    worker = heir.speaker()
    row = heir.row(was_running=False)
    if not is_early:
        heir.adopt(row)
    sends(worker, row, b"result")
    worker.leave()
    if is_early:
        heir.adopt(row)
    assert heir.state(row) == ""
    heir.pass_time(2)
    assert heir.grabs() == []


def test_a_failure_counts_as_one_and_is_followed_by_a_retry(heir: Heir) -> None:
    heir.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0.0)})
    worker, row = heir.speaker(), heir.row()
    heir.adopt(row)
    sends(worker, row, b"fail", b"", b"", b"broken", b"", kind=WORK_FAILURE)
    job = heir.broker.table.jobs[row.handle]
    assert job.history is not None
    assert (job.history.failures, job.history.losses) == (1, 0)
    assert heir.grabs() == [row.handle]


def test_reports_reach_those_who_wait_and_a_checkpoint_is_kept(heir: Heir) -> None:
    worker, row = heir.speaker(), heir.row(unique=b"key")
    heir.adopt(row)
    client = heir.peer()
    client.send(PacketType.SUBMIT_JOB, b"f", b"key", b"")
    assert heir.grabs() == [], "a client that joins a job in doubt does not start it"
    sends(worker, row, b"3", b"7", kind=PacketType.WORK_STATUS)
    sends(worker, row, b"cursor", kind=CHECKPOINT)
    sends(worker, row, b"result")
    assert [packet[0] for packet in client.take()] == [
        PacketType.JOB_CREATED,
        PacketType.WORK_STATUS,
        PacketType.WORK_COMPLETE,
    ]
    assert heir.store.cursors[row.handle] == b"cursor"


def test_a_word_about_an_earlier_attempt_says_nothing(heir: Heir) -> None:
    worker = heir.speaker()
    row = heir.row(was_running=True, requeues=2)  # its second attempt was running
    sends(worker, row, b"late", attempt=1)
    heir.adopt(row)
    says_it_runs(worker, row, attempt=1)
    assert heir.state(row) == "held"
    says_it_runs(worker, row, attempt=2)
    assert heir.state(row) == "running"


def test_a_word_about_a_later_attempt_than_the_dead_server_has_written_counts(heir: Heir) -> None:
    worker = heir.speaker()
    row = heir.row(was_running=False)
    heir.adopt(row)
    says_it_runs(worker, row, attempt=3)
    assert heir.broker.table.jobs[row.handle].attempt == 3


def test_a_jobs_own_limit_goes_on(heir: Heir) -> None:
    heir.broker.use_policies({b"f": FunctionPolicy(timeout_s=60.0)})
    worker, row = heir.speaker(), heir.row()
    heir.adopt(row)
    says_it_runs(worker, row, elapsed_ms=50_000)
    heir.pass_time(9)
    assert heir.state(row) == "running"
    heir.pass_time(30)
    assert heir.state(row) == "", "it has failed, since the function has no retries"


# --- workers without a connection here


def test_a_supervisor_is_trusted_with_the_job_until_the_worker_comes(heir: Heir) -> None:
    supervisor, row = heir.speaker(b"gm:m"), heir.row()
    says_it_runs(supervisor, row, b"gm:m/f/1")
    heir.adopt(row)
    job = heir.broker.table.jobs[row.handle]
    assert job.worker is supervisor.session
    worker = heir.speaker(b"gm:m/f/1")
    sends(worker, row, b"result")
    assert heir.state(row) == ""
    supervisor.leave()
    heir.pass_time(2)
    assert heir.grabs() == []


def test_the_job_of_a_supervisor_that_is_gone_runs_again(heir: Heir) -> None:
    supervisor, row = heir.speaker(b"gm:m"), heir.row()
    says_it_runs(supervisor, row, b"gm:m/f/1")
    heir.adopt(row)
    supervisor.leave()
    assert heir.grabs() == [row.handle]


def test_a_word_of_a_supervisor_that_is_gone_is_forgotten_but_an_answer_is_not(heir: Heir) -> None:
    supervisor, worker = heir.speaker(b"gm:m"), heir.speaker(b"gm:m/f/1")
    runs, answered = heir.row(), heir.row()
    says_it_runs(supervisor, runs, b"gm:m/f/2")
    sends(worker, answered, b"result")
    supervisor.leave()
    worker.leave()
    heir.adopt(runs, answered)
    assert [heir.state(runs), heir.state(answered)] == ["held", ""]


@pytest.mark.parametrize("has_connection", [True, False])
def test_a_job_that_its_worker_has_ended_without_an_answer_runs_again(heir: Heir, has_connection: bool) -> None:
    supervisor, row = heir.speaker(b"gm:m"), heir.row()
    if has_connection:
        heir.speaker(b"gm:m/f/1")
    says_it_runs(supervisor, row, b"gm:m/f/1")
    heir.adopt(row)
    says_it_is_gone(supervisor, row, b"gm:m/f/2")
    assert heir.grabs() == [], "another worker is gone"
    says_it_is_gone(supervisor, row, b"gm:m/f/1")
    assert heir.grabs() == [row.handle]


def test_a_worker_at_another_address_is_not_meant(heir: Heir) -> None:
    supervisor, row = heir.speaker(b"gm:m"), heir.row()
    stranger = heir.speaker(b"gm:m/f/1", address="198.51.100.7")
    says_it_runs(supervisor, row, b"gm:m/f/1")
    heir.adopt(row)
    job = heir.broker.table.jobs[row.handle]
    assert job.worker is supervisor.session
    sends(stranger, row, b"forged")
    assert heir.state(row) == "running"


# --- what is not of the protocol


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PacketType.SUBMIT_JOB, (b"f", b"", b"")),
        (PacketType.WORK_COMPLETE, (b"H:dead:0", b"result")),  # another job
    ],
)
def test_other_packets_than_those_of_the_jobs_worker_end_the_connection(
    heir: Heir, kind: int, arguments: tuple[bytes, ...]
) -> None:
    worker, row = heir.speaker(), heir.row()
    worker.send(ORPHAN_WORK, row.handle, b"1", encode_request(kind, *arguments))
    assert worker.session.ending is not None


def test_the_jobs_of_a_server_without_a_durable_store_have_no_heirs() -> None:
    peer = BrokerHarness(BrokerSettings(), MemoryStore()).peer()
    assert peer.ask(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)[-1] == (STORE_ID, b"")
