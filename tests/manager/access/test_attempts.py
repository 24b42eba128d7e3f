"""How many wrong passwords are looked at."""

from __future__ import annotations

from gearman_manager.access.attempts import MOST_FOR_ONE, MOST_FROM_ONE, WINDOW_S, Attempts


def test_after_some_failures_a_user_waits_and_others_do_not() -> None:
    attempts = Attempts()
    for second in range(MOST_FOR_ONE):
        assert attempts.wait_s("10.0.0.1", "alice", float(second)) == 0
        attempts.note("10.0.0.1", "alice", float(second))
    assert attempts.wait_s("10.0.0.1", "alice", 10.0) == WINDOW_S - 10.0
    assert attempts.wait_s("10.0.0.1", "bob", 10.0) == attempts.wait_s("10.0.0.2", "alice", 10.0) == 0
    assert attempts.wait_s("10.0.0.1", "alice", WINDOW_S) == 0


def test_after_more_of_them_an_address_waits_whatever_names_it_tries() -> None:
    attempts = Attempts()
    for number in range(MOST_FROM_ONE):
        attempts.note("10.0.0.1", f"user{number}", 0.0)
    assert attempts.wait_s("10.0.0.1", "another", 1.0) == WINDOW_S - 1.0
    assert attempts.wait_s("10.0.0.2", "another", 1.0) == 0


def test_a_success_forgets_the_failures_of_that_user() -> None:
    attempts = Attempts()
    for _ in range(3 * MOST_FROM_ONE):
        attempts.note("10.0.0.1", "alice", 0.0)
        attempts.succeeded("10.0.0.1", "alice")
    assert attempts.wait_s("10.0.0.1", "alice", 0.0) == 0


def test_addresses_of_one_network_of_ipv6_count_as_one() -> None:
    attempts = Attempts()
    for number in range(MOST_FOR_ONE):
        attempts.note(f"2001:db8::{number}", "alice", 0.0)
    assert attempts.wait_s("2001:db8::ffff", "alice", 0.0) > 0
    assert attempts.wait_s("2001:db8:0:1::", "alice", 0.0) == 0
