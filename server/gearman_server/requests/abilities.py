"""The requests that describe a worker: CAN_DO, CAN_DO_TIMEOUT, CANT_DO, RESET_ABILITIES, SET_CLIENT_ID. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gearman_client.packet import PacketType
from gearman_server.errors import MalformedPacketError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.events import EventStream, FunctionRegistered, FunctionUnregistered

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.agenda import Chores
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.requests.submissions import Handler

MAX_CLIENT_ID_BYTES: Final = 127
_GIVEN_UP: Final = "its worker gave the function up"
MIN_TIMEOUT_MS: Final = 1000
MAX_TIMEOUT_MS: Final = 2**31


class Abilities:
    """Handlers of the requests that register functions, and name a worker."""

    def __init__(
        self,
        functions: Functions,
        attempts: Attempts,
        wake_up: WakeUp,
        chores: Chores,
        touched: set[Session],
        events: EventStream,
    ) -> None:
        self._functions = functions
        self._attempts = attempts
        self._wake_up = wake_up
        self._chores = chores
        self._touched = touched
        self._events = events

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.CAN_DO: self._can_do,
            PacketType.CAN_DO_TIMEOUT: self._can_do_timeout,
            PacketType.CANT_DO: self._cant_do,
            PacketType.RESET_ABILITIES: self._reset_abilities,
            PacketType.SET_CLIENT_ID: _set_client_id,
        }

    def _can_do(self, session: Session, body: bytes, _now: float) -> None:
        self.register(session, body, None)

    def _can_do_timeout(self, session: Session, body: bytes, _now: float) -> None:
        name, separator, digits = body.partition(b"\0")
        if not separator:
            raise MalformedPacketError("CAN_DO_TIMEOUT takes function and milliseconds")
        self.register(session, name, _timeout_s(digits))

    def register(self, session: Session, name: bytes, timeout_s: float | None) -> Function | None:
        """Register the worker for the function, maybe with its own time limit. None: it is out of service."""
        if session.is_drained:
            return None
        function = self._functions.by_name.get(name) or self._functions.create(name)
        # A repeated registration only replaces the timeout; gearmand would list the function twice.
        session.timeouts_s.pop(function, None)
        if function.batches is not None:
            _forget_batches(session, function)
        if timeout_s is not None:
            session.timeouts_s[function] = timeout_s
        if session in function.workers:
            return function
        function.workers.add(session)
        session.functions[function] = None
        self._wake_up.add_function(session, function)
        self._events.emit(FunctionRegistered(session.identity, session.client_id, name))
        return function

    def _cant_do(self, session: Session, body: bytes, _now: float) -> None:
        function = self._functions.by_name.get(body)
        if function is None or session not in function.workers:
            return
        if len(session.assigned) > STEP:
            session.yield_turn()

        def unregister() -> Iterator[None]:
            if session in function.workers:  # else the connection has ended meanwhile
                self._unregister(session, function)
            yield from ()

        self._give_up([job for job in session.assigned.values() if job.function is function], session, unregister)

    def _reset_abilities(self, session: Session, _body: bytes, _now: float) -> None:
        self._give_up(list(session.assigned.values()), session, lambda: self.forget_all(session))

    def _give_up(self, jobs: list[Job], session: Session, unregister: Callable[[], Iterator[None]]) -> None:
        """Take these jobs from the worker, then unregister it, in steps. No later request overtakes them."""
        if session.held is not None:
            jobs.reverse()  # the last first: those that it has not begun go back to the head of their queue

        def steps() -> Iterator[None]:
            session.hold()
            try:
                for at, job in enumerate(jobs, 1):
                    if job.worker is session:  # else it has ended meanwhile
                        self._attempts.lose_worker(job, _GIVEN_UP)
                    if at % STEP == 0:
                        yield
                yield from unregister()
            finally:
                session.unhold()
            self._touched.add(session)

        self._chores.start(steps())

    def forget_all(self, session: Session) -> Iterator[None]:
        """Unregister the worker from all functions, in steps. It keeps the jobs that it has."""
        functions = session.functions
        while functions:
            for _ in range(min(STEP, len(functions))):
                self._unregister(session, functions.popitem()[0])
            if functions:
                yield
        self._wake_up.forget_breadth(session)

    def _unregister(self, session: Session, function: Function) -> None:
        session.functions.pop(function, None)
        function.workers.discard(session)
        self._wake_up.remove_function(session, function)
        session.timeouts_s.pop(function, None)
        if function.batches is not None:
            _forget_batches(session, function)
        self._events.emit(FunctionUnregistered(session.identity, session.client_id, function.name))


def _forget_batches(session: Session, function: Function) -> None:
    """The worker wants no batches of the function any more."""
    if function.batches is not None and function.batches.pop(session, None) is not None and not function.batches:
        function.batches = None


def _set_client_id(session: Session, body: bytes, _now: float) -> None:
    # Cut as in gearmand; a line feed in it would forge a line of the text command `workers`.
    session.client_id = body[:MAX_CLIENT_ID_BYTES].translate(None, b"\0\r\n")


def _timeout_s(digits: bytes) -> float | None:
    """The seconds of a CAN_DO_TIMEOUT, at least one; None unless it is a positive number."""
    text = digits.strip()
    if not text.isdigit():
        return None
    milliseconds = MAX_TIMEOUT_MS if len(text) > len(str(MAX_TIMEOUT_MS)) else min(int(text), MAX_TIMEOUT_MS)
    return max(milliseconds, MIN_TIMEOUT_MS) / 1000 if milliseconds > 0 else None
