"""The text command `counts`: how the jobs of each function have fared since somebody asked for the first time."""

from __future__ import annotations

from typing import Any

from gearman_client.packet import PacketType
from gearman_server.jobs.job_counts import BUCKETS_S, COUNTERS
from gearman_server.text_commands.tables import PIECE_LINES

from ..broker_harness import UNIX_TIME, BrokerHarness, lines_run


def counts(broker: BrokerHarness) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The first line's columns, and the figures of each function."""
    lines = broker.peer().text(b"counts").decode().splitlines()
    assert lines.pop() == "."
    head = dict(zip(("word", "since", "counters", "bounds"), lines.pop(0).split("\t"), strict=True))
    functions = {}
    for line in lines:
        name, counters, now, waited_ms, waited, ran_ms, ran = line.split("\t")
        figures: dict[str, Any] = dict(zip(head["counters"].split(), map(int, counters.split()), strict=True))
        figures |= dict(zip(("waiting", "running", "oldest_ms"), map(int, now.split()), strict=True))
        figures |= {"waited_ms": int(waited_ms), "ran_ms": int(ran_ms)}
        figures |= {"waited": [*map(int, waited.split())], "ran": [*map(int, ran.split())]}
        functions[name] = figures
    return head, functions


def test_counting_begins_with_the_first_question(broker: BrokerHarness) -> None:
    broker.peer().submit(b"before")
    head, functions = counts(broker)
    assert head["word"] == "since"
    assert float(head["since"]) == UNIX_TIME
    assert head["counters"] == " ".join(COUNTERS)
    assert [*map(float, head["bounds"].split())] == [*BUCKETS_S]
    assert functions["before"]["submitted"] == 0
    assert functions["before"]["waiting"] == 1
    broker.advance(5)
    assert counts(broker)[0] == head


def test_outcomes_waiting_times_and_run_times_of_all_priorities(broker: BrokerHarness) -> None:
    counts(broker)
    client, worker = broker.peer(), broker.worker(b"f\t1")
    for kind in ("SUBMIT_JOB", "SUBMIT_JOB_HIGH", "SUBMIT_JOB_LOW_BG"):
        client.submit(b"f\t1", kind=kind)
    broker.advance(2)
    for answer in (PacketType.WORK_COMPLETE, PacketType.WORK_FAIL):
        handle = worker.grab_handle()
        broker.advance(0.2)
        worker.send(answer, handle, *([b""] if answer is PacketType.WORK_COMPLETE else []))
    figures = counts(broker)[1][r"f\x091"]
    assert [figures[name] for name in ("submitted", "started", "completed", "failed")] == [3, 2, 1, 1]
    assert [figures[name] for name in ("waiting", "running", "oldest_ms")] == [1, 0, 2400]
    assert (figures["waited_ms"], figures["ran_ms"]) == (4200, 400)
    assert figures["waited"] == [2 * (bound == 2.5) for bound in BUCKETS_S] + [0]
    assert figures["ran"] == [2 * (bound == 0.25) for bound in BUCKETS_S] + [0]


def test_rare_ends_are_counted_too(broker: BrokerHarness) -> None:
    counts(broker)
    worker = broker.worker(b"f")
    client = broker.peer()
    handle = client.submit(b"f")
    worker.grab()
    worker.leave()  # the job goes back, and counts as an attempt that came to nothing
    client.submit(b"g", kind="SUBMIT_JOB_BG")
    client.leave()  # nobody waits for the first one any more
    figures = counts(broker)[1]
    assert handle
    assert (figures["f"]["retried"], figures["f"]["dropped"]) == (1, 1)
    assert figures["g"]["waiting"] == 1


def test_functions_without_a_job_have_no_line(broker: BrokerHarness) -> None:
    broker.worker(*(b"f%d" % number for number in range(20 * PIECE_LINES)))
    broker.peer().submit(b"f7")
    assert counts(broker)[1].keys() == {"f7"}


def test_very_many_functions_without_a_job_are_passed_over_in_turns(broker: BrokerHarness) -> None:
    broker.worker(*(b"f%d" % number for number in range(20 * PIECE_LINES)))
    peer = broker.peer()
    peer.begin((0, b"counts"))
    assert peer.take_bytes().startswith(b"since")
    turns = 0
    while peer.session.has_piece:
        assert lines_run(peer.session.send_piece) < 60 * PIECE_LINES
        turns += 1
    assert turns > 15
