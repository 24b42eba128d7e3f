"""Searches for a text among very many jobs: nobody waits long for one, and none outlives its reason."""

from __future__ import annotations

import timeit
from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType
from gearman_server.options.text_search import MAX_TEXT_BYTES, TextSearch
from gearman_server.text_commands.bulk_changes import MAX_SEARCHES
from gearman_server.text_commands.listings import MAX_OPEN
from gearman_server.text_commands.walk import LOOKS, STEP_S, Walk

from ..broker_harness import BrokerHarness, Peer

#: So many take several steps, whether they are looked at or changed.
MANY = 3 * LOOKS


@pytest.fixture
def full(broker: BrokerHarness) -> BrokerHarness:
    """A broker with many jobs."""
    client = broker.peer()
    for _ in range(MANY):
        client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    return broker


def begun(broker: BrokerHarness, line: bytes) -> Peer:
    """A peer that has sent a command whose answer takes many steps."""
    peer = broker.peer()
    peer.begin((0, line))
    return peer


def steps_left(broker: BrokerHarness) -> int:
    """How many more steps all long work takes; they are done."""
    steps = 0
    while broker.broker.chores:
        broker.broker.do_chore(broker.now)
        steps += 1
    return steps


@pytest.mark.parametrize("command", [b"count", b"count text=x", b"list text=x", b"list function=g"])
def test_a_look_at_jobs_ends_when_its_client_leaves(full: BrokerHarness, command: bytes) -> None:
    begun(full, b"jobs " + command).leave()
    assert steps_left(full) == 1


def test_a_list_that_nobody_waits_for_keeps_no_place_of_other_lists(full: BrokerHarness) -> None:
    operator = full.peer()
    cursor = operator.text(b"jobs list limit=1").splitlines()[1].removeprefix(b"next\t")
    for _ in range(MAX_OPEN):
        begun(full, b"jobs list text=x").leave()
    full.do_chores()
    assert operator.text(b"jobs list limit=1 after=" + cursor).startswith(b"H:test:2\t")


def test_a_purge_goes_on_without_its_client(full: BrokerHarness) -> None:
    begun(full, b"jobs purge text=w").leave()
    full.do_chores()
    assert full.status(b"f")[0] == 0


def test_a_server_that_ends_gives_up_searches(full: BrokerHarness) -> None:
    for line in (b"jobs purge text=w", b"jobs count text=x"):
        begun(full, line).leave()
    full.broker.chores.are_last = True
    assert steps_left(full) == 2
    assert full.status(b"f")[0] > MANY // 2


def test_there_are_only_a_few_searches_at_once(full: BrokerHarness) -> None:
    first, *others = [begun(full, b"jobs list text=x") for _ in range(MAX_SEARCHES)]
    assert full.peer().text(b"jobs count text=x").startswith(b"ERR TRY_AGAIN ")
    assert full.peer().text(b"dead count text=x").startswith(b"ERR TRY_AGAIN ")
    begun(full, b"jobs count")
    first.leave()
    full.broker.do_chore(full.now)
    assert full.peer().text(b"jobs count text=x").startswith(b"waiting\t0\n")
    full.do_chores()
    assert [peer.take_bytes() for peer in others] == [b".\n"] * len(others)


@pytest.mark.parametrize("command", [b"jobs list", b"jobs count", b"jobs purge", b"dead list", b"dead drop"])
def test_a_text_to_look_for_has_a_greatest_length(broker: BrokerHarness, command: bytes) -> None:
    text = command + b" text=" + b"x" * MAX_TEXT_BYTES
    operator = broker.peer()
    assert not operator.text(text).startswith(b"ERR ")
    assert operator.text(text + b"x").startswith(b"ERR INVALID_ARGUMENTS text=+takes+a+text+of+1+to+256+bytes")


def test_the_worst_text_takes_no_more_than_a_few_times_as_long_as_others() -> None:
    def best_s(wanted: bytes) -> float:
        search = TextSearch(wanted)
        return min(timeit.repeat(lambda: search(b"a" * 2_400), number=10, repeat=20))

    assert best_s(b"a" * (MAX_TEXT_BYTES - 2) + b"ba") < 20 * best_s(b"needle")


@pytest.mark.parametrize(("search", "looks"), [(TextSearch(b"x"), [4, 4, 2]), (None, [5, 5])])
def test_a_step_of_a_search_ends_by_the_clock(search: TextSearch | None, looks: list[int]) -> None:
    handles, seconds = [b"%d" % number for number in range(10)], 0.0
    seen: list[bytes] = []

    def slow(handle: bytes) -> None:
        nonlocal seconds
        seconds += STEP_S * 0.3
        seen.append(handle)

    made = [len(seen) for _ in Walk(handles, search).steps(slow, lambda: seconds, 5)]
    made.append(len(seen))
    assert [after - before for before, after in zip([0, *made], made, strict=False)] == looks
    assert seen == handles


def test_conditions_hold_for_jobs_that_are_all_meant(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker()
    one, other = broker.peer().submit(b"f"), broker.peer().submit(b"g")
    assert broker.peer().text(b"jobs purge all function=g") == b"OK 1\n"
    assert broker.peer().text(b"jobs purge %s %s function=g" % (one, other)) == b"OK 0\n"
    assert broker.status(b"f")[0] == 1
