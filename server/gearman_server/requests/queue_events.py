"""The extension `queue-events`: functions' counts, pushed to the connections that asked for them. Pure.

The path of a job knows nothing of this. While there are subscribers, every request plans one look at all functions,
shared by all requests of the next moments; the look sends the counts that have changed since the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import QUEUE_CHANGED
from gearman_client.packet import encode_response

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session

#: A function's changes within this time are sent together.
COALESCING_S: Final = 0.02
#: With very many functions, the pause between two looks grows, so that the looks take no more than 5 % of the time.
_PAUSE_PER_FUNCTION_S: Final = 20e-6

#: A function's startable jobs, running jobs, workers, and all waiting jobs.
_Counts = tuple[int, int, int, int]
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
        self._look_alarm = agenda.alarm(self._look)
        self._opening_alarm = agenda.alarm(self._open)

    def subscribe(self, session: Session) -> None:
        """Send the session all functions' counts now, and every change from now on."""
        if session in self.subscribers:
            return
        counts = self._counts(self._agenda.now)  # the next look also plans changes that come with time alone
        if not self.subscribers:
            self._told = counts
        self.subscribers.add(session)
        for name, count in counts.items():
            session.reply(_queue_changed(name, count))

    def unsubscribe(self, session: Session) -> None:
        """Forget a session that is gone."""
        self.subscribers.discard(session)

    def note_change(self) -> None:
        """Plan a look, because counts may have changed. Called only while there are subscribers."""
        self._look_alarm.by(self._not_before)

    def _look(self, now: float) -> None:
        self._not_before = now + max(COALESCING_S, _PAUSE_PER_FUNCTION_S * len(self._functions.by_name))
        if not self.subscribers:
            return
        self._plan_openings(now)
        told, self._told = self._told, self._counts(now)
        packets = [_queue_changed(name, count) for name, count in self._told.items() if told.get(name) != count]
        packets += [_queue_changed(name, _GONE) for name in told.keys() - self._told.keys()]
        if packets:
            data = b"".join(packets)
            for session in self.subscribers:
                session.reply(data)
            self._touched.update(self.subscribers)

    def _plan_openings(self, now: float) -> None:
        """Plan a look for when a rate allows the next start: the number of startable jobs grows without a request."""
        openings = (
            function.throttle.opens_at(function.running, now)
            for function in self._functions.by_name.values()
            if function.throttle is not None and function.queued
        )
        opening = min((at for at in openings if at is not None), default=None)
        if opening is not None:
            self._opening_alarm.by(opening)

    def _open(self, _now: float) -> None:
        self.note_change()

    def _counts(self, now: float) -> dict[bytes, _Counts]:
        return {
            name: (function.startable(now), function.running, len(function.workers), function.waiting)
            for name, function in self._functions.by_name.items()
        }


def _queue_changed(name: bytes, counts: _Counts) -> bytes:
    return encode_response(QUEUE_CHANGED, name, *(b"%d" % count for count in counts))
