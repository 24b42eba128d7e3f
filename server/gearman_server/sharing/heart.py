"""Beats, over a connection of its own, so that no long batch delays one; and declares dead who does not beat.

Only the loop starts a beat. A server whose loop hangs serves nobody, and it has no beats either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import DBAPIError

from gearman_server.cluster.members import BEAT_EVERY_S, Member
from gearman_server.log import logger
from gearman_server.sharing.beat_statements import BeatStatements
from gearman_server.sharing.fencing import fence
from gearman_server.stores.engine import reason_of
from gearman_server.stores.small_tables import read_pauses
from gearman_server.thread import Delivery, NativeThread

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gearman_server.loop import Loop
    from gearman_server.stores.backend import Backend, Sharing

#: With one of so many beats batches of jobs are looked for that are due.
_BATCHES_EVERY: Final = 2
#: A beat that takes longer is broken off.
_PATIENCE_S: Final = 2.0
_STOP_PATIENCE_S: Final = 2.0


class Beat(NamedTuple):
    """What came of a beat."""

    #: The server that has beaten, and when it began to (monotonic seconds).
    id: int
    sent_at: float
    #: All servers of the cluster; None: the database could not be asked.
    members: Sequence[Member] | None
    #: Whether any batch of jobs is due, if that was looked for.
    has_due_batches: bool | None = None
    #: Since when functions are paused, if that was to be read.
    pauses: Mapping[bytes, float] | None = None
    #: Why the database could not be asked.
    reason: str = ""


class Heart:
    """Beats twice a second while it is started."""

    def __init__(self, engine: Engine, backend: Backend, sharing: Sharing, loop: Loop) -> None:
        self._engine = engine
        self._backend = backend
        self._sharing = sharing
        self._thread = NativeThread(loop)
        self._timer = loop.timer(BEAT_EVERY_S, BEAT_EVERY_S)
        self._connection: Connection | None = None
        self._statements: BeatStatements | None = None
        self._began_at = 0.0
        self._beats = 0
        #: Whose heart it is; 0: nobody's, and it does not beat.
        self._id = 0
        #: Makes what the others are told.
        self.facts: Callable[[], bytes] = bytes
        #: Whether the next beat is to read the pauses of functions.
        self.wants_pauses = False
        self._report: Callable[[Beat], None] = lambda _beat: None

    def start(self, number: int, report: Callable[[Beat], None]) -> None:
        """Beat for the server with this id from now on; `report` is called on the loop's thread."""
        self._id, self._report = number, report
        if not self._timer.active:
            self._timer.start(self.beat)
        self.beat()

    def rest(self) -> None:
        """Do not beat until the next `start`."""
        self._id = 0

    def stop(self) -> None:
        """Beat no more. Blocks, but not for long."""
        self._timer.stop()
        self._id = 0
        if not self._thread.stop(_STOP_PATIENCE_S):
            self._break_off()
            self._thread.stop(_STOP_PATIENCE_S)
        self._drop_connection()

    def beat(self) -> None:
        """Beat now, unless the last beat is not over."""
        if self._thread.is_busy:
            if monotonic() - self._began_at > _PATIENCE_S:
                self._break_off()
        elif self._id:
            self._began_at = monotonic()
            self._thread.run(partial(self._carry_out, self._id, self.facts(), self._beats, self.wants_pauses))
            self.wants_pauses = False
            self._beats += 1

    def declare_dead(self, members: Sequence[Member], why: str, then: Callable[[], None]) -> None:
        """Have these servers fenced, and call `then`, on the loop's thread, when that is done or has failed."""
        self._began_at = monotonic()
        self._thread.run(partial(self._fence, members, why, then))

    def _break_off(self) -> None:
        connection = self._connection
        with contextlib.suppress(Exception):  # it may be closing just now
            if connection is not None:
                self._backend.break_off(connection.connection.driver_connection)

    # --- on its thread

    def _carry_out(self, number: int, facts: bytes, beats: int, wants_pauses: bool) -> Delivery:
        sent_at = monotonic()
        try:
            connection = self._connected()
            statements = self._statements = self._statements or BeatStatements(connection)
            statements.beat(number, facts)
            members, has_due = statements.read(looks_for_batches=beats % _BATCHES_EVERY == 0)
            beat = Beat(number, sent_at, members, has_due, read_pauses(connection) if wants_pauses else None)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it must not die
            self._drop_connection()
            beat = Beat(number, sent_at, None, reason=reason_of(error))
        return lambda: self._report(beat)

    def _fence(self, members: Sequence[Member], why: str, then: Callable[[], None]) -> Delivery:
        for member in members:
            try:
                if fence(self._engine, self._sharing, member.id, self._connected()):  # else it has left, or is dead
                    logger.warning("server %d (%s) %s: it is declared dead", member.id, member.name, why)
            except Exception as error:  # noqa: BLE001 - the thread's boundary
                self._drop_connection()
                text = "server %d (%s) can't be declared dead yet: %s"
                logger.warning(text, member.id, member.name, reason_of(error))
        return then

    def _connected(self) -> Connection:
        if self._connection is None:
            # Each statement is a transaction of its own: two statements a beat, and no others.
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection, self._statements = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.invalidate()
            with contextlib.suppress(DBAPIError):
                connection.close()
