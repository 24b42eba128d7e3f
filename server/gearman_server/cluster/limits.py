"""The limits of functions that hold for the cluster as a whole: `max_running`, `rate` and `max_queue`. Pure.

The first two are shared out, and never exceeded. Of the last each server adds up what all have told with their beats: a
share of it would refuse jobs while there is room at others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gearman_server.cluster.shares import NOTHING, Claim, Share

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.wake_up import WakeUp

_RUNNING, _STARTS, _WAITING = "running", "starts", "waiting"
#: A name with other bytes is published all the same.
_CODEC: Final = "latin-1"

#: By the function's name and the kind of limit.
Published = dict[str, dict[str, list[int]]]


class Limits:
    """Shares the limits of all functions that have some."""

    def __init__(self, functions: Functions, wake_up: WakeUp) -> None:
        self._functions = functions
        self._wake_up = wake_up
        self._shares: dict[tuple[bytes, str], Share] = {}
        self._arrange: Callable[[Function], None] = functions.arrange
        functions.arrange = self._note_rules
        for function in functions.by_name.values():
            self._use(function)

    def _note_rules(self, function: Function) -> None:
        """A function is new, or has new rules."""
        self._arrange(function)
        self._use(function)

    def _use(self, function: Function) -> None:
        throttle = function.throttle
        if throttle is None:
            return
        running, starts = (self._share(function, kind).cap for kind in (_RUNNING, _STARTS))
        if throttle.share(running, starts):
            self._wake_up.wake_for_waiting(function)

    def _share(self, function: Function, kind: str) -> Share:
        return self._shares.setdefault((function.name, kind), Share())

    def start_anew(self) -> None:
        """This server has a new id, and the caps of the former one are the others' to give."""
        self._shares.clear()
        for function in self._functions.by_name.values():
            self._use(function)

    def _limits(self, now: float) -> Iterable[tuple[Function, str, int, int]]:
        """Each limited function, with the kind of its limit, the limit, and how much of it is used."""
        for function in self._functions.by_name.values():
            policy, throttle = function.policy, function.throttle
            if throttle is None:
                continue
            if policy.max_running is not None:
                yield function, _RUNNING, policy.max_running, function.running
            if policy.rate is not None:
                yield function, _STARTS, policy.rate.count, throttle.counted_starts(now)

    def publish(self, now: float) -> Published:
        """What the others are told."""
        published: Published = {}
        for function, kind, limit, used in self._limits(now):
            since = function.waiting_since
            age_ms = 0 if since is None else int((now - since) * 1000)
            claim = self._share(function, kind).claim(min(limit, used + function.takeable), age_ms, used)
            published.setdefault(function.name.decode(_CODEC), {})[kind] = list(claim)
        for function in self._functions.by_name.values():
            if function.policy.max_queue and function.waiting:
                published.setdefault(function.name.decode(_CODEC), {})[_WAITING] = [function.waiting]
        return published

    def follow(self, told: Mapping[int, Mapping[str, Any]], own_id: int, now: float) -> None:
        """Adjust the shares to the facts that all servers have published, by id. A dead one counts until its jobs are
        adopted."""
        limits = {number: facts.get("limits", {}) for number, facts in told.items()}
        for function, kind, limit, used in list(self._limits(now)):
            name = function.name.decode(_CODEC)
            claims = {number: _claim(published, name, kind) for number, published in limits.items()}
            self._share(function, kind).follow(limit, claims, own_id, used)
            self._use(function)
        others = [published for number, published in limits.items() if number != own_id]
        for function in self._functions.by_name.values():
            if function.policy.max_queue:
                name = function.name.decode(_CODEC)
                function.waiting_elsewhere = sum(_waiting(published, name) for published in others)


def _waiting(limits: Any, name: str) -> int:
    try:
        return int(limits[name][_WAITING][0])
    except (KeyError, IndexError, TypeError, ValueError):
        return 0


def _claim(limits: Any, name: str, kind: str) -> Claim:
    try:
        return Claim(*map(int, limits[name][kind]))
    except (KeyError, TypeError, ValueError):
        return NOTHING
