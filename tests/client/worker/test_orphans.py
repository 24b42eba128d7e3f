"""What a worker keeps of its last answers, and tells other servers of them, is bounded."""

from __future__ import annotations

from collections.abc import Set

from gearman_client.address import Address
from gearman_client.extensions import ORPHAN_RUNS
from gearman_client.packet import encode_request
from gearman_client.worker.link_context import WORD_PAUSE_S, LinkContext
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.orphans import MAX_SENT, MAX_SENT_BYTES, MAX_TOLD_BYTES, SENT_S, TELL_S, Orphans, SentAnswers
from gearman_client.worker.readiness import Readiness
from gearman_client.worker.worker_settings import WorkerSettings


class Server:
    """A link that notes what it is told."""

    def __init__(self, store_id: bytes) -> None:
        self.store_id = store_id
        self.told: list[bytes] = []
        self.listened = 0

    def hear(self) -> None:
        """It is known already."""

    def listen(self) -> None:
        self.listened += 1

    def note_dead(self, dead: Set[Address]) -> None:
        """It lives."""

    def pass_on(self, packet: bytes) -> None:
        self.told.append(packet)

    def is_stopped(self, handle: bytes) -> bool:
        return handle == b"H:stopped"


def test_the_last_answers_are_kept_for_a_while() -> None:
    sent = SentAnswers()
    for at in range(4):
        sent.note((float(at), b"%d" % at, 1, b"answer"))
    assert [answer.handle for answer in sent.take(SENT_S + 1.5)] == [b"2", b"3"]
    assert sent.take(3.0) == []


def test_only_so_many_answers_are_kept_and_only_so_many_bytes() -> None:
    sent = SentAnswers()
    for number in range(MAX_SENT + 5):
        sent.note((0.0, b"%d" % number, 1, b""))
    assert next(answer.handle for answer in sent.take(0.0)) == b"5"
    sent.note((0.0, b"small", 1, b"x"))
    sent.note((0.0, b"large", 1, b"x" * MAX_SENT_BYTES))
    assert [answer.handle for answer in sent.take(0.0)] == [b"large"]
    sent.note((0.0, b"larger", 1, b"x" * (MAX_SENT_BYTES + 1)))
    assert sent.take(0.0) == []


def test_only_servers_with_the_same_store_are_told_and_those_that_come_up_soon() -> None:
    orphans, same, other = Orphans(), Server(b"store"), Server(b"another")
    orphans.links = lambda: (same, other)
    assert orphans.tell(b"store", b"word", 0.0)
    assert not orphans.tell(b"", b"of a server without a store", 0.0)
    assert (same.told, other.told) == ([b"word"], [])
    for late, is_told in ((TELL_S, True), (TELL_S + 0.1, False)):
        back = Server(b"store")
        orphans.greet(back, late)
        assert bool(back.told) is is_told
    assert orphans.is_stopped(b"store", b"H:stopped")
    assert not orphans.is_stopped(b"another store", b"H:stopped")


def test_what_is_kept_for_servers_that_come_up_has_a_bound() -> None:
    orphans, back = Orphans(), Server(b"store")
    for _ in range(3):
        orphans.tell(b"store", b"x" * (MAX_TOLD_BYTES // 2), 0.0)
    orphans.greet(back, 0.0)
    assert len(back.told) == 2


def runs(elapsed_ms: int) -> bytes:
    return encode_request(ORPHAN_RUNS, b"H:1", b"", b"2", b"%d" % elapsed_ms)


def test_a_server_that_comes_up_is_told_of_a_job_for_as_long_as_it_runs() -> None:
    orphans, other = Orphans(), Server(b"another")
    orphans.links = lambda: (other,)
    orphans.goes_on(b"store", b"H:1", 2, 10.0, 11.0)
    back = Server(b"store")
    orphans.greet(back, 10.0 + 3 * TELL_S)
    assert (back.told, other.told) == ([runs(int(3000 * TELL_S))], [])
    orphans.ended(b"store", b"H:1")
    orphans.greet(back, 10.0 + 3 * TELL_S)
    assert len(back.told) == 1
    assert not orphans.has_words


def test_an_answer_is_lost_only_once_no_server_can_be_told_of_it_any_more() -> None:
    orphans, back = Orphans(), Server(b"store")
    lost: list[str] = []
    for name, told_at in (("told", 0.0), ("late", 1.0), ("open", TELL_S + 1.5)):
        orphans.tell(b"store", name.encode(), told_at, lambda name=name: lost.append(name))  # type: ignore[misc]
        if name == "told":
            orphans.greet(back, 0.5)
    assert lost == ["late"]
    orphans.close()
    assert lost == ["late", "open"]


def test_a_worker_that_has_something_to_tell_tries_often() -> None:
    context = LinkContext(WorkerSettings(max_backoff_s=30.0), WorkerObserver(), Readiness())
    assert context.backoff_s(12) > 10
    context.orphans.tell(b"store", b"word", 0.0)
    assert context.backoff_s(12) <= WORD_PAUSE_S
