"""A manager's part of a maximum over all managers: who counts, from when, and that the sum stays below it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_manager.scaling.allotment import Bounds, Wish, grant
from gearman_manager.scaling.everywhere import JOIN_S, LEAVE_S, Everywhere
from gearman_manager.scaling.neighbours import Peers, mark_of


def seen(*managers: str, crews: Mapping[str, int] | None = None) -> Peers:
    """A job server that these managers have told of their pool mail, and their numbers of workers."""
    workers = {(name, "mail"): count for name, count in (crews or {}).items()}
    return Peers(frozenset(managers), announced={mark_of("mail"): frozenset(managers)}, crews=workers)


class Joined:
    """The memory of manager `a`, which has been shown to the others for long enough at the time 10."""

    def __init__(self, *peers: Peers) -> None:
        self.memory = Everywhere("a", "mail")
        self.look(10.0 - JOIN_S, *peers)
        self.look(10.0, *peers)

    def look(self, now: float, *peers: Peers, most: int = 10, present: int = 0, complete: bool = True) -> int:
        """The workers for which there is room in its part."""
        part = self.memory.part(now, most, present, peers, is_complete=complete)
        self.units, self.reason = part.units, str(part.limit_now if part.now < part.units else part.limit)
        return part.now


@pytest.mark.parametrize(
    ("own", "others", "most", "part"),
    [
        ("a", "", 10, 10),
        ("a", "b", 10, 5),
        ("a", "b c", 10, 4),
        ("b", "a c", 10, 3),
        ("c", "a b", 11, 3),
        ("c", "a b d", 2, 0),
    ],
)
def test_parts_by_rank(own: str, others: str, most: int, part: int) -> None:
    memory, server = Everywhere(own, "mail"), seen(own, *others.split())
    memory.part(0.0, most, 0, [server], is_complete=True)
    assert memory.part(JOIN_S, most, 0, [server], is_complete=True).now == part


def test_a_manager_starts_nothing_before_the_others_can_have_seen_it() -> None:
    joined = Joined()
    assert joined.look(20.0) == 0
    assert joined.look(20.0, seen("b")) == 0
    assert joined.reason == "max_everywhere holds (a job server has yet to show this manager to the others)"
    assert joined.look(21.0, seen("a", "b")) == 0
    assert joined.reason == "max_everywhere holds (other managers have yet to see this one)"
    assert joined.memory.next_change == 21.0 + JOIN_S
    assert joined.look(21.0 + JOIN_S, seen("a", "b")) == 5
    assert joined.look(30.0, seen("a", "b"), seen("b")) == 0, "every server has to show it"


def test_the_workers_of_others_beyond_their_part_are_subtracted() -> None:
    joined = Joined(seen("a", "b"))
    assert joined.look(11.0, seen("a", "b", crews={"b": 9})) == 1
    assert joined.reason == "max_everywhere holds (4 workers of others are beyond their part)"
    assert joined.look(11.0, seen("a", "b", crews={"b": 3}), seen("a", "b", crews={"b": 6})) == 4
    assert joined.look(11.0, seen("a", "b", crews={"b": 30})) == 0
    # Of two newcomers none takes the place that is the other's.
    assert joined.look(12.0, seen("a", "b", "c", crews={"c": 6})) == 1
    assert joined.units == 4


def test_the_workers_of_an_earlier_run_of_this_manager_are_subtracted_until_they_have_gone() -> None:
    joined = Joined(seen("a", crews={"a": 3}))
    assert joined.look(11.0, seen("a", crews={"a": 3})) == 7
    assert joined.reason == "max_everywhere holds (3 workers of an earlier run)"
    assert joined.look(12.0, seen("a", crews={"a": 9}), present=7) == 8
    assert joined.look(13.0, seen("a", crews={"a": 7}), present=7) == 10
    assert joined.look(14.0, seen("a", crews={"a": 7}), present=6) == 10, "one that has just ended"


def test_a_manager_that_went_away_frees_its_part_after_a_while() -> None:
    joined = Joined(seen("a", "b"))
    assert joined.look(20.0, seen("a")) == 5
    assert joined.memory.next_change == 20.0 + LEAVE_S
    assert joined.look(22.0, seen("a")) == 5
    assert joined.look(20.0 + LEAVE_S, seen("a")) == 10
    assert joined.memory.next_change is None
    assert joined.look(30.0, seen("a", "b")) == 5


def test_its_last_workers_keep_a_manager_in_the_row() -> None:
    joined = Joined(seen("a", "b", crews={"b": 5}))
    assert joined.look(20.0, seen("a", crews={"b": 2})) == 5
    assert joined.look(90.0, seen("a", crews={"b": 2})) == 5
    joined.look(91.0, seen("a"))
    assert joined.look(91.0 + LEAVE_S, seen("a")) == 10


def test_no_part_is_taken_over_while_a_job_server_is_away_or_has_just_come_back() -> None:
    joined = Joined(seen("a", "b"))
    assert joined.look(20.0, seen("a"), complete=False) == 5
    assert joined.look(90.0, seen("a"), complete=False) == 5
    assert joined.look(91.0, seen("a")) == 5
    assert joined.look(91.0 + LEAVE_S, seen("a")) == 10
    # Even if all servers were away.
    joined = Joined(seen("a", "b"))
    assert joined.look(20.0, complete=False) == 0
    assert joined.units == 5
    assert joined.look(90.0, seen("a")) == 0
    assert joined.look(92.5, seen("a")) == 5
    assert joined.look(94.0, seen("a")) == 10


POLL_S, TICK_S, MOST = 1.0, 0.25, 7


class SimulatedManager:
    """A manager that asks one job server for its connections every second, at a time of its own."""

    def __init__(self, name: str, asks_at: float) -> None:
        self.memory = Everywhere(name, "mail")
        self.name = name
        self.busy = self.leaving = 0
        self.demand = 0
        self.is_killed = False
        self._asks_at = asks_at
        self._view: Peers | None = None

    @property
    def workers(self) -> int:
        return self.busy + self.leaving

    def tick(self, now: float, server: Peers) -> None:
        """Look, and start workers: all of them are busy at once."""
        if now >= self._asks_at:
            self._view, self._asks_at = server, self._asks_at + POLL_S
        views = [] if self._view is None else [self._view]
        part = self.memory.part(now, MOST, self.workers, views, is_complete=bool(views))
        wish = Wish(self.demand, 0, self.busy, self.leaving, part=part)
        size = grant({"mail": wish}, Bounds()).sizes["mail"]
        self.busy = max(self.busy, size)

    def finish(self, count: int) -> None:
        self.busy -= min(count, self.busy)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "want", "want", "finish", "kill"]),
        st.integers(0, 3),
        st.integers(1, 8),
        st.sampled_from([0, 1, 2, 4, 12]),
    ),
    min_size=5,
    max_size=25,
)


class SimulatedSite:
    """Some managers and one job server, on a clock of their own."""

    def __init__(self) -> None:
        self.managers: dict[str, SimulatedManager] = {}
        self._now = 0.0

    def start(self, name: str, phase_s: float) -> None:
        """A manager starts, unless it runs, or the last workers of its earlier run do."""
        manager = self.managers.get(name)
        if manager is None or (manager.is_killed and not manager.workers):
            self.managers[name] = SimulatedManager(name, self._now + phase_s)

    def pass_time(self, seconds: float) -> None:
        """All managers see and do what they do in this time."""
        for _ in range(round(seconds / TICK_S)):
            self._now += TICK_S
            living = [one for one in self.managers.values() if not one.is_killed]
            for one in living:
                crews = {other.name: other.workers for other in self.managers.values() if other.workers}
                one.tick(self._now, seen(*(other.name for other in living), crews=crews))
            assert self.workers <= MOST

    @property
    def workers(self) -> int:
        return sum(one.workers for one in self.managers.values())


@settings(deadline=None)
@given(EVENTS, st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=4, max_size=4))
def test_the_sum_over_all_managers_never_exceeds_the_maximum(
    events: list[tuple[str, int, int, int]], phases: list[float]
) -> None:
    """Managers come and are killed at any time, each knows the others by answers that are up to a second old, and no
    worker leaves before its job is done: the killed managers' last."""
    site = SimulatedSite()
    for event, which, count, ticks in events:
        name = "abcd"[which]
        if event == "start":
            site.start(name, phases[which])
        elif name in site.managers:
            manager = site.managers[name]
            manager.is_killed |= event == "kill"
            manager.finish(count if event == "finish" else 0)
            manager.demand = count if event == "want" else manager.demand
        site.pass_time(ticks * TICK_S)
    # Nothing is left over in the end, once all have seen each other and the jobs of before are done.
    for _ in range(2):
        for one in site.managers.values():
            one.finish(MOST)
            one.demand = MOST
        site.pass_time(JOIN_S + LEAVE_S + 2 * POLL_S)
    assert site.workers == (MOST if not all(one.is_killed for one in site.managers.values()) else 0)
