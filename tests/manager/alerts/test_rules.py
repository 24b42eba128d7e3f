"""What the rules find, look by look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gearman_manager.alerts.memory import Memory
from gearman_manager.alerts.rules import Finding, failures_of, findings
from gearman_manager.alerts.snapshot import DeadLetter, FunctionView, PeerView, PoolView, ServerView, Snapshot
from gearman_manager.config.alert_keys import AlertRules

UNIX = 1_700_000_000.0


def look(now: float, **parts: Any) -> Snapshot:
    return Snapshot(now, UNIX + now, **parts)


def found(rules: Mapping[str, Any], looks: Iterable[Snapshot]) -> list[list[Finding]]:
    """The findings after each look."""
    checked, memory, result = AlertRules.model_validate(rules), Memory(), []
    for seen in looks:
        memory.take_in(seen, failures_of(checked)[1])
        result.append(findings(checked, seen, memory))
    return result


def mail(**figures: Any) -> dict[str, Any]:
    return {"functions": {"mail": FunctionView(**figures)}}


def test_without_rules_nothing_is_found() -> None:
    bad = look(
        1e6,
        pools={"p": PoolView(is_crashing=True, failed=99)},
        functions={"mail": FunctionView(waiting=9, oldest=(0.0, "H:1"))},
        servers={"a:1": ServerView(False, "the disk is full")},
        letters=[DeadLetter("H:2", "mail", UNIX + 1e6, "no")],
    )
    assert found({}, [bad, bad]) == [[], []]


def test_a_job_that_waits_too_long_is_found_with_its_handle_and_since_when() -> None:
    young, old = (look(400.0, **mail(waiting=3, startable=3, oldest=(since, "H:a:1"))) for since in (101.0, 100.0))
    [], [finding] = found({"waiting": "5m"}, [young, old])
    assert (finding.rule, finding.kind, finding.name, finding.since) == ("waiting", "function", "mail", 100.0)
    assert "3 jobs wait" in finding.text
    assert "H:a:1" in finding.text


def test_where_servers_do_not_tell_a_queue_that_nobody_takes_from_counts_as_waiting() -> None:
    looks = [look(at, **mail(waiting=count, startable=count)) for at, count in ((0, 2), (1, 2), (200, 3), (301, 3))]
    assert [len(each) for each in found({"waiting": "5m"}, looks)] == [0, 0, 0, 1]
    taken = [*looks[:3], look(250, **mail(waiting=2, startable=2)), looks[3]]
    assert found({"waiting": "5m"}, taken)[-1] == []


def test_jobs_of_a_paused_function_and_delayed_ones_do_not_count_as_waiting() -> None:
    paused = [look(at, **mail(waiting=2, startable=2, is_paused=True)) for at in (0, 1, 400)]
    delayed = [look(at, **mail(waiting=2)) for at in (0, 1, 400)]
    assert found({"waiting": "5m"}, paused)[-1] == found({"waiting": "5m"}, delayed)[-1] == []


def test_failures_count_within_their_window() -> None:
    def failed(at: float, count: int) -> Snapshot:
        return look(at, pools={"mail": PoolView(failed=count, ended=count, job_error="ValueError: no")})

    few, enough, late, again = found(
        {"failures": "20/5m"}, [failed(0, 7), failed(10, 27), failed(400, 27), failed(410, 46)]
    )
    assert (few, late, again) == ([], [], [])
    [finding] = enough
    assert (finding.kind, finding.name, finding.last_error) == ("pool", "mail", "ValueError: no")
    assert finding.text == "20 jobs failed in 5m"


def test_no_failures_is_no_rule() -> None:
    looks = [look(at, pools={"mail": PoolView(failed=at)}) for at in range(3)]
    assert found({"failures": 0}, looks) == [[], [], []]


def test_failures_before_the_first_look_do_not_count() -> None:
    assert found({"failures": "1/m"}, [look(0, pools={"mail": PoolView(failed=99)})]) == [[]]


def test_dead_letters_of_the_last_hour_count_by_function() -> None:
    letters = [
        DeadLetter("H:1", "mail", UNIX + 1000, "old"),
        DeadLetter("H:2", "mail", UNIX + 4990, "SMTP is away"),
        DeadLetter("H:3", "mail", UNIX + 4980, "earlier"),
        DeadLetter("H:4", "other", UNIX + 4980, "x"),
    ]
    [[finding]] = found({"dead": 2}, [look(5000, letters=letters)])
    assert (finding.name, finding.last_error, finding.since) == ("mail", "SMTP is away", 4980.0)
    assert finding.look == "gearman-manager dead list mail"
    assert "H:2" in finding.text


def test_a_pool_whose_workers_die_is_found_until_it_is_calm() -> None:
    crashing = {"mail": PoolView(is_crashing=True, has_workers=False, last_error="mail/1 pid 5: exit status 3")}
    looks = [look(1, pools={"mail": PoolView()}), look(2, pools=crashing), look(9, pools=crashing)]
    calm, first, second, over = found({"crash_loop": True}, [*looks, look(10, pools={"mail": PoolView()})])
    assert (calm, over) == ([], [])
    assert first == second
    assert (first[0].since, first[0].last_error) == (2, "mail/1 pid 5: exit status 3")
    assert "none is left" in first[0].text


@pytest.mark.parametrize(
    ("others", "is_found"),
    [
        ({}, True),
        ({"functions": {"mail": FunctionView(running=1)}}, False),
        ({"pools": {"p": PoolView(functions=("mail",), ended=8)}}, False),
        # The pool's jobs were those of its other function.
        (
            {
                "pools": {"p": PoolView(functions=("mail", "sms"), ended=8)},
                "functions": {"mail": FunctionView(), "sms": FunctionView(running=1)},
            },
            True,
        ),
        # Nobody knows of which function they were.
        (
            {
                "pools": {"p": PoolView(functions=("mail", "sms"), ended=8)},
                "functions": {"mail": FunctionView(), "sms": FunctionView()},
            },
            False,
        ),
    ],
)
def test_a_function_without_jobs_is_found(others: dict[str, Any], is_found: bool) -> None:
    functions = {"functions": {"mail": FunctionView()}}
    pools = {"pools": {"p": PoolView(functions=("mail", "sms"), ended=7)}}
    looks = [look(0, **functions | pools), look(1800, **functions | pools | others), look(3600, **functions)]
    *_, last = found({"no_jobs": {"mail": "1h"}}, looks)
    assert [finding.name for finding in last] == ["mail"] * is_found


def test_a_server_that_is_down_for_long_enough_is_found() -> None:
    def server(at: float, is_answering: bool | None) -> Snapshot:
        return look(at, servers={"a:4730": ServerView(is_answering)})

    looks = [
        server(0, None),
        server(40, None),
        server(50, False),
        server(79, False),
        server(80, False),
        server(90, True),
    ]
    *quiet, down, up = found({"server_down": "30s"}, looks)
    assert (quiet, up) == ([[], [], [], []], [])
    assert [(finding.name, finding.since) for finding in down] == [("a:4730", 50)]


def test_a_manager_that_is_down_for_long_enough_is_found_with_the_reason() -> None:
    def peer(at: float, is_answering: bool | None) -> Snapshot:
        return look(at, peers={"b https://b:4780": PeerView(is_answering, "" if is_answering else "refused")})

    looks = [peer(0, None), peer(50, False), peer(79, False), peer(80, False), peer(81, True), peer(82, False)]
    *quiet, down, up, again = found({"peer_down": "30s"}, looks)
    assert (quiet, up, again) == ([[], [], []], [], [])
    [finding] = down
    assert (finding.kind, finding.name, finding.since) == ("manager", "b https://b:4780", 50)
    assert (finding.last_error, finding.look) == ("refused", "gearman-manager peers")
    assert found({"server_down": "30s"}, looks) == [[]] * 6


def test_a_server_in_trouble_is_found_with_its_reason() -> None:
    [[finding]] = found({"store": True}, [look(5, servers={"a:4730": ServerView(True, "the disk is full")})])
    assert (finding.kind, finding.name, finding.since, finding.last_error) == (
        "job server",
        "a:4730",
        5,
        "the disk is full",
    )


def test_what_is_gone_is_forgotten() -> None:
    memory = Memory()
    memory.take_in(look(1, **mail(), pools={"p": PoolView()}, servers={"a:1": ServerView()}), 60.0)
    memory.take_in(look(2), 60.0)
    assert memory == Memory()
