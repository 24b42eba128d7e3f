"""One decision of the scaler: the work, the workers that it needs, and the limits that changed their number. Pure.

The scaler's parts hand a `Reckoning` on; each names the limit by which it changes the size. The last one named binds.
Whatever happened, a `Decision` tells it in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Writes a moment of the scaler's clock as people read it, such as 12:01.
TimeOfDay = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule that gives a pool another number of workers than the work needs."""

    name: str  #: of the key or the rule; two limits with one name are the same, whatever their texts
    text: str  #: as a sentence has it after the colon: "max 4 holds"
    detail: str = ""  #: in parentheses after that; may change from look to look
    until: float | None = None  #: when it ends, if that is known; else a sentence says since when it holds
    until_text: str = ""  #: the same as text, for an end by the clocks of another time zone
    since: float | None = None  #: when it began, if that is known; else a sentence says since when it was seen
    is_told: bool = False  #: in every sentence, also if another limit decides after it
    is_brief: bool = False  #: it ends by itself within seconds, so no warning tells of it

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True, slots=True)
class Step:
    """A limit in a decision, and the size after it."""

    limit: Limit
    size: int
    since: float | None = None  #: since when the limit has been in every decision for this pool

    def text(self, time_of_day: TimeOfDay) -> str:
        """The limit, with the time until which or since which it holds: "max 4 holds since 12:01"."""
        limit, when = self.limit, ""
        if limit.until_text:
            when = f" until {limit.until_text}"
        elif limit.until is not None:
            when = f" until {time_of_day(limit.until)}"
        elif (since := self.since if limit.since is None else limit.since) is not None:
            when = f" since {time_of_day(since)}"
        return f"{limit.text}{when} ({limit.detail})" if limit.detail else limit.text + when


@dataclass(frozen=True, slots=True)
class Inputs:
    """The numbers from which a decision was made."""

    queued: int = 0  #: jobs that further workers could start
    running: int = 0
    held: int = 0  #: other jobs that wait: delayed ones, and those for which a limit of their function leaves no room
    service_s: float | None = None  #: a job's mean time; None if unknown
    jobs_per_worker: int = 1  #: that one worker runs at once
    workers: int = 0  #: the pool's workers at that moment, those on their way included
    managers: int = 1  #: that serve these functions, this one included
    rank: int = 0  #: of this manager among them, from 0
    foreign_workers: int = 0
    away: tuple[str, ...] = ()  #: job servers that can't be reached, whose jobs are unknown
    minimum: int = 0
    maximum: int = 0
    max_workers: int | None = None  #: for all pools together
    max_everywhere: int | None = None  #: for this pool over all managers
    uses: Mapping[str, int] = field(default_factory=dict)  #: by budget, the units of one worker
    budgets: Mapping[str, int] = field(default_factory=dict)  #: all of them, with their units


@dataclass(frozen=True, slots=True)
class Decision:
    """The size that a pool is to have, and why. Times are those of the scaler's clock."""

    at: float
    wanted: int  #: workers that the work needs, on all machines together
    rule: str  #: of the pool's `scale` section: "2 s of waiting"
    is_late: bool  #: jobs wait longer than planned
    size: int
    steps: tuple[Step, ...]
    inputs: Inputs

    @property
    def binding(self) -> Step | None:
        """The limit that decided, the last one; None if the pool has as many workers as the work needs."""
        return self.steps[-1] if self.steps else None

    @property
    def key(self) -> tuple[int, str]:
        """Decisions with equal keys are the same: size and binding limit. The numbers of jobs never stand still."""
        return self.size, "; ".join(step.limit.name for step in self._told)

    @property
    def _told(self) -> list[Step]:
        """The limits that a sentence has: the binding one first."""
        others = [step for step in self.steps[:-1] if step.limit.is_told]
        return [*self.steps[-1:], *others]

    def sentence(self, time_of_day: TimeOfDay) -> str:
        """For example "9 wanted by 2 s of waiting, 4 had: limits.max_workers holds since 12:01"."""
        late = " (jobs are late)" if self.is_late else ""
        head = f"{self.wanted} wanted by {self.rule}{late}, {self.size} had"
        told = "; ".join(step.text(time_of_day) for step in self._told)
        return f"{head}: {told}" if told else head

    def with_since(self, since: Mapping[str, float]) -> Decision:
        """The same; by name, since when limits hold, those not named from now on."""
        if not self.steps:
            return self
        # Made for every pool at every change of a queue: not with `replace`, which takes four times as long.
        steps = tuple([Step(step.limit, step.size, since.get(step.limit.name, self.at)) for step in self.steps])
        return Decision(self.at, self.wanted, self.rule, self.is_late, self.size, steps, self.inputs)


@dataclass(slots=True)
class Reckoning:
    """A pool's size on its way through the scaler's parts, and the limits that it has met."""

    wanted: int
    rule: str
    is_late: bool = False
    size: int = field(init=False)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.wanted

    def to(self, size: int, limit: Limit) -> None:
        """Change the size; a limit that leaves it as it is does not bind, and is not noted."""
        if size != self.size:
            self.size = size
            self.steps.append(Step(limit, size))

    def note(self, limit: Limit) -> None:
        """Note a limit that has already lowered the numbers behind the size: it binds unless a later one does."""
        self.steps.append(Step(limit, self.size))

    def decision(self, now: float, inputs: Inputs) -> Decision:
        """The decision that has been reached."""
        return Decision(now, self.wanted, self.rule, self.is_late, self.size, tuple(self.steps), inputs)
