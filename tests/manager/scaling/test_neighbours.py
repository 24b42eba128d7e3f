"""The other managers and foreign workers that a manager counts on, from the job servers' lists of connections."""

from __future__ import annotations

from gearman_client import ConnectedWorker
from gearman_manager.scaling.neighbours import Company, Neighbours, Peers, announced_name, mark_of


def peers(*rows: tuple[str, str]) -> Peers:
    """A server's connections: client id, and the functions in one text."""
    return Peers.of(ConnectedWorker(9, "127.0.0.1", name, tuple(functions.split())) for name, functions in rows)


ALONE = Company()
BOTH = peers(("gm:a", ""), ("gm:a/mail/1", "mail"), ("gm:b", ""), ("gm:b/mail/1", "mail"), ("-", ""))


def test_a_manager_is_alone_without_other_workers() -> None:
    neighbours = Neighbours("a")
    assert neighbours.company(0.0, [], ["mail"], 0, 0) == ALONE
    assert neighbours.company(0.0, [peers(("gm:a", ""), ("gm:a/mail/1", "mail"), ("-", ""))], ["mail"], 5, 1) == ALONE
    assert neighbours.next_change is None


def test_managers_rank_by_name() -> None:
    for own, rank in (("a", 0), ("b", 1)):
        assert Neighbours(own).company(0.0, [BOTH], ["mail"], 0, 0) == Company(managers=2, rank=rank)


def test_a_manager_that_serves_none_of_the_pools_functions_does_not_count() -> None:
    assert Neighbours("a").company(0.0, [BOTH], ["other"], 0, 0) == ALONE


def test_a_manager_on_several_servers_counts_once() -> None:
    one, two = peers(("gm:c/x/1", "mail")), peers(("gm:c/x/1", "mail"), ("gm:b/x/1", "mail"))
    assert Neighbours("a").company(0.0, [one, two], ["mail"], 0, 0).managers == 3


def test_workers_without_a_label_are_foreign_and_clients_are_not_counted() -> None:
    server = peers(("-", "mail sms"), ("perl", "mail"), ("-", "sms"), ("-", ""), ("gm:a/mail/1", "mail"))
    neighbours = Neighbours("a")
    assert neighbours.company(0.0, [server], ["mail"], 0, 0).foreign_workers == 2
    assert neighbours.company(0.0, [server, peers(("-", "mail"))], ["mail"], 0, 0).foreign_workers == 2
    assert neighbours.company(0.0, [server], ["mail", "sms"], 0, 0).foreign_workers == 3


def test_a_manager_whose_pool_went_to_zero_counts_while_its_supervisor_is_connected() -> None:
    neighbours = Neighbours("a")
    neighbours.company(0.0, [BOTH], ["mail"], 0, 0)
    idle = peers(("gm:a", ""), ("gm:b", ""))
    assert neighbours.company(500.0, [idle], ["mail"], 0, 0).managers == 2
    assert neighbours.company(501.0, [peers(("gm:a", ""))], ["mail"], 0, 0).managers == 1
    assert neighbours.company(502.0, [idle], ["mail"], 0, 0).managers == 1


def test_a_manager_that_lets_jobs_wait_stops_counting() -> None:
    neighbours = Neighbours("b")
    neighbours.company(0.0, [BOTH], ["mail"], 0, 0)
    idle = peers(("gm:a", ""), ("gm:b", ""))
    neighbours.company(100.0, [idle], ["mail"], 0, 0)
    assert neighbours.company(100.0, [idle], ["mail"], 1, 0) == Company(2, 1)
    assert neighbours.next_change == 102.0
    assert neighbours.company(101.9, [idle], ["mail"], 1, 0) == Company(2, 1)
    assert neighbours.company(102.0, [idle], ["mail"], 1, 0) == ALONE
    assert neighbours.next_change is None
    assert neighbours.company(103.0, [BOTH], ["mail"], 1, 0) == Company(2, 1)


def test_foreign_workers_that_let_jobs_wait_stop_counting() -> None:
    neighbours = Neighbours("a")
    server = peers(("-", "mail"))
    assert neighbours.company(0.0, [server], ["mail"], 1, 0).foreign_workers == 1
    assert neighbours.next_change == 2.0
    assert neighbours.company(1.0, [server], ["mail"], 1, 1).foreign_workers == 1  # it took one
    assert neighbours.company(1.5, [server], ["mail"], 1, 0).foreign_workers == 1
    assert neighbours.company(3.5, [server], ["mail"], 1, 0).foreign_workers == 0
    assert neighbours.next_change is None
    assert neighbours.company(4.0, [server], ["mail"], 0, 1).foreign_workers == 1


def test_a_supervisor_can_announce_pools_and_is_the_same_manager() -> None:
    both = announced_name("a", ["mail", "sms"])
    seen = peers((f"gm:{both}", ""), ("gm:" + announced_name("b+c", ["mail"]), ""), ("gm:d+e", ""), ("gm:a/mail/1", ""))
    assert seen.supervisors == {"a", "b+c", "d+e"}
    assert seen.announced == {mark_of("mail"): {"a", "b+c"}, mark_of("sms"): {"a"}}
    assert announced_name("a", []) == "a"
    assert len(both) == len("a+") + 2 * 6


def test_the_workers_of_each_pool_are_counted() -> None:
    seen = peers(("gm:a", ""), ("gm:a/mail/1", "mail"), ("gm:a/mail/2", ""), ("gm:a/sms/3", "sms"), ("gm:b/mail/1", ""))
    assert seen.crews == {("a", "mail"): 2, ("a", "sms"): 1, ("b", "mail"): 1}
