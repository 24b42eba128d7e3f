"""The servers of a cluster never exceed a common limit, whatever the order of their beats; shares are fair."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gearman_server.cluster.shares import NOTHING, Claim, Share, fair_shares


def needs(*given: int) -> dict[int, Claim]:
    """Servers that need so much each, the first of them for the longest time."""
    return {number: Claim(need, 1000 - number, 0, 0) for number, need in enumerate(given, 1)}


@pytest.mark.parametrize(
    ("limit", "given", "shares"),
    [
        (10, (10,), (10,)),
        (10, (10, 10), (5, 5)),
        (10, (2, 10), (2, 8)),
        (10, (1, 1), (5, 5)),  # the rest is spread
        (10, (0, 0, 0), (4, 3, 3)),
        (1, (5, 5, 5), (1, 0, 0)),  # who has waited longest
        (1, (0, 5, 5), (0, 1, 0)),
        (3, (1, 9, 9), (1, 1, 1)),
        (100, (90, 90, 5), (48, 47, 5)),
    ],
)
def test_shares_are_as_equal_as_the_needs_allow(limit: int, given: tuple[int, ...], shares: tuple[int, ...]) -> None:
    assert tuple(fair_shares(limit, needs(*given)).values()) == shares


class Servers(RuleBasedStateMachine):
    """Servers that publish and read at any time; each uses as much as its cap allows whenever it likes."""

    @initialize(limit=st.integers(1, 7), count=st.integers(1, 4))
    def begin(self, limit: int, count: int) -> None:
        self.limit = limit
        self.table: dict[int, Claim] = {}
        self.shares = {number: Share() for number in range(1, count + 1)}
        self.used = dict.fromkeys(self.shares, 0)
        self.waiting = dict.fromkeys(self.shares, 0)
        self.read: dict[int, Mapping[int, Claim]] = {}

    def _publish(self, number: int) -> None:
        need = min(self.limit, self.used[number] + self.waiting[number])
        self.table[number] = self.shares[number].claim(need, 10 * self.waiting[number], self.used[number])

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """Publish, and read after that; what was read arrives later."""
        number = data.draw(st.sampled_from(sorted(self.shares)))
        if number not in self.read:
            self._publish(number)
            self.read[number] = dict(self.table)

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.read)))
        claims = self.read.pop(number)
        self.shares[number].follow(self.limit, claims, number, self.used[number])

    @rule(data=st.data(), jobs=st.integers(0, 9))
    def work(self, data: st.DataObject, jobs: int) -> None:
        """Jobs come, and as many start as may."""
        number = data.draw(st.sampled_from(sorted(self.shares)))
        self.waiting[number] += jobs
        starts = max(0, min(self.waiting[number], self.shares[number].cap - self.used[number]))
        self.waiting[number] -= starts
        self.used[number] += starts

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.shares)))
        self.used[number] = max(0, self.used[number] - 1)

    @rule()
    def go_round(self) -> None:
        """When all beat in turn and nothing changes, each gets its share, as far as others have ended their jobs."""
        if self.read:
            return
        self.used = dict.fromkeys(self.shares, 0)
        for _ in range(2 * len(self.shares) + 4):
            for number in self.shares:
                self._publish(number)
                self.shares[number].follow(self.limit, dict(self.table), number, self.used[number])
        wanted = fair_shares(self.limit, {number: self.table.get(number, NOTHING) for number in self.shares})
        assert {number: share.cap for number, share in self.shares.items()} == wanted

    @invariant()
    def together_they_keep_the_limit(self) -> None:
        if hasattr(self, "used"):
            assert sum(self.used.values()) <= self.limit


def test_of_two_that_wish_at_once_the_later_waits() -> None:
    """The first has read that nobody needs anything but itself; meanwhile the second begins to need something."""
    first, second, table = Share(), Share(), dict[int, Claim]()

    def beat(number: int, share: Share, need: int) -> dict[int, Claim]:
        table[number] = share.claim(need, 0, 0)
        return dict(table)

    second.follow(4, beat(2, second, 4), 2, 0)  # alone, it wishes for all
    late = beat(2, second, 4)  # its wish stands, and it reads that nobody else is there
    first.follow(4, beat(1, first, 4), 1, 0)
    first.follow(4, beat(1, first, 4), 1, 0)  # it wishes for its half
    second.follow(4, late, 2, 0)
    first.follow(4, beat(1, first, 4), 1, 0)  # the cap of the second is not published yet, only its wish
    assert first.cap + second.cap <= 4


TestServers = Servers.TestCase
TestServers.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
