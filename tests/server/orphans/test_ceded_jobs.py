"""A server whose jobs are others' now does not decide about those that its workers run."""

from __future__ import annotations

import pytest

from gearman_client.extensions import JOBS_COMPLETE, ORPHAN_GONE, ORPHAN_RUNS, ORPHAN_WORK
from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser, PacketType, encode_request
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import Peer
from .conftest import Heir, sends


class Fenced(Heir):
    """It had a job, which its worker runs, when it was declared dead."""

    def __init__(self) -> None:
        super().__init__()
        self._told = b""
        part = self.broker.part
        assert part is not None
        part.ceded_jobs.tell = self._note
        self.handle = self.background(b"key")
        #: A client that waits for that job.
        self.waiting = self.peer()
        assert self.waiting.submit(b"f", b"w", b"key") == self.handle
        self.holder: Peer = self.worker(b"f")
        assert self.holder.grab() == self.handle
        part.durable_jobs.withhold()
        part.durable_jobs.let_go(part.durable_jobs.give_out)
        self.do_chores()

    def background(self, unique: bytes = b"") -> bytes:
        client = self.peer()
        client.send(PacketType.SUBMIT_JOB_BG, b"f", unique, b"w")
        self.commit()
        ((_, handle),) = client.take()
        return handle

    def _note(self, packet: bytes) -> None:
        self._told += packet

    def told(self) -> list[Packet]:
        """What the others were told since the last call."""
        told, self._told = self._told, b""
        return list(PacketParser(REQUEST_MAGIC).feed(told))


@pytest.fixture
def fenced() -> Fenced:
    return Fenced()


def test_the_others_are_told_that_it_runs_and_what_its_worker_says(fenced: Fenced) -> None:
    holder, handle = fenced.holder, fenced.handle
    ((kind, body),) = fenced.told()
    assert (kind, body) == (ORPHAN_RUNS, handle + b"\0-\0" + b"1\0" + b"0")
    for kind, *arguments in ((PacketType.WORK_STATUS, b"1", b"2"), (PacketType.WORK_COMPLETE, b"result")):
        holder.send(kind, handle, *arguments)
        assert fenced.told() == [(ORPHAN_WORK, handle + b"\0" + b"1\0" + encode_request(kind, handle, *arguments))]
    assert handle not in fenced.broker.table.jobs
    later = fenced.background()
    assert holder.grab() == later
    holder.send(PacketType.WORK_COMPLETE, later, b"")
    assert fenced.told() == []


def test_an_end_among_those_of_other_jobs_is_handed_on_too(fenced: Fenced) -> None:
    fenced.told()
    own = fenced.background()
    assert fenced.holder.grab() == own
    fenced.holder.send(JOBS_COMPLETE, own, fenced.handle)
    complete = encode_request(PacketType.WORK_COMPLETE, fenced.handle, b"")
    assert fenced.told() == [(ORPHAN_WORK, fenced.handle + b"\0" + b"1\0" + complete)]
    assert fenced.waiting.take() == [(PacketType.WORK_COMPLETE, fenced.handle + b"\0")]
    assert own not in fenced.broker.table.jobs


@pytest.mark.parametrize("how", ["it fails", "its worker leaves"])
def test_whether_it_runs_again_is_not_decided_here(fenced: Fenced, how: str) -> None:
    fenced.broker.use_policies({b"f": FunctionPolicy(retries=3, backoff_s=0.0)})
    fenced.told()
    if how == "it fails":
        fenced.holder.send(PacketType.WORK_FAIL, fenced.handle)
        assert [kind for kind, _ in fenced.told()] == [ORPHAN_WORK]
    else:
        fenced.holder.leave()
        assert fenced.told() == [(ORPHAN_GONE, fenced.handle + b"\0-")]
    assert fenced.grabs() == []
    assert fenced.handle not in fenced.broker.table.jobs


def test_the_server_may_adopt_it_itself_and_its_worker_has_it_still(fenced: Fenced) -> None:
    row = fenced.row(handle=fenced.handle)
    fenced.adopt(row)
    job = fenced.broker.table.jobs[fenced.handle]
    assert (job.worker, job.attempt, fenced.status(b"f")) == (fenced.holder.session, 1, (1, 1, 1))
    assert fenced.store.updates[-1] == (fenced.handle, 1)
    fenced.told()
    sends(fenced.holder, row, b"result", kind=PacketType.WORK_COMPLETE)
    assert (fenced.state(row), fenced.told()) == ("", [])


def test_the_server_may_adopt_it_after_its_worker_has_answered_and_takes_the_answer(fenced: Fenced) -> None:
    fenced.holder.send(PacketType.WORK_COMPLETE, fenced.handle, b"result")
    row = fenced.row(handle=fenced.handle)
    fenced.adopt(row)
    assert fenced.state(row) == ""
    assert fenced.handle not in fenced.broker.table.jobs
    assert fenced.grabs() == []


def test_a_job_that_the_server_adopts_after_its_worker_has_left_runs_again(fenced: Fenced) -> None:
    fenced.holder.leave()
    row = fenced.row(handle=fenced.handle)
    fenced.adopt(row)
    fenced.pass_time(2)
    assert fenced.worker(b"f").grab() == fenced.handle


def test_a_client_that_waits_here_hears_that_its_worker_is_gone(fenced: Fenced) -> None:
    fenced.holder.leave()
    assert fenced.waiting.take() == [(PacketType.WORK_FAIL, fenced.handle)]


# --- the adopter


def test_a_word_that_comes_late_counts_if_no_worker_has_got_the_job(heir: Heir) -> None:
    first, second = heir.row(), heir.row(was_running=False)
    heir.adopt(first, second)
    heir.pass_time(2)
    assert heir.worker(b"f").grab() == first.handle
    worker = heir.speaker()
    sends(worker, first, b"result")
    sends(worker, second, b"result")
    assert [heir.state(first), heir.state(second)] == ["running", ""]


def test_a_late_word_restores_the_attempt(heir: Heir) -> None:
    row = heir.row()
    heir.adopt(row)
    heir.pass_time(2)
    worker = heir.speaker()
    worker.send(ORPHAN_RUNS, row.handle, b"", b"1", b"0")
    job = heir.broker.table.jobs[row.handle]
    assert (job.attempt, job.worker) == (1, worker.session)
    assert heir.grabs() == []


def test_a_peer_hands_on_the_words_of_a_worker_that_is_here_too(heir: Heir) -> None:
    worker, row = heir.speaker(b"gm:m/f/1"), heir.row()
    peer = heir.peer("198.51.100.7")
    peer.session.is_peer = True
    heir.adopt(row)
    peer.send(ORPHAN_RUNS, row.handle, b"gm:m/f/1", b"1", b"0")
    job = heir.broker.table.jobs[row.handle]
    assert job.worker is worker.session
    peer.send(ORPHAN_GONE, row.handle, b"gm:m/f/1")
    assert job.worker is worker.session  # it may speak for itself
    packet = encode_request(PacketType.WORK_COMPLETE, row.handle, b"result")
    peer.send(ORPHAN_WORK, row.handle, b"1", packet)
    assert heir.state(row) == ""
