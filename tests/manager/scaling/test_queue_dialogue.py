"""The dialogue with a job server about its queues, byte by byte, without a socket."""

from __future__ import annotations

import pytest

from gearman_client import AdminError, ProtocolError
from gearman_client.extensions import (
    JOB_STOPPING,
    JOB_STOPPING_OPTION,
    ORPHANED_JOBS_OPTION,
    QUEUE_CHANGED,
    QUEUE_EVENTS_OPTION,
    SERVER_TROUBLE,
    SERVER_TROUBLES_OPTION,
    SERVERS,
    SERVERS_OPTION,
    STORE_ID,
)
from gearman_client.packet import PacketType, encode_request, encode_response
from gearman_manager.scaling.queue_dialogue import (
    ANSWER_TIMEOUT_S,
    MAX_ANSWER_BYTES,
    FunctionQueue,
    Hold,
    QueueDialogue,
)

OPTION_RES = encode_response(PacketType.OPTION_RES, QUEUE_EVENTS_OPTION)
TROUBLES = encode_request(PacketType.OPTION_REQ, SERVER_TROUBLES_OPTION)
ORPHANS = encode_request(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)
STOPS = encode_request(PacketType.OPTION_REQ, JOB_STOPPING_OPTION)
CLUSTER = encode_request(PacketType.OPTION_REQ, SERVERS_OPTION)
UNKNOWN_OPTION = encode_response(PacketType.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
STATUS = b"mail\t3\t1\t2\nsms\t0\t0\t0\n.\n"
WORKERS = b"30 127.0.0.1 gm:a :\n31 127.0.0.1 gm:b/mail/1 : mail\n32 127.0.0.1 - : mail\n.\n"
MAIL = FunctionQueue(queued=2, running=1, workers=2, waiting=2)


def changed(function: bytes, *counts: int) -> bytes:
    waiting = counts[:1] if len(counts) == 3 else ()  # without a fourth count, all waiting jobs can be started
    return encode_response(QUEUE_CHANGED, function, *(b"%d" % count for count in (*counts, *waiting)))


def dialogue(option_answer: bytes) -> QueueDialogue:
    """A dialogue that has received both tables at the time 0."""
    talk = QueueDialogue("gm:a")
    talk.greet(0.0)
    assert talk.ask(0.0) == b""
    talk.feed(option_answer, 0.0)
    assert talk.ask(0.0) == b"status\n"
    assert talk.feed(STATUS, 0.0)
    assert not talk.is_informed
    assert talk.ask(0.0) == b"workers\n"
    assert talk.feed(WORKERS, 0.0)
    assert talk.is_informed
    if talk.is_pushed:
        for later in (TROUBLES, STOPS, ORPHANS, CLUSTER):
            assert talk.ask(talk.wakes_at()) == later
            assert not talk.feed(UNKNOWN_OPTION, 0.0)
    return talk


def test_the_greeting_names_the_connection_and_asks_for_events() -> None:
    assert QueueDialogue("gm:a").greet(0.0) == encode_request(PacketType.SET_CLIENT_ID, b"gm:a") + encode_request(
        PacketType.OPTION_REQ, QUEUE_EVENTS_OPTION
    )
    without = QueueDialogue("gm:a", offer_events=False)
    assert without.greet(0.0) == encode_request(PacketType.SET_CLIENT_ID, b"gm:a")
    assert without.ask(0.0) == b"status\n"


def test_both_tables_are_known_after_the_first_round() -> None:
    talk = dialogue(UNKNOWN_OPTION)
    assert talk.functions == {"mail": MAIL, "sms": FunctionQueue()}
    assert talk.peers.supervisors == {"a"}
    assert talk.peers.managers == {"mail": {"b"}}
    assert talk.peers.unlabelled == (frozenset({"mail"}),)


def test_a_server_without_events_is_asked_often_while_jobs_wait_and_seldom_otherwise() -> None:
    talk = dialogue(UNKNOWN_OPTION)
    assert talk.wakes_at() == pytest.approx(0.1)
    assert talk.ask(0.1) == b"status\n"
    talk.feed(b"mail\t1\t1\t2\nsms\t0\t0\t0\n.\n", 0.1)
    assert talk.functions["mail"] == FunctionQueue(0, 1, 2, 0)
    assert talk.wakes_at() == pytest.approx(1.0)


def test_a_server_with_events_reports_its_changes() -> None:
    talk = dialogue(OPTION_RES)
    assert talk.wakes_at() == pytest.approx(1.0)
    assert talk.feed(changed(b"mail", 9, 1, 2), 0.2)
    assert talk.functions["mail"] == FunctionQueue(9, 1, 2, 9)
    assert not talk.feed(changed(b"mail", 9, 1, 2), 0.3)
    assert talk.feed(changed(b"new", 1, 0, 0), 0.4)
    assert talk.functions["new"] == FunctionQueue(1, 0, 0, 1)
    assert talk.wakes_at() == pytest.approx(0.5)  # the function is new, so the workers table is asked for its workers


def test_a_server_with_events_tells_of_pauses_and_brakes() -> None:
    talk = dialogue(OPTION_RES)
    assert talk.feed(changed(b"mail", 0, 1, 2, 2, 1500, 0, 0, 0), 0.2)
    assert talk.functions["mail"] == FunctionQueue(0, 1, 2, 2, hold=Hold(1.5))
    assert talk.feed(changed(b"mail", 0, 1, 2, 2, 0, 0, 0, 3500), 0.3)
    assert talk.functions["mail"].hold == Hold(throttled_until=3.5)
    assert talk.feed(changed(b"mail", 0, 1, 2, 2, 0, 2500, 4500, 0), 0.3)
    assert talk.functions["mail"].hold == Hold(0.0, 2.5, 4.5)
    now = talk.wakes_at()
    while talk.ask(now) != b"status\n":  # the table of all counts does not tell of it
        talk.feed(WORKERS, now)
        now = talk.wakes_at()
    talk.feed(STATUS, now)
    assert talk.functions["mail"] == FunctionQueue(0, 1, 2, 2, hold=Hold(0.0, 2.5, 4.5))
    assert talk.feed(changed(b"mail", 2, 1, 2), now)
    assert talk.functions["mail"] == MAIL
    with pytest.raises(ProtocolError, match="not a queue's state"):
        talk.feed(encode_response(QUEUE_CHANGED, b"mail", b"0", b"1", b"2", b"2", b"1500"), now)


def test_a_server_with_events_is_asked_once_for_its_troubles_stops_store_and_cluster() -> None:
    talk = QueueDialogue("gm:a")
    talk.greet(0.0)
    talk.feed(OPTION_RES, 0.0)
    for question, answer in ((b"status\n", STATUS), (b"workers\n", WORKERS)):
        assert talk.ask(0.0) == question
        talk.feed(answer, 0.0)
    assert talk.ask(0.1) == TROUBLES
    answer = encode_response(PacketType.OPTION_RES, SERVER_TROUBLES_OPTION)
    assert not talk.feed(answer + encode_response(SERVER_TROUBLE, b""), 0.1)
    assert talk.feed(encode_response(SERVER_TROUBLE, b"disk full"), 0.2)
    assert talk.trouble == "disk full"
    assert not talk.feed(encode_response(SERVER_TROUBLE, b"disk full"), 0.3)
    assert talk.feed(encode_response(SERVER_TROUBLE, b""), 0.4)
    assert talk.trouble == ""
    assert talk.ask(0.5) == STOPS
    stop = encode_response(JOB_STOPPING, b"gm:a/mail/1", b"127.0.0.1:5000", b"H:box:1")
    assert not talk.feed(encode_response(PacketType.OPTION_RES, JOB_STOPPING_OPTION) + stop + stop, 0.5)
    assert talk.stops == [("gm:a/mail/1", "127.0.0.1:5000", "H:box:1")] * 2
    assert talk.ask(0.6) == ORPHANS
    orphans = encode_response(PacketType.OPTION_RES, ORPHANED_JOBS_OPTION) + encode_response(STORE_ID, b"store")
    assert not talk.feed(orphans, 0.6)
    assert talk.store_id == b"store"
    assert talk.ask(0.6) == CLUSTER
    servers = encode_response(SERVERS, b"1\ta\ta:1\t1.0\talive\t1\n")
    assert not talk.feed(encode_response(PacketType.OPTION_RES, SERVERS_OPTION) + servers, 0.6)
    assert talk.cluster == b"1\ta\ta:1\t1.0\talive\t1\n"
    assert talk.ask(0.6) == b""
    with pytest.raises(ProtocolError, match="not a job that is to be stopped"):
        talk.feed(encode_response(JOB_STOPPING, b"H:box:1"), 0.7)


def test_jobs_that_could_not_be_started_do_not_count_as_waiting() -> None:
    talk = dialogue(OPTION_RES)
    talk.feed(changed(b"mail", 0, 1, 2, 2), 0.2)  # for example because its rate is used up
    assert talk.ask(10.0) == b"status\n"
    talk.feed(STATUS, 10.0)
    assert talk.functions["mail"] == FunctionQueue(0, 1, 2, waiting=2)


def test_a_lost_change_is_found_by_asking() -> None:
    talk = dialogue(OPTION_RES)
    questions = []
    for moment in range(1, 11):
        questions.append(talk.ask(float(moment)))
        talk.feed(WORKERS if questions[-1] == b"workers\n" else b"mail\t0\t0\t2\n.\n", float(moment))
    assert questions == [b"workers\n"] * 9 + [b"status\n"]
    assert talk.functions == {"mail": FunctionQueue(0, 0, 2, 0)}


def test_when_the_number_of_workers_changes_the_workers_table_is_asked_for_soon() -> None:
    talk = dialogue(OPTION_RES)
    talk.feed(changed(b"mail", 2, 1, 3), 0.3)
    assert talk.wakes_at() == pytest.approx(0.4)
    assert talk.ask(0.4) == b"workers\n"


def test_packets_between_question_and_answer_are_understood_byte_by_byte() -> None:
    talk = QueueDialogue("gm:a")
    talk.greet(0.0)
    stream = OPTION_RES + changed(b"mail", 2, 1, 2) + changed(b"sms", 0, 0, 0)
    for number in range(len(stream)):
        talk.feed(stream[number : number + 1], 0.0)
    assert talk.is_pushed
    assert talk.ask(0.0) == b"status\n"
    for number in range(len(STATUS)):
        talk.feed(STATUS[number : number + 1], 0.0)
    assert talk.ask(0.0) == b"workers\n"
    stream = changed(b"mail", 7, 1, 2) + WORKERS + changed(b"mail", 8, 1, 2)
    for number in range(len(stream)):
        talk.feed(stream[number : number + 1], 0.0)
    assert talk.functions["mail"].queued == 8
    assert talk.peers.supervisors == {"a"}


@pytest.mark.parametrize("answer", [b".\n", b"ERR UNKNOWN_COMMAND Unknown+server+command\r\n", b"what is that\n.\n"])
def test_a_server_that_lists_no_workers_is_useful_nevertheless(answer: bytes) -> None:
    talk = QueueDialogue("gm:a", offer_events=False)
    talk.greet(0.0)
    talk.ask(0.0)
    talk.feed(STATUS, 0.0)
    talk.ask(0.0)
    assert talk.feed(answer, 0.0)
    assert talk.is_informed
    assert talk.peers.supervisors == frozenset()


def test_a_missing_answer_is_overdue_even_while_changes_come() -> None:
    talk = dialogue(OPTION_RES)
    assert talk.ask(1.0) == b"workers\n"
    talk.feed(changed(b"mail", 1, 1, 2), 2.0)
    assert talk.wakes_at() == 1.0 + ANSWER_TIMEOUT_S
    assert not talk.is_overdue(1.0 + ANSWER_TIMEOUT_S - 0.01)
    assert talk.is_overdue(1.0 + ANSWER_TIMEOUT_S)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\0RES\0\0\0\x0a\0\0\0\0",  # NO_JOB
        b"\0REQ\0\0\x03\xe9\0\0\0\0",
        b"\0RES\0\0\x03\xe9\xff\xff\xff\xff",
        b"\0what is this",
        b"text that nobody asked for\n",
        encode_response(PacketType.ERROR, b"code", b"text"),
        changed(b"mail", 1, 2),
        encode_response(QUEUE_CHANGED, b"mail", b"-1", b"x", b"3"),
    ],
)
def test_an_answer_that_can_not_be_understood_ends_the_dialogue(nonsense: bytes) -> None:
    with pytest.raises(ProtocolError):
        dialogue(OPTION_RES).feed(nonsense, 0.5)


@pytest.mark.parametrize("answer", [b"mail\t1\t2\n.\n", b"mail\tone\t0\t0\n.\n", b"ERR no\r\n"])
def test_a_broken_status_ends_the_dialogue(answer: bytes) -> None:
    talk = QueueDialogue("gm:a", offer_events=False)
    talk.greet(0.0)
    talk.ask(0.0)
    with pytest.raises(AdminError):
        talk.feed(answer, 0.0)


def test_an_endless_answer_is_not_stored() -> None:
    talk = QueueDialogue("gm:a", offer_events=False)
    talk.greet(0.0)
    talk.ask(0.0)
    line = b"mail\t0\t0\t0\n"
    talk.feed(line * (MAX_ANSWER_BYTES // len(line)), 0.0)
    with pytest.raises(ProtocolError, match="more than"):
        talk.feed(line * 2, 0.0)


def test_a_new_name_is_told_with_the_next_question_and_the_connections_are_asked_for() -> None:
    talk = dialogue(UNKNOWN_OPTION)
    talk.client_id = "gm:a+123456"
    assert talk.ask(0.01) == encode_request(PacketType.SET_CLIENT_ID, b"gm:a+123456") + b"workers\n"
    assert talk.feed(WORKERS.replace(b"gm:a ", b"gm:a+123456 "), 0.02)
    assert talk.peers.announced == {"123456": {"a"}}
    assert talk.ask(0.03) == b""
