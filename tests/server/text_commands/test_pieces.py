"""Long answers to text commands come in pieces, as the peer reads them; what follows on the connection waits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_client.packet import Packet, PacketType
from gearman_server.broker import Broker
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs import session as session_module
from gearman_server.jobs.access import EVERYBODY, Identity
from gearman_server.jobs.session import Session
from gearman_server.jobs.store import MemoryStore
from gearman_server.text_commands import tables
from gearman_server.text_commands.tables import PIECE_BYTES, PIECE_LINES

from ..broker_harness import FACTS, BrokerHarness

MANY = 20 * PIECE_LINES
STATUS = (0, b"status")
ECHO = (PacketType.ECHO_REQ, b"behind")
ECHOED = b"\0RES\x00\x00\x00\x11\x00\x00\x00\x06behind"


@pytest.fixture
def crowded(broker: BrokerHarness) -> BrokerHarness:
    """A broker with very many functions."""
    broker.worker(*(b"f%d" % number for number in range(MANY)))
    return broker


@pytest.mark.parametrize("command", [b"status", b"prioritystatus", b"workers"])
def test_a_request_makes_one_piece_of_a_long_answer_however_many_are_in_the_read(
    crowded: BrokerHarness, command: bytes
) -> None:
    peer = crowded.peer()
    peer.begin(*[(0, command)] * 200)
    first = peer.take_bytes()
    assert 0 < first.count(b"f") <= 4 * PIECE_LINES + 64
    peer.session.send_piece()
    assert 0 < peer.take_bytes().count(b"f") <= 4 * PIECE_LINES + 64


@pytest.mark.parametrize("command", [b"show jobs", b"show unique jobs"])
def test_lists_of_jobs_come_in_pieces(broker: BrokerHarness, command: bytes) -> None:
    peer = broker.peer()
    for number in range(3 * PIECE_LINES):
        peer.submit(b"f", unique=b"u%d" % number, kind="SUBMIT_JOB_BG")
    peer.begin((0, command))
    assert peer.take_bytes().count(b"\n") <= PIECE_LINES + 32
    peer.have_turns()
    assert peer.take_bytes().endswith(b"\n.\n")


def test_a_piece_of_long_names_is_bounded_in_bytes(broker: BrokerHarness) -> None:
    broker.worker(*(b"%d" % number + b"x" * 8000 for number in range(100)))
    for command in (b"status", b"workers"):
        peer = broker.peer()
        peer.begin((0, command))
        peer.take_bytes()
        while peer.session.has_piece:
            peer.session.send_piece()
            assert len(peer.take_bytes()) <= 32 * 4 * 8192 + PIECE_BYTES


def test_the_pieces_are_the_whole_table_and_the_requests_behind_it_are_answered_in_order(
    crowded: BrokerHarness,
) -> None:
    peer = crowded.peer()
    peer.begin(STATUS, ECHO, (0, b"version"), ECHO)
    peer.have_turns()
    table = b"".join(b"f%d\t0\t0\t1\n" % number for number in range(MANY)) + b".\n"
    assert peer.take_bytes() == table + ECHOED + b"OK 1.2.3\n" + ECHOED


def test_packets_from_others_wait_until_a_table_is_complete(crowded: BrokerHarness) -> None:
    peer, worker = crowded.peer(), crowded.worker(b"g")
    handle = peer.submit(b"g")
    worker.grab()
    peer.begin(STATUS)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    peer.have_turns()
    table, _, rest = peer.take_bytes().partition(b"\n.\n")
    assert table.count(b"\n") == MANY  # g's line is the last
    assert rest == b"\0RES\x00\x00\x00\x0d" + (len(handle) + 2).to_bytes(4, "big") + handle + b"\0r"


def test_a_function_that_is_dropped_meanwhile_has_no_line_and_a_new_one_none_yet(broker: BrokerHarness) -> None:
    operator = broker.peer()
    for number in range(3 * PIECE_LINES):
        operator.text(b"create function f%d" % number)
    peer = broker.peer()
    peer.begin(STATUS)
    last = b"f%d" % (3 * PIECE_LINES - 1)
    operator.text(b"drop function " + last)
    operator.text(b"create function later")
    peer.have_turns()
    lines = peer.take_bytes().splitlines()
    assert last + b"\t0\t0\t0" not in lines
    assert b"later\t0\t0\t0" not in lines
    assert len(lines) == 3 * PIECE_LINES


def test_a_slow_reader_of_the_jobs_keeps_none_that_has_ended(broker: BrokerHarness) -> None:
    client = broker.peer()
    handles = [client.submit(b"f", kind="SUBMIT_JOB_BG") for _ in range(3 * PIECE_LINES)]
    peer = broker.peer()
    peer.begin((0, b"show jobs"))
    client.text(b"cancel job " + handles[-1])
    peer.have_turns()
    answer = peer.take_bytes()
    assert handles[-1] + b"\t" not in answer
    assert answer.count(b"\n") == len(handles)


def test_a_connection_that_is_lost_in_the_middle_of_an_answer_leaves_nothing(crowded: BrokerHarness) -> None:
    peer = crowded.peer()
    peer.begin(STATUS, ECHO)
    peer.leave()
    assert not peer.session.has_piece
    assert not peer.session.can_go_on
    assert peer.session.rest is None


# --- however requests are cut into turns, the answers are the same

NAMES = [b"f", b"g", b"h"]
#: Without PRE_SLEEP: sleepers are woken at the end of a pass, so the place of a NOOP depends on the passes.
REQUESTS: st.SearchStrategy[Packet] = st.one_of(
    st.sampled_from([STATUS, (0, b"prioritystatus"), (0, b"show jobs"), (0, b"workers"), (0, b"version"), (0, b"no")]),
    st.sampled_from([ECHO, (PacketType.GRAB_JOB, b""), (PacketType.RESET_ABILITIES, b"")]),
    st.builds(lambda name: (PacketType.CAN_DO, name), st.sampled_from(NAMES)),
    st.builds(lambda name: (PacketType.CANT_DO, name), st.sampled_from(NAMES)),
    st.builds(
        lambda kind, name, unique: (kind, b"\0".join((name, unique, b"w"))),
        st.sampled_from([PacketType.SUBMIT_JOB, PacketType.SUBMIT_JOB_BG, PacketType.SUBMIT_JOB_HIGH]),
        st.sampled_from(NAMES),
        st.sampled_from([b"", b"u"]),
    ),
    st.builds(lambda name: (0, b"drop function " + name), st.sampled_from(NAMES)),
    st.builds(lambda number: (0, b"cancel job H:test:%d" % number), st.integers(1, 9)),
    st.builds(lambda number: (PacketType.WORK_COMPLETE, b"H:test:%d\0r" % number), st.integers(1, 9)),
    st.builds(lambda number: (PacketType.GET_STATUS, b"H:test:%d" % number), st.integers(1, 9)),
)


def answers(reads: list[list[Packet]]) -> bytes:
    """All bytes that one peer is sent when its requests come in these reads."""
    settings = BrokerSettings(handle_prefix=b"H:test", admin_allow=EVERYBODY, grab_patience_s=0.0)
    broker = Broker(MemoryStore(), settings, FACTS, lambda: 0.0, lambda: 0.5)
    session = broker.connect(Identity("192.0.2.1"), number=1)
    sent = b""
    for read in reads:
        broker.receive(session, read, 1.0)
        sent += _played_out(broker, session)
    return sent


def _played_out(broker: Broker, session: Session) -> bytes:
    broker.settle()
    while session.has_piece or session.can_go_on:
        if session.has_piece:
            session.send_piece()
        else:
            broker.go_on(session, 1.0)
        broker.settle()
    data = b"".join(session.out)
    session.out.clear()
    return data


@pytest.fixture
def tiny_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packets in a turn, and one line in a piece."""
    monkeypatch.setattr(session_module, "PACKETS_AT_ONCE", 2)
    monkeypatch.setattr(tables, "PIECE_LINES", 1)
    monkeypatch.setattr(tables, "_LINES_AT_ONCE", 1)


@pytest.mark.usefixtures("tiny_turns")
def test_answers_do_not_depend_on_how_requests_are_cut_into_reads_and_turns() -> None:
    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(REQUESTS, min_size=2, max_size=30), st.data())
    def check(requests: list[Packet], data: st.DataObject) -> None:
        cut = data.draw(st.integers(1, len(requests)))
        assert answers([requests[:cut], requests[cut:]]) == answers([[request] for request in requests])

    check()
