"""The keys of one function: what each has waiting and running, and how many of its jobs may start now. Pure.

A key exists while it has jobs, starts that still count, or a hold; then it is forgotten. Beyond `MAX_KEYS`, new ones
share `SHARED_KEYS` common keys, chosen by a hash of their names: nothing is refused, and no limit is exceeded, because
the jobs of a name are never in a common key and in one of their own at once.

Nothing here looks at all keys. A key is counted anew when something happens to it: a job comes, starts or ends, or a
time comes that is kept in a heap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from sys import maxsize
from typing import TYPE_CHECKING, Final
from zlib import crc32

from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.throttle import RunningCount

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.policies import KeyPolicy
    from gearman_server.keys.keyed_queue import KeyedQueue
    from gearman_server.keys.line import Line

#: A key takes some 1.5 kB, beside its jobs.
MAX_KEYS: Final = 100_000
SHARED_KEYS: Final = 1024
#: How far a turn of a key with the weight 1 moves it back behind the others. It can be divided by 1 to 16.
STRIDE: Final = 720_720
#: Keys whose time has come, but for which no worker asks, are looked at this late.
_LATE_S: Final = 1.0
#: So many of them are looked at in one call.
_LOOKS: Final = STEP


class Key(RunningCount):
    """One key that has jobs, or whose limits count something."""

    __slots__ = ("due", "held_until", "is_short", "lines", "name", "running", "starts", "stride", "table")

    def __init__(self, table: KeyTable, name: bytes, stride: int) -> None:
        self.table = table
        self.name = name
        self.stride = stride
        #: Its waiting jobs: a line for each priority that has some.
        self.lines: list[Line] = []
        #: Whether some of them can't start now.
        self.is_short = False
        #: Its running jobs, if their number has a limit; else 0.
        self.running = 0
        #: When those of its jobs were started that its rate counts (monotonic seconds); None: there were none.
        self.starts: deque[float] | None = None
        #: None of its jobs starts before this time (monotonic seconds).
        self.held_until = 0.0
        #: When it is looked at again; None: not before something happens to it.
        self.due: float | None = None

    def note_end(self) -> None:
        """One of its running jobs is no longer with its worker."""
        if self.running:
            self.running -= 1
        if self.is_short:
            self.table.open_more(self)
        elif not self.lines:
            self.table.forget_idle(self)

    @property
    def waiting(self) -> int:
        """How many of its jobs wait."""
        return sum(line.waiting for line in self.lines)


class KeyTable:
    """The keys of a function, and its rules for them."""

    __slots__ = (
        "_alarm",
        "_due",
        "_due_serial",
        "_shared",
        "_wake",
        "agenda",
        "held",
        "is_fair",
        "is_limited",
        "keys",
        "looks_at",
        "max_running",
        "queues",
        "rate",
        "rules",
        "startable",
    )

    def __init__(self, rules: KeyPolicy, agenda: Agenda, wake: Callable[[], None]) -> None:
        """`wake` has sleepers woken for the jobs that could start."""
        self.agenda = agenda
        self._wake = wake
        self.keys: dict[bytes, Key] = {}
        #: By priority.
        self.queues: list[KeyedQueue] = []
        #: The jobs that could start now, as far as keys decide.
        self.startable = 0
        #: Keys that a worker asked to hold.
        self.held: set[Key] = set()
        self._shared = 0
        self._due: list[tuple[float, int, Key]] = []
        self._due_serial = 0
        #: When `advance` has something to do (monotonic seconds).
        self.looks_at = inf
        self._alarm = agenda.alarm(self._look)
        self.rules = rules
        self.max_running = rules.max_running
        self.rate = rules.rate
        self.is_fair = rules.is_fair
        #: Whether any key can be kept from starting jobs.
        self.is_limited = rules.is_limited

    # --- keys

    def find(self, name: bytes) -> Key:
        """The key to which jobs of that name belong."""
        key = self.keys.get(name)
        return key if key is not None else self._shared_or_new(name)

    def _shared_or_new(self, name: bytes) -> Key:
        is_full = len(self.keys) >= MAX_KEYS
        if self._shared or is_full:
            common = b"\0%d" % (crc32(name) % SHARED_KEYS)  # no name has a zero byte
            key = self.keys.get(common)
            if key is not None:
                return key
            if is_full:
                self._shared += 1
                name = common
        key = self.keys[name] = Key(self, name, self.stride_of(name))
        return key

    def stride_of(self, name: bytes) -> int:
        """How far a turn moves a key of that name."""
        return -(-STRIDE // self.rules.weights.get(name, 1))

    def forget_idle(self, key: Key) -> None:
        """Forget the key, if there is nothing to remember."""
        if key.lines or key.running or key.starts:
            return
        if key not in self.held and self.keys.get(key.name) is key:
            del self.keys[key.name]
            if key.name[:1] == b"\0":
                self._shared -= 1

    # --- how many of its jobs may start

    def recount(self, key: Key) -> None:
        """Note how many of the key's jobs may start, after something has happened to it."""
        left = self._room(key) if self.is_limited else maxsize
        is_short = False
        for line in key.lines:
            counted = len(line.jobs) - line.jobs.tombstones  # `line.waiting`, without a call
            if counted > left:
                is_short, counted = True, left
            left -= counted
            if counted != line.counted:
                line.queue.set_startable(line, counted)
        key.is_short = is_short
        if (is_short or key.due is None) and (key.starts or key.held_until):
            self.plan(key)

    def open_more(self, key: Key) -> None:
        """The same after the end of a job, for a key some of whose jobs can't start. Mostly only running ones are in
        their way, and it has one line."""
        room = 0 if self.max_running is None else self.max_running - key.running
        has_tokens = self.rate is None or not key.starts or len(key.starts) + room <= self.rate.count
        if room <= 0 or not has_tokens or key.held_until or len(key.lines) != 1:
            self.recount(key)
            return
        line = key.lines[0]
        waiting = len(line.jobs) - line.jobs.tombstones
        key.is_short = waiting > room
        line.queue.set_startable(line, room if key.is_short else waiting)

    def _room(self, key: Key) -> int:
        """How many more of its jobs may be started, if it has any."""
        if key.held_until and self.agenda.now < key.held_until:
            return 0
        room = maxsize if self.max_running is None else self.max_running - key.running
        if self.rate is not None:
            tokens = self.rate.count
            if key.starts:
                starts, per_s, now = key.starts, self.rate.per_s, self.agenda.now
                while starts and starts[0] + per_s <= now:
                    starts.popleft()
                tokens -= len(starts)
            if tokens < room:
                room = tokens
        return room if room > 0 else 0

    def obstacle(self, key: Key) -> tuple[bytes, float | None]:
        """For people: why the key's next job may not start now, and when it may as far as that is known (monotonic
        seconds). Nothing if one may."""
        if self.agenda.now < key.held_until:
            return b"throttled", key.held_until
        if not self.is_limited or self._room(key):
            return b"", None
        if self.max_running is not None and key.running >= self.max_running:
            return b"max_running", None
        starts = key.starts or deque()
        count, per_s = (1, 0.0) if self.rate is None else (self.rate.count, self.rate.per_s)
        return b"rate", starts[max(0, len(starts) - count)] + per_s if starts else None

    def plan(self, key: Key) -> None:
        """Plan the next look at the key, if time alone changes something."""
        if self.agenda.now < key.held_until:
            due = key.held_until
        elif self.rate is not None and key.starts:
            due = key.starts[0 if key.is_short else -1] + self.rate.per_s
        else:
            return
        if key.due is None or due < key.due:
            key.due = due
            self._due_serial += 1
            heappush(self._due, (due, self._due_serial, key))
            self.looks_at = self._due[0][0]
            if self._alarm.due is None:
                self._alarm.by(due + _LATE_S)

    def advance(self) -> None:
        """Look at the keys whose time has come: not all at once, if there are very many."""
        now, due, looks = self.agenda.now, self._due, 0
        if now < self.looks_at:
            return
        while due and due[0][0] <= now and looks < _LOOKS:
            at, _, key = heappop(due)
            looks += 1
            if key.due != at:
                continue  # it was looked at earlier
            key.due = None
            if key.held_until <= now:
                self.held.discard(key)
            self.recount(key)
            self.forget_idle(key)
        self.looks_at = due[0][0] if due else inf

    def _look(self, now: float) -> None:
        self.advance()
        if self._due:
            self._alarm.by(max(now, self._due[0][0] + _LATE_S))

    @property
    def opens_at(self) -> float | None:
        """When a key is looked at again, because more of its jobs may start then."""
        return self._due[0][0] if self._due else None

    # --- older jobs

    def start_sorting(self) -> None:
        """Sort the jobs that were queued without keys into lines, in steps."""
        self.agenda.chores.start(self._sort())

    def _sort(self) -> Iterator[None]:
        while any(queue.is_unsorted for queue in self.queues):
            for queue in self.queues:
                if queue.is_unsorted:
                    queue.sort_some()
            self._wake()
            yield

    def sort_until_startable(self) -> bool:
        """Sort some more jobs, because none that are sorted may start. Returns whether one may now."""
        for queue in self.queues:
            if queue.is_unsorted:
                queue.sort_some()
        return self.startable > 0

    # --- what happens to jobs

    def note_start(self, key: Key) -> Key | None:
        """One of the key's jobs that could start was taken. Returns the key if the job's end counts, too."""
        if self.rate is not None:
            if key.starts is None:
                key.starts = deque()
            key.starts.append(self.agenda.now)
            if key.due is None:
                self.plan(key)
        if self.max_running is None:
            return None
        key.running += 1
        return key

    def count_running(self, job: Job) -> None:
        """Count a job that was taken before there was a limit for running ones."""
        key = self.find(job.key)
        key.running += 1
        job.with_place().counted_in = key

    def note_running(self, name: bytes, began_at: float) -> Key | None:
        """One of the key's jobs runs since that time, and was taken from no queue. Returns the key if that counts."""
        key = self.find(name)
        if self.max_running is not None:
            key.running += 1
        if self.rate is not None:
            key.starts = key.starts or deque()
            key.starts.append(began_at)
        self.recount(key)
        self.forget_idle(key)
        return None if self.max_running is None else key

    def forget_start(self, name: bytes, at: float) -> None:
        """One of the key's jobs, which was started at that time, was given back unbegun."""
        key = self.find(name)
        if key.starts and at in key.starts:
            key.starts.remove(at)
        self.recount(key)
        self.forget_idle(key)

    def hold(self, name: bytes, until: float) -> None:
        """Start no job of the key before that time (monotonic seconds)."""
        key = self.find(name)
        key.held_until = max(key.held_until, until)
        self.held.add(key)
        self.is_limited = True
        self.recount(key)

    # --- other rules

    def use(self, rules: KeyPolicy, running: Callable[[], Iterator[Job]]) -> Iterator[None]:
        """From now on, follow these rules; `running` yields the jobs that run. The steps that are left count each key
        anew, and give it its place among the others."""
        if rules.max_running is not None and self.max_running is None:
            for key in self.keys.values():
                key.running = 0
            for job in running():
                self.count_running(job)
        self.rules, self.is_fair = rules, rules.is_fair
        self.max_running, self.rate = rules.max_running, rules.rate
        self.is_limited = rules.is_limited or bool(self.held)
        for queue in self.queues:
            queue.leave_flow()
        return self._recount_all()

    def _recount_all(self) -> Iterator[None]:
        for at, name in enumerate(list(self.keys), 1):
            key = self.keys.get(name)
            if key is not None:
                if self.max_running is None:
                    key.running = 0
                if self.rate is None:
                    key.starts = None
                key.stride = self.stride_of(name)
                for line in key.lines:
                    line.queue.place_anew(line)
                self.recount(key)
                self.forget_idle(key)
            if at % STEP == 0:
                yield
