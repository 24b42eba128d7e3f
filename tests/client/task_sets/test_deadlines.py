"""The deadlines of many things, most of which are over before."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from gearman_client.task_sets.deadlines import Deadlines


class Thing:
    def __init__(self, due: float = 0) -> None:
        self.due = due
        self.is_over = False


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=40), st.integers(0, 50))
def test_what_is_due_is_found_in_order_unless_it_is_over(dues: list[tuple[int, bool]], now: int) -> None:
    deadlines: Deadlines[Thing] = Deadlines()
    things = []
    for due, is_over in dues:
        things.append(Thing(due))
        deadlines.add(things[-1], due)
        things[-1].is_over = is_over
    alive = sorted(thing.due for thing in things if not thing.is_over)
    assert deadlines.next_due() == (alive[0] if alive else inf)
    assert [thing.due for thing in deadlines.take_due(now)] == [due for due in alive if due <= now]
    later = [due for due in alive if due > now]
    assert deadlines.next_due() == (later[0] if later else inf)


def test_what_is_over_takes_no_memory() -> None:
    deadlines: Deadlines[Thing] = Deadlines()
    stuck = Thing()
    deadlines.add(stuck, 1)
    for number in range(100_000):
        thing = Thing()
        deadlines.add(thing, 60 + number)
        thing.is_over = True
    assert len(deadlines._heap) < 2000
    assert deadlines.take_due(10) == [stuck]
