"""The extension `queue-events`: functions' counts, pushed to the connections that asked for them. Pure.

The path of a job knows nothing of this. While there are subscribers, every request plans one look at all functions,
shared by all requests of the next moments; the look sends the counts that have changed since the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import QUEUE_CHANGED
from gearman_client.packet import encode_response
from gearman_server.jobs.agenda import STEP

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.throttle import Throttle, Wish

#: A function's changes within this time are sent together.
COALESCING_S: Final = 0.02
#: With very many functions, the pause between two looks grows, so that the looks take no more than 5 % of the time.
_PAUSE_PER_FUNCTION_S: Final = 20e-6

#: A function's startable jobs, running jobs, workers, and all waiting jobs. While it is paused or held by anything,
#: since when it is paused, since when and until when its brake holds it, and until when a worker's wish does: Unix
#: milliseconds, 0 for no.
_Counts = tuple[int, ...]
_GONE: Final[_Counts] = (0, 0, 0, 0)


class QueueEvents:
    """The subscribers, and the counts that were sent last."""

    def __init__(self, functions: Functions, agenda: Agenda, touched: set[Session]) -> None:
        self._functions = functions
        self._agenda = agenda
        self._touched = touched
        self.subscribers: set[Session] = set()
        self._told: dict[bytes, _Counts] = {}
        #: Before this time (monotonic seconds) there is no further look.
        self._not_before = 0.0
        self._is_looking = False
        #: Whether something has changed since the look began.
        self._is_outdated = False
        self._look_alarm = agenda.alarm(self._look)
        self._opening_alarm = agenda.alarm(self._open)

    def subscribe(self, session: Session) -> None:
        """Send the session all functions' counts now, and every change from now on."""
        if session in self.subscribers:
            return
        if not self.subscribers:
            self._told = {}
        self.subscribers.add(session)
        session.answer(self._all_counts())
        self.note_change()  # the look also plans changes that come with time alone

    def _all_counts(self) -> Iterator[bytes]:
        """The packets for all functions, in pieces."""
        names, told = self._functions.names, self._told
        for at in range(0, len(names), STEP):
            packets = []
            for name in names[at : at + STEP]:
                count = self._count(name)
                if len(self.subscribers) == 1:
                    told[name] = count
                elif told.get(name) != count:
                    told.pop(name, None)  # others do not know it yet: the next look tells all
                packets.append(_queue_changed(name, count))
            yield b"".join(packets)

    def unsubscribe(self, session: Session) -> None:
        """Forget a session that is gone."""
        self.subscribers.discard(session)

    def note_change(self) -> None:
        """Plan a look, because counts may have changed. Called only while there are subscribers."""
        self._look_alarm.by(self._not_before)

    def _look(self, now: float) -> None:
        if self._is_looking:
            self._is_outdated = True
            return
        self._not_before = now + max(COALESCING_S, _PAUSE_PER_FUNCTION_S * len(self._functions.by_name))
        if self.subscribers:
            self._agenda.chores.start(self._steps())

    def _steps(self) -> Iterator[None]:
        """Tell the subscribers what has changed, some functions at a time."""
        self._is_looking, self._is_outdated = True, False
        try:
            told = self._told
            for names in (self._functions.names, tuple(told)):  # the latter for those that are gone
                for at in range(0, len(names), STEP):
                    if at:
                        yield
                    self._tell_changes(told, names[at : at + STEP])
        finally:
            self._is_looking = False
        if self._is_outdated:
            self.note_change()

    def _tell_changes(self, told: dict[bytes, _Counts], names: Sequence[bytes]) -> None:
        packets = []
        for name in names:
            count = self._count(name)
            if told.get(name, _GONE if count is _GONE else None) != count:
                packets.append(_queue_changed(name, count))
            if count is _GONE:
                told.pop(name, None)
            else:
                told[name] = count
        if packets:
            data = b"".join(packets)
            for session in self.subscribers:
                session.reply(data)
            self._touched.update(self.subscribers)

    def _plan_opening(self, function: Function, now: float) -> None:
        """Plan a look for when a rate allows the next start: the number of startable jobs grows without a request."""
        if function.throttle is not None and function.queued:
            opening = function.throttle.opens_at(function.running, now)
            if opening is not None:
                self._opening_alarm.by(opening)

    def _open(self, _now: float) -> None:
        self.note_change()

    def _count(self, name: bytes) -> _Counts:
        function, now = self._functions.by_name.get(name), self._agenda.now
        if function is None:
            return _GONE
        self._plan_opening(function, now)
        counts = (function.startable(now), function.running, len(function.workers), function.waiting)
        throttle = function.throttle
        if throttle is None:
            return counts
        wish = throttle.wished(now)
        if wish is not None:
            self._opening_alarm.by(wish.until)
        return counts + _holds(throttle, wish)


def _holds(throttle: Throttle, wish: Wish | None) -> _Counts:
    paused_since, brake = throttle.paused_since, throttle.brake
    is_held = brake is not None and brake.since is not None
    if paused_since is None and not is_held and wish is None:
        return ()
    since, until = (brake.since_unix, brake.until_unix) if brake is not None and is_held else (0.0, 0.0)
    moments = (paused_since or 0.0, since, until, 0.0 if wish is None else wish.until_unix)
    return tuple(round(1000 * moment) for moment in moments)


def _queue_changed(name: bytes, counts: _Counts) -> bytes:
    return encode_response(QUEUE_CHANGED, name, *(b"%d" % count for count in counts))
