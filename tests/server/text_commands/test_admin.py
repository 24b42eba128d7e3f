"""The text commands, byte for byte: monitoring tools parse these answers."""

from __future__ import annotations

import pytest

from ..broker_harness import BrokerHarness

UNKNOWN = b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"
INCOMPLETE = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"version", b"OK 1.2.3\n"),
        (b"version\r", b"OK 1.2.3\n"),
        (b"VERSION and some more words", b"OK 1.2.3\n"),
        (b"vers\0ion", UNKNOWN % b"vers"),
        (b"verbose", b"OK INFO\n"),
        (b"getpid", b"OK 4242\n"),
        (b"facts", b"version\t1.2.3\npid\t4242\nstore\tmemory\nconnections\t1\njobs\t0\n.\n"),
        (b"status", b".\n"),
        (b"status  extra", b".\n"),
        (b"prioritystatus", b".\n"),
        (b"show jobs", b".\n"),
        (b"SHOW Unique JOBS", b".\n"),
        (b"", UNKNOWN % b""),
        (b" status", UNKNOWN % b""),
        (b"version\t", UNKNOWN % b"version\t"),
        (b"shutdown", UNKNOWN % b"shutdown"),
        (b"nonsense 1 2", UNKNOWN % b"nonsense"),
        (b"show", UNKNOWN % b"show"),
        (b"show unique", b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"),
        (b"show foo", b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"),
        (b"cancel", UNKNOWN % b"cancel"),
        (b"cancel job", UNKNOWN % b"cancel"),
        (b"cancel foo bar", b"ERR UNKNOWN_ERROR\r\n"),
        (b"cancel job H:x:1", b"ERR UNKNOWN_JOB\r\n"),
        (b"create function", INCOMPLETE % b"create"),
        (b"create foo bar", INCOMPLETE % b"create"),
        (b"drop function", INCOMPLETE % b"drop"),
        (b"drop function f", b"ERR function not found\r\n"),
        (b"maxqueue", INCOMPLETE % b"maxqueue"),
        (b"maxqueue f 1", b"OK\r\n"),
    ],
)
def test_the_answer_to_a_line_on_an_empty_server(broker: BrokerHarness, line: bytes, answer: bytes) -> None:
    assert broker.peer().text(line) == answer


def test_six_words_close_the_connection_without_an_answer(broker: BrokerHarness) -> None:
    peer = broker.peer()
    assert peer.text(b"a b c d e f") == b""
    assert peer.session.ending is not None


def test_status_counts_all_running_and_workers(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    broker.worker(b"f", b"g")
    for _ in range(3):
        client.submit(b"f")
    worker.grab()
    assert client.text(b"status") == b"f\t3\t1\t2\ng\t0\t0\t1\n.\n"


def test_prioritystatus_counts_waiting_jobs(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for kind, count in (("SUBMIT_JOB_HIGH", 3), ("SUBMIT_JOB_BG", 2), ("SUBMIT_JOB_LOW", 1)):
        for _ in range(count):
            client.submit(b"f", kind=kind)
    worker.grab()
    assert client.text(b"prioritystatus") == b"f\t2\t2\t1\t1\n.\n"


def test_workers_lists_every_connection_with_its_id_and_functions(broker: BrokerHarness) -> None:
    asker = broker.peer()
    worker = broker.worker(b"fa", b"fb")
    worker.send(22, b"worker one")
    broker.peer().send(22, b"")
    assert asker.text(b"workers") == (b"1 192.0.2.1 - :\n2 192.0.2.1 worker one : fa fb\n3 192.0.2.1  :\n.\n")


def test_show_jobs_and_show_unique_jobs(broker: BrokerHarness) -> None:
    client, lost = broker.peer(), broker.worker(b"f")
    client.submit(b"f", unique=b"u")
    client.submit(b"f", kind="SUBMIT_JOB_BG")
    lost.grab()
    lost.leave()
    assert client.text(b"show jobs") == b"H:test:1\t1\t0\t0\nH:test:2\t0\t0\t1\n.\n"
    assert client.text(b"show unique jobs") == b"u\n\n.\n"


@pytest.mark.parametrize("ending", [b"", b"\r"])
def test_create_function_takes_the_whole_name_whatever_the_line_ending(broker: BrokerHarness, ending: bytes) -> None:
    peer = broker.peer()
    assert peer.text(b"create function abcdef" + ending) == b"OK\r\n"
    assert peer.text(b"create function abcdef" + ending) == b"OK\r\n"
    assert peer.text(b"status") == b"abcdef\t0\t0\t0\n.\n"


def test_create_function_refuses_a_name_that_would_forge_a_status_line(broker: BrokerHarness) -> None:
    assert broker.peer().text(b"create function a\x1bb") == b"ERR CREATE_FUNCTION a\x1bb\r\n"


def test_drop_function_refuses_while_workers_or_running_jobs_are_there(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    in_use = b"ERR there are still connected workers or executing clients\r\n"
    assert client.text(b"drop function f") == in_use
    assert client.text(b"drop function F") == b"ERR function not found\r\n"
    worker.leave()
    assert client.text(b"drop function f") == b"OK\r\n"
    assert client.text(b"status") == b".\n"


def test_drop_function_fails_the_waiting_jobs(broker: BrokerHarness) -> None:
    client = broker.peer()
    handle = client.submit(b"f", unique=b"u")
    assert broker.peer().text(b"drop function f") == b"OK\r\n"
    assert client.take() == [(14, handle)]
    assert broker.status(b"f") == (0, 0, 0)
    assert client.text(b"show jobs") == b".\n"


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        (b"7", b"7\t7\t7"),
        (b"3 2 1", b"3\t2\t1"),
        (b"3 2", b"3\t2\t0"),
        (b"0", b"0\t0\t0"),
        (b"-4", b"0\t0\t0"),
        (b"many", b"0\t0\t0"),
    ],
)
def test_maxqueue_sets_what_show_maxqueue_reads_back(broker: BrokerHarness, words: bytes, limits: bytes) -> None:
    peer = broker.worker(b"f")
    assert peer.text(b"maxqueue f " + words) == b"OK\r\n"
    assert peer.text(b"show maxqueue f") == b"f\t" + limits + b"\n.\n"


def test_maxqueue_of_an_unknown_function_creates_nothing(broker: BrokerHarness) -> None:
    peer = broker.peer()
    assert peer.text(b"maxqueue f 3") == b"OK\r\n"
    assert peer.text(b"show maxqueue f") == b"f\t0\t0\t0\n.\n"
    assert peer.text(b"status") == b".\n"


def test_maxqueue_without_numbers_removes_the_limits(broker: BrokerHarness) -> None:
    peer = broker.worker(b"f", b"g")
    assert peer.text(b"maxqueue f 1") == peer.text(b"maxqueue g 3 2 1") == b"OK\r\n"
    assert sorted(peer.text(b"SHOW MaxQueue").splitlines()) == [b".", b"f\t1\t1\t1", b"g\t3\t2\t1"]
    peer.submit(b"f")
    assert peer.ask(7, b"f", b"", b"") == [(19, b"QUEUE_ERROR\0Job queue is full")]
    assert peer.text(b"maxqueue f") == b"OK\r\n"
    assert peer.text(b"show maxqueue") == b"g\t3\t2\t1\n.\n"
    peer.submit(b"f")
