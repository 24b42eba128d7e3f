"""Asks the shared tables, on a thread and over a connection of its own: the loop never waits for the database."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gearman_server.thread import Delivery, NativeThread

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gearman_server.loop import Loop
    from gearman_server.stores.backend import Backend

#: Looks at the clock within the time of a question.
_LOOKS: Final = 10
_STOP_PATIENCE_S: Final = 2.0

Item = TypeVar("Item")


class Reader:
    """Answers questions one after the other. Each statement is a transaction of its own."""

    def __init__(self, engine: Engine, backend: Backend, loop: Loop, timeout_s: float) -> None:
        self._engine = engine
        self._backend = backend
        self._thread = NativeThread(loop)
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._questions: deque[tuple[Callable[[Connection], Any], Callable[[Any], None]]] = deque()
        self._asked_at = 0.0
        self._timer = loop.timer(timeout_s / _LOOKS, timeout_s / _LOOKS)

    def ask(self, question: Callable[[Connection], Item], answer: Callable[[Item | None], None]) -> None:
        """Call `answer`, later, with what the question returns; None: the database does not answer. The caller bounds
        the number of its questions."""
        self._questions.append((question, answer))
        self._go_on()

    def stop(self) -> None:
        """Answer nothing more. Blocks, but not for long."""
        self._timer.stop()
        self._questions.clear()
        if self._thread.is_busy:
            self._break_off()
        self._thread.stop(_STOP_PATIENCE_S)
        self._close()

    def _go_on(self) -> None:
        if self._thread.is_busy or not self._questions:
            return
        self._asked_at = monotonic()
        if not self._timer.active:
            self._timer.start(self._look_at_the_clock)
        self._thread.run(partial(self._carry_out, *self._questions.popleft()))

    def _look_at_the_clock(self) -> None:
        if not self._thread.is_busy:
            self._timer.stop()
        elif monotonic() - self._asked_at > self._timeout_s:
            self._break_off()

    def _break_off(self) -> None:
        connection = self._connection
        with contextlib.suppress(Exception):  # it may be closing just now
            if connection is not None:
                self._backend.break_off(connection.connection.driver_connection)

    def _tell(self, answer: Callable[[Any], None], found: Any) -> None:
        self._go_on()
        answer(found)

    # --- on its thread

    def _carry_out(self, question: Callable[[Connection], Any], answer: Callable[[Any], None]) -> Delivery:
        found = None
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            found = question(self._connection)
        except Exception:  # noqa: BLE001 - the thread's boundary: the question has no answer now
            self._close()
        return partial(self._tell, answer, found)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.invalidate()
            with contextlib.suppress(DBAPIError):
                connection.close()
