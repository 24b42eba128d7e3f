"""A limit of the whole cluster, shared by its servers so that together they never exceed it. Pure.

Each server publishes, with its beats, what it needs of the limit, what it allows itself (its *cap*), and what it wants
to allow itself next (its *wish*). All compute the same fair shares from that. A server lowers its cap at once, but not
below what it uses. It raises it only when it has read a snapshot of all in which its own wish stands already, and in
which the caps and wishes of all together do not exceed the limit. Of two servers that wish at the same time, at least
one sees the other's wish, since both write before they read: the sum holds, whatever the order of their beats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Claim(NamedTuple):
    """What one server publishes of one limit."""

    #: How much of the limit it could use: what it uses, and what waits for it.
    need: int
    #: For how long the oldest of that waits (milliseconds).
    age_ms: int
    #: It uses no more than this.
    cap: int
    #: It wants to use so much next.
    wish: int

    @property
    def most(self) -> int:
        """What it uses at most, now or once it has read that it may."""
        return max(self.cap, self.wish)


NOTHING = Claim(0, 0, 0, 0)


def fair_shares(limit: int, claims: Mapping[int, Claim]) -> dict[int, int]:
    """The share of each server, by its id.

    They are as equal as the needs allow. What nobody needs is spread, so that a server to which work comes can begin at
    once. What can't be divided goes to whoever has waited longest.
    """
    shares = dict.fromkeys(claims, 0)
    oldest = sorted(claims, key=lambda number: (-claims[number].age_ms, number))
    left = limit
    needy = [number for number in oldest if claims[number].need]
    while left and needy:
        each = left // len(needy)
        if not each:
            for number in needy[:left]:
                shares[number] += 1
            left = 0
            break
        for number in needy:
            more = min(each, claims[number].need - shares[number])
            shares[number] += more
            left -= more
        needy = [number for number in needy if shares[number] < claims[number].need]
    in_order = sorted(claims)
    for at, number in enumerate(in_order):
        shares[number] += left // len(in_order) + (at < left % len(in_order))
    return shares


class Share:
    """This server's share of one limit."""

    __slots__ = ("cap", "wish")

    def __init__(self) -> None:
        #: Nothing is used before the others have been asked.
        self.cap = self.wish = 0

    def claim(self, need: int, age_ms: int, used: int) -> Claim:
        """What is to be published."""
        return Claim(need, age_ms, max(self.cap, used), self.wish)

    def follow(self, limit: int, claims: Mapping[int, Claim], own_id: int, used: int) -> None:
        """Adjust the cap and the wish to what all have published, this server too. `used`: what it uses now."""
        others = {number: claim for number, claim in claims.items() if number != own_id}
        own = claims.get(own_id, NOTHING)
        if own.wish > self.cap and own.wish == self.wish and sum(each.most for each in claims.values()) <= limit:
            self.cap = own.wish
        target = fair_shares(limit, {**others, own_id: own})[own_id]
        self.cap = min(self.cap, max(target, used))
        # Of those that wish for the same, the one with the lowest id comes first.
        taken = sum(each.most if number < own_id else each.cap for number, each in others.items())
        self.wish = max(self.cap, min(target, limit - taken))
