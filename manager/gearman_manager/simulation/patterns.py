"""Finds the times of the week at which jobs waited too long again and again. Pure.

The week is cut into slots of five minutes. A slot of one day is late if more jobs waited longer than the goal allows
than its share may. A time is worth a window if most of the same weekdays were late there, and if chance does not
explain it: the lateness of all other times says how much of it is chance.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo
from itertools import chain
from typing import Final

SLOT_S: Final = 300
SLOTS: Final = 86_400 // SLOT_S  #: of a day
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: This share of the days must be late, and two at least.
MOST_DAYS: Final = 0.6
#: Late times so close to each other become one.
JOINED_SLOTS: Final = 3
#: How probable it may be that chance alone makes a time look like this.
MAX_CHANCE: Final = 0.003
#: A time that is so long may be late for most of its length.
DENSE_SLOTS: Final = 4
#: Fewer days than this of a weekday are thin evidence.
GOOD_DAYS: Final = 3

#: So many other times of the same length say how often one is late for most of its length.
_FEWEST_OTHERS: Final = 10
#: A window begins and ends with slots that this share of the days is late in.
_EDGE_DAYS: Final = 0.3

_WORKDAYS: Final = frozenset(range(5))
_WEEKEND: Final = frozenset((5, 6))


@dataclass(frozen=True, slots=True)
class Goal:
    """This share of the jobs shall wait no longer than this."""

    wait_s: float
    share: float = 0.95

    def is_missed(self, jobs: int, late: int) -> bool:
        """Whether the share's percentile (nearest rank) of so many jobs is too long, if so many of them are late."""
        return late > jobs - math.ceil(self.share * jobs - 1e-9)


@dataclass(frozen=True, slots=True)
class Bin:
    """The jobs of five minutes."""

    day: date
    slot: int  #: of the day, by the local clock
    jobs: int
    late: int


@dataclass(frozen=True, slots=True)
class Span:
    """The days of the data. The first and the last may be there in part."""

    first: date
    first_slot: int
    last: date
    last_slot: int

    def parts(self) -> Iterator[tuple[date, int, int]]:
        """Each day, with the first slot of it and the one after the last."""
        for number in range((self.last - self.first).days + 1):
            day = self.first + timedelta(days=number)
            yield (
                day,
                self.first_slot if day == self.first else 0,
                self.last_slot + 1 if day == self.last else SLOTS,
            )

    def days(self, weekdays: frozenset[int], start: int, end: int) -> list[date]:
        """The days of these weekdays of which the data hold the slots from `start` up to `end`."""
        return [
            day for day, first, after in self.parts() if day.weekday() in weekdays and first <= start and end <= after
        ]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A time of some weekdays at which jobs waited too long again and again."""

    weekdays: frozenset[int]
    start: int  #: the first late slot of the day
    end: int  #: the slot after the last one
    late_days: int
    days: int
    chance: float

    @property
    def is_thin(self) -> bool:
        """Whether few days speak for it."""
        return self.days < GOOD_DAYS


def bins(arrivals_s: Sequence[float], waits_s: Sequence[float], goal: Goal, zone: tzinfo) -> Iterator[Bin]:
    """The jobs by the five minutes in which they came, in order. Times are Unix seconds, in rising order."""
    at = 0
    while at < len(arrivals_s):
        number = int(arrivals_s[at] // SLOT_S)
        end = bisect_left(arrivals_s, (number + 1) * SLOT_S, at)
        day, slot = slot_of(number * SLOT_S, zone)
        yield Bin(day, slot, end - at, sum(wait_s > goal.wait_s for wait_s in waits_s[at:end]))
        at = end


def slot_of(at_s: float, zone: tzinfo) -> tuple[date, int]:
    """The day and the slot of a moment."""
    local = datetime.fromtimestamp(at_s, zone)
    return local.date(), (local.hour * 3600 + local.minute * 60) // SLOT_S


def slot_start(day: date, slot: int, zone: tzinfo) -> float:
    """The moment at which a slot of a day begins."""
    day += timedelta(days=slot // SLOTS)
    return datetime(day.year, day.month, day.day, *divmod(slot % SLOTS * SLOT_S // 60, 60), tzinfo=zone).timestamp()


def span(start_s: float, end_s: float, zone: tzinfo) -> Span:
    """The days from one moment up to another."""
    return Span(*slot_of(start_s, zone), *slot_of(max(start_s, end_s - 0.001), zone))


def find_patterns(found: Iterable[Bin], covered: Span, goal: Goal) -> list[Pattern]:
    """The times worth a window, the least likely by chance first."""
    return _Search(found, covered, goal).patterns()


def groups_of(covered: Span) -> list[frozenset[int]]:
    """The sets of weekdays that are looked at together, large ones first; a weekday alone if it was there twice."""
    seen = {weekday: len(covered.days(frozenset((weekday,)), 0, SLOTS)) for weekday in range(7)}
    groups = [frozenset(range(7)), _WORKDAYS, _WEEKEND]
    return [*groups, *(frozenset((weekday,)) for weekday, days in seen.items() if days >= 2)]


def still_recurs(found: Iterable[Bin], goal: Goal, days: int) -> bool:
    """Whether some time is late on most of so many days."""
    late: dict[int, set[date]] = {}
    for one in found:
        if goal.is_missed(one.jobs, one.late):
            for slot in _around(one.slot):
                late.setdefault(slot, set()).add(one.day)
    return any(_are_most(len(several), days) for several in late.values())


class _Search:
    def __init__(self, found: Iterable[Bin], covered: Span, goal: Goal) -> None:
        self._covered = covered
        self._goal = goal
        self._days_seen = [day for day, _, _ in covered.parts()]
        self._jobs: dict[tuple[date, int], tuple[int, int]] = {}
        for one in found:
            jobs, late = self._jobs.get((one.day, one.slot), (0, 0))  # an hour that came twice
            self._jobs[one.day, one.slot] = (jobs + one.jobs, late + one.late)
        self._late: dict[date, set[int]] = {}
        for (day, slot), (jobs, late) in self._jobs.items():
            if goal.is_missed(jobs, late):
                self._late.setdefault(day, set()).add(slot)
        self._groups = groups_of(covered)
        #: By weekday and slot: the days that are late there or beside it, and all days.
        self._late_days = [[0] * SLOTS for _ in range(7)]
        self._days = [[0] * SLOTS for _ in range(7)]
        for day, slots in self._late.items():
            for near in set(chain.from_iterable(map(_around, slots))):
                self._late_days[day.weekday()][near] += 1
        for day, start, end in covered.parts():
            for slot in range(start, end):
                self._days[day.weekday()][slot] += 1

    def patterns(self) -> list[Pattern]:
        """Accept the candidates that chance does not explain, until no more of the lateness is explained by them."""
        candidates = list(self._candidates())
        accepted: list[Pattern] = []
        while True:
            tried = [self._weighed(one, accepted) for one in candidates]
            likely = [one for one in tried if one.chance <= MAX_CHANCE]
            if len(likely) <= len(accepted):
                return sorted(likely, key=lambda one: (one.chance, one.start))
            accepted = likely

    def _candidates(self) -> Iterator[Pattern]:
        taken: dict[int, set[int]] = {weekday: set() for weekday in range(7)}
        for weekdays in self._groups:
            for start, end in self._usual_times(weekdays):
                if all(_is_known(taken[weekday], start, end) for weekday in weekdays):
                    continue
                days = self._covered.days(weekdays, start, end)
                late_days = sum(not self._late.get(day, set()).isdisjoint(range(start, end)) for day in days)
                if late_days < 2 or not self._is_missed_together(days, start, end):
                    continue
                for weekday in weekdays:
                    taken[weekday].update(range(start, end))
                yield Pattern(weekdays, start, end, late_days, len(days), 1.0)

    def _usual_times(self, weekdays: frozenset[int]) -> Iterator[tuple[int, int]]:
        """The times at which most of these days are late."""
        late = [slot for slot in range(SLOTS) if self._is_usual(weekdays, slot)]
        joined: list[list[int]] = []
        for slot in late:
            if joined and slot - joined[-1][1] <= JOINED_SLOTS:
                joined[-1][1] = slot
            else:
                joined.append([slot, slot])
        late_days = Counter(slot for day, slots in self._late.items() if day.weekday() in weekdays for slot in slots)
        days = {slot: sum(self._days[weekday][slot] for weekday in weekdays) for slot in late}
        edges = {slot for slot in late if late_days[slot] >= _EDGE_DAYS * days[slot]}
        for first, last in joined:
            slots = [slot for slot in range(first, last + 1) if slot in edges] or [first, last]
            yield slots[0], slots[-1] + 1

    def _is_usual(self, weekdays: frozenset[int], slot: int) -> bool:
        """Whether most of these days are late, and no weekday among them is an exception."""
        late = {weekday: self._late_days[weekday][slot] for weekday in weekdays}
        days = {weekday: self._days[weekday][slot] for weekday in weekdays}
        has_exception = any(2 * late[weekday] < days[weekday] for weekday in weekdays)
        return not has_exception and _are_most(sum(late.values()), sum(days.values()))

    def _is_missed_together(self, days: Sequence[date], start: int, end: int) -> bool:
        several = [self._jobs.get((day, slot), (0, 0)) for day in days for slot in range(start, end)]
        return self._goal.is_missed(sum(jobs for jobs, _ in several), sum(late for _, late in several))

    def _weighed(self, one: Pattern, accepted: Sequence[Pattern]) -> Pattern:
        """The pattern, with the probability that chance makes such a one, judged by all other times of the day.

        Single late slots come by chance more often than a time that is late for most of its length, so the latter is
        looked at by itself.
        """
        explained = {slot for other in (one, *accepted) for slot in range(other.start - 1, other.end + 1)}
        rest = {day: slots - explained for day, slots in self._late.items()}
        cells = len(self._days_seen) * (SLOTS - len(explained & set(range(SLOTS))))
        length = one.end - one.start
        late_slots = (sum(map(len, rest.values())) + 0.5) / (cells + 1)
        # A slot beside the own one counts too, so a time is as long as it is and two slots.
        chance = _at_least(one.late_days, one.days, min(1.0, (length + 2) * late_slots))
        if length >= DENSE_SLOTS and cells >= _FEWEST_OTHERS * length:
            late_for_most = sum(_is_dense(count, length) for slots in rest.values() for count in _chunks(slots, length))
            days = self._covered.days(one.weekdays, one.start, one.end)
            own = range(one.start, one.end)
            dense_days = sum(_is_dense(len(self._late.get(day, set()).intersection(own)), length) for day in days)
            a_dense_day = min(1.0, (late_for_most + 0.5) / (cells / length + 1))
            chance = min(chance, _at_least(dense_days, one.days, a_dense_day))
        trials = len(self._groups) * SLOTS / length
        return replace(one, chance=trials * chance)


def _chunks(slots: Iterable[int], length: int) -> Iterable[int]:
    """The number of the slots in each part of so many slots, as far as there are any."""
    return Counter(slot // length for slot in slots).values()


def _is_dense(late: int, length: int) -> bool:
    return 2 * late >= length


def _is_known(taken: set[int], start: int, end: int) -> bool:
    """Whether a larger group of days has this time already, but for a few slots."""
    new = set(range(start, end)) - taken
    return len(new) <= JOINED_SLOTS and len(new) < end - start


def _are_most(late: int, days: int) -> bool:
    return late >= 2 and late >= MOST_DAYS * days


def _around(slot: int) -> range:
    """The slot and those beside it: people are not punctual to five minutes."""
    return range(max(0, slot - 1), min(SLOTS, slot + 2))


def _at_least(hits: int, tries: int, probability: float) -> float:
    """The probability of so many hits or more."""
    return sum(
        math.comb(tries, count) * probability**count * (1 - probability) ** (tries - count)
        for count in range(hits, tries + 1)
    )
