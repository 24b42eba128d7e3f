"""Keys take turns by their weights, limits of a key hold back no other, and the keys themselves are bounded."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_server.jobs.job import HIGH, LOW, NORMAL
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate
from gearman_server.keys import key_table, keyed_queue
from gearman_server.keys.key_rules import table_of

from ..broker_harness import lines_run
from .keyed_function import KeyedFunction, keyed

FAIR = KeyPolicy(is_fair=True)


@pytest.mark.parametrize(
    ("policy", "jobs", "order"),
    [
        pytest.param(FAIR, "aaaaabc", "abcaaaa", id="a turn each"),
        pytest.param(FAIR, "aabbcc", "abcabc", id="again and again"),
        pytest.param(KeyPolicy(), "aabbac", "aabbac", id="without fairness in the order of their coming"),
        pytest.param(
            KeyPolicy(is_fair=True, weights={b"b": 3}), "aaaabbbbbbbb", "bbabbbabbbaa", id="three turns for one"
        ),
        pytest.param(
            KeyPolicy(is_fair=True, weights={b"b": 10, b"a": 5}), "aaabbbbb", "babbabba", id="weights are relative"
        ),
        pytest.param(KeyPolicy(max_running=1), "aabac", "abc", id="held keys are passed over"),
        pytest.param(KeyPolicy(max_running=2, is_fair=True), "aaaab", "aba", id="and others lose nothing by it"),
        pytest.param(KeyPolicy(rate=Rate(2, 60)), "aaab", "aab", id="by their rate too"),
    ],
)
def test_the_order_in_which_jobs_start(policy: KeyPolicy, jobs: str, order: str) -> None:
    function = keyed(policy)
    function.submit_each(key.encode() for key in jobs)
    taken = b""
    while (job := function.take()) is not None:
        taken += job.key
    assert taken.decode() == order


def test_a_key_with_one_job_waits_for_one_job_of_a_key_with_very_many() -> None:
    function = keyed(FAIR)
    function.submit_each([b"big"] * 1000)
    assert [function.take_key() for _ in range(10)] == [b"big"] * 10
    function.submit(b"small")
    assert [function.take_key() for _ in range(2)] == [b"big", b"small"]


def test_one_that_submits_its_next_job_whenever_the_last_was_taken_gets_no_more_than_its_share() -> None:
    function = keyed(FAIR)
    function.submit_each([b"big"] * 100)
    taken = Counter[bytes | None]()
    for _ in range(60):
        function.submit(b"eager")
        taken[function.take_key()] += 1
    assert taken == {b"big": 30, b"eager": 30}


def test_jobs_without_a_key_are_those_of_one_more_key() -> None:
    function = keyed(FAIR)
    function.submit_each([b"a", b"a", b"", b""])
    assert [function.take_key() for _ in range(4)] == [b"a", b"", b"a", b""]


def test_an_urgent_job_comes_before_other_keys_but_not_before_the_limit_of_its_own() -> None:
    function = keyed(KeyPolicy(is_fair=True, max_running=1))
    function.submit(b"a", LOW)
    function.submit(b"b", LOW)
    function.submit(b"a", HIGH)
    function.submit(b"a", HIGH)
    assert [job and (job.key, job.priority) for job in (function.take() for _ in range(3))] == [
        (b"a", HIGH),
        (b"b", LOW),
        None,
    ]


def test_a_rate_holds_back_its_key_until_the_exact_time() -> None:
    function = keyed(KeyPolicy(rate=Rate(2, 10.0)))
    function.submit_each([b"a"] * 3)
    assert function.take_key() == b"a"
    function.advance(4.0)
    assert function.take_key() == b"a"
    assert function.take_key() is None
    throttle = function.function.throttle
    assert throttle is not None
    assert throttle.opens_at(0, function.now) == pytest.approx(function.now + 6.0)
    function.advance(5.99)
    assert function.take_key() is None
    function.advance(0.01)
    assert function.take_key() == b"a"


def test_a_job_that_is_put_back_goes_first_and_counts_no_start() -> None:
    function = keyed(KeyPolicy(is_fair=True, rate=Rate(1, 60.0)))
    first = function.submit(b"a")
    function.submit_each([b"b"])
    assert function.take() is first
    function.put_back(first)
    assert function.take() is first


def test_a_cancelled_job_takes_its_place_in_the_order_with_it() -> None:
    function = keyed(KeyPolicy())
    first = function.submit(b"a")
    function.submit_each([b"b", b"a", b"b"])
    function.cancel(first)
    assert [function.take_key() for _ in range(4)] == [b"b", b"a", b"b", None]


def test_a_job_behind_very_many_that_can_not_start_is_found_in_steps() -> None:
    function = keyed(KeyPolicy(max_running=1))
    function.submit_each([b"big"] * 3 * keyed_queue._LOOKS)
    behind = function.submit(b"small")
    first = function.take()
    assert first is not None
    assert function.take() is None, "it takes several steps to pass over the others"
    function.do_chores()
    assert function.take() is behind
    function.end(first)
    assert function.take_key() == b"big", "those that were passed over are not lost"


def test_keys_that_were_at_their_limit_all_this_time_have_their_turns_again() -> None:
    function = keyed(KeyPolicy(is_fair=True, max_running=1))
    names = [b"%d" % number for number in range(200)]
    function.submit_each(names * 2)
    for round_of_all in range(2):
        started = list(iter(function.take, None))
        assert [job.key for job in started] == names, round_of_all
        function.submit(b"another")  # a look at the queue, while all are held
        for job in [*started, *iter(function.take, None)]:
            function.end(job)


def test_the_limits_of_the_function_hold_besides_those_of_the_keys() -> None:
    function = KeyedFunction(FunctionPolicy(max_running=3, keys=KeyPolicy(max_running=2)))
    function.submit_each([b"a", b"a", b"a", b"b", b"b"])
    assert function.function.startable(function.now) == 3
    assert [job and job.key for job in (function.take() for _ in range(4))] == [b"a", b"a", b"b", None]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60), st.integers(1, 12), st.integers(1, 5)
)
@settings(max_examples=150, deadline=None)
def test_between_two_turns_of_a_key_with_work_another_has_no_more_than_its_weight(
    history: list[tuple[str, int]], weight_of_a: int, weight_of_b: int
) -> None:
    """A history is of submissions, each followed by so many jobs that are taken."""
    weights = {b"a": weight_of_a, b"b": weight_of_b, b"c": 1}
    function = keyed(KeyPolicy(is_fair=True, weights=weights))
    waiting = Counter[bytes]()
    #: By key with work, since its last turn: the turns of the others.
    since: dict[bytes, Counter[bytes]] = {}
    has_had_a_turn: set[bytes] = set()
    for letter, takes in [*history, *[("", 1)] * len(history)]:
        if letter:
            key = letter.encode()
            function.submit(key)
            waiting[key] += 1
            since.setdefault(key, Counter())
        for _ in range(takes):
            taken = function.take_key()
            if taken is None:
                assert not waiting.total()
                break
            for key, turns in since.items():
                if key != taken:
                    turns[taken] += 1
                    allowed = -(-weights[taken] // weights[key])
                    assert turns[taken] <= allowed + (key not in has_had_a_turn), (key, taken)
            waiting[taken] -= 1
            del since[taken]
            has_had_a_turn.discard(taken)
            if waiting[taken]:
                since[taken] = Counter()
                has_had_a_turn.add(taken)
    assert not waiting.total()


# --- bounds


def test_cancelled_jobs_leave_nothing_behind() -> None:
    function = keyed(KeyPolicy())
    first = function.submit(b"first")
    for number in range(1000):
        function.cancel(function.submit(b"%d" % (number % 10)))
    table, queue = table_of(function.function), function.function.queues[NORMAL]
    assert table is not None
    assert list(table.keys) == [b"first"]
    assert isinstance(queue, keyed_queue.KeyedQueue)
    assert len(queue._flow) < 100
    assert function.take() is first


def test_idle_keys_are_forgotten() -> None:
    for policy in (FAIR, KeyPolicy(max_running=1), KeyPolicy(rate=Rate(2, 10.0))):
        function = keyed(policy)
        function.submit_each(b"%d" % number for number in range(250))
        while function.take_key() is not None:
            pass
        for _ in range(5):
            function.advance(11.0)  # without anybody who asks for a job
        table = table_of(function.function)
        assert table is not None
        assert not table.keys, policy


@pytest.mark.pure_core
def test_keys_beyond_the_bound_share_common_ones_and_their_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_table, "MAX_KEYS", 10)
    monkeypatch.setattr(key_table, "SHARED_KEYS", 2)
    function = keyed(KeyPolicy(is_fair=True, max_running=1))
    names = [b"%d" % number for number in range(40)]
    function.submit_each(names * 2)
    table = table_of(function.function)
    assert table is not None
    assert len(table.keys) == 12
    started = list(iter(function.take, None))
    assert len(started) == 12
    assert len({job.key for job in started}) == 12
    while started:
        for job in started:
            function.end(job)
        started = list(iter(function.take, None))
        assert len({job.key for job in started}) == len(started)
    assert not function.function.queued
    assert not table.keys
    function.submit(b"one more")
    assert list(table.keys) == [b"one more"]


def test_held_keys_cost_a_worker_that_asks_nothing() -> None:
    def work(keys: int) -> int:
        function = keyed(KeyPolicy(is_fair=True, rate=Rate(1, 60.0)))
        function.submit_each(b"%d" % (number % keys) for number in range(2 * keys))
        for _ in islice(iter(function.take_key, None), keys):
            pass
        function.submit(b"other")
        return lines_run(function.take_key)

    few, many = work(10), work(1000)
    assert many <= few + 5
