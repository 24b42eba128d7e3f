"""Functions that an operator has paused: their jobs wait, whoever could do them, until they are resumed. Pure.

A pause holds from its command on, whatever the store does. With a durable store it outlives the server, so the answer
waits until it is written, and says so if it could not be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import EventStream, FunctionPaused, FunctionResumed

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session, WithheldReply
    from gearman_server.jobs.store import PausesKnown, Store
    from gearman_server.jobs.wake_up import WakeUp

DONE: Final = b"OK\r\n"
_NOT_STORED: Final = (
    b"ERR NOT_STORED It+is+done,+but+the+store+can't+be+written:+a+restart+may+forget+it+until+it+can\r\n"
)


class Pauses:
    """Pauses functions and resumes them, and answers once that is written."""

    def __init__(
        self,
        functions: Functions,
        wake_up: WakeUp,
        store: Store,
        agenda: Agenda,
        touched: set[Session],
        events: EventStream,
    ) -> None:
        self._functions = functions
        self._wake_up = wake_up
        self._store = store
        self._agenda = agenda
        self._touched = touched
        self._events = events
        #: By function with a change that is not written yet, the answers that wait for that, each with what it wants to
        #: be written, in the order of the commands.
        self._waiting: dict[bytes, deque[tuple[float | None, WithheldReply]]] = {}
        functions.note_dropped = self._forget
        #: When a change of a pause was last made, or written (monotonic seconds).
        self._changed_at = float("-inf")

    def restore(self, pauses: Mapping[bytes, float]) -> None:
        """Take over the pauses of an earlier run; call this before any worker is served."""
        for name, since in pauses.items():
            function = self._functions.by_name.get(name) or self._functions.create(name, is_promised=True)
            function.pause(since)

    def follow(self, pauses: Mapping[bytes, float], read_at: float) -> None:
        """Take over the pauses that were read at that time (monotonic seconds) from the store, which others share."""
        if read_at <= self._changed_at or self._waiting:
            return  # it may be older than a change of ours
        for name in pauses:
            if name not in self._functions.by_name:
                self._functions.create(name, is_promised=True)
        for function in list(self._functions.by_name.values()):
            since = pauses.get(function.name)
            if (since is None) != (function.paused_since is None):
                function.pause(since)
                self._wake_up.wake(function, function.takeable)

    def pause(self, session: Session, name: bytes) -> bytes:
        """Start no more jobs of a function; running ones go on. Returns the answer; empty if it follows later.

        Raises:
            RefusedError: no function can have that name, or there are too many.
        """
        function = self._functions.by_name.get(name) or self._functions.create(name)
        if function.paused_since is None:
            self._events.emit(FunctionPaused(session.identity, name))
            return self._set(session, function, self._agenda.unix_time())
        return self._answer(session, name, function.paused_since)

    def resume(self, session: Session, function: Function) -> bytes:
        """Start a function's jobs again, take its brake off, and forget a worker's wish to hold it. Returns the answer;
        empty if it follows later."""
        throttle = function.throttle
        brake = throttle.brake if throttle is not None else None
        is_held = brake is not None and brake.since is not None
        if brake is not None:
            brake.take_off()
        if throttle is not None:
            is_held |= throttle.wished(self._agenda.now) is not None
            throttle.take_wish_off()
        if is_held or function.paused_since is not None:
            self._events.emit(FunctionResumed(session.identity, function.name))
        if function.paused_since is not None:
            answer = self._set(session, function, None)
        else:
            answer = self._answer(session, function.name, None)
        self._wake_up.wake(function, function.takeable)
        return answer

    def _forget(self, function: Function) -> None:
        """The function was dropped, and its pause with it."""
        if function.paused_since is not None:
            self._store.set_pause(function.name, None)

    def _set(self, session: Session, function: Function, since: float | None) -> bytes:
        function.pause(since)
        self._changed_at = self._agenda.now
        self._wake_up.due.pop(function, None)
        self._store.set_pause(function.name, since)
        if not self._store.is_durable:
            return DONE
        self._waiting.setdefault(function.name, deque())
        return self._answer(session, function.name, since)

    def _answer(self, session: Session, name: bytes, since: float | None) -> bytes:
        """The answer to a command after which this is to be written, if it is not yet."""
        waiting = self._waiting.get(name)
        if waiting is None:
            return DONE
        waiting.append((since, session.withhold()))
        return b""

    def note_outcome(self, outcome: PausesKnown) -> None:
        """The store has written these, or has failed to: answer the commands up to the last that wanted this."""
        answer = DONE if outcome.are_written else _NOT_STORED
        self._changed_at = self._agenda.now
        for name, since in outcome.pauses.items():
            waiting = self._waiting.get(name, deque())
            wanted = [wanted for wanted, _ in waiting]
            answered = len(wanted) - wanted[::-1].index(since) if since in wanted else 0
            for _ in range(answered):
                _, gap = waiting.popleft()
                gap.packet = answer
                if gap.session is not None:
                    gap.session.send_released()
                    self._touched.add(gap.session)
            if outcome.are_written and not waiting:
                self._waiting.pop(name, None)
