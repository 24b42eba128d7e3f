"""Results that are in a table which all servers of a cluster use: any server answers GET_RESULT for any job. Pure.

What is not in memory is looked up. A session that waits for the job of another server hears of it as it goes if there
is a link to its owner (`live_waits`), and else is answered once a look finds the end of that job; there is one look for
all of them, four times a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.replies import error
from gearman_server.jobs.result_keeping import answer_of, final_packets

if TYPE_CHECKING:
    from gearman_server.cluster.live_waits import LiveWaits
    from gearman_server.jobs.kept_results import Looked
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session, WithheldReply

#: The time between two looks.
LOOK_EVERY_S: Final = 0.25
#: Handles that one look asks for.
_HANDLES_AT_ONCE: Final = 1000
_UNREADABLE: Final = error(b"QUEUE_ERROR", b"The store can't be read now")


#: Looks handles up; the callable is called later, with those that are known, or None if the database does not answer.
Look = Callable[[Sequence[bytes], Callable[["Mapping[bytes, Looked] | None"], None]], None]


class SharedResults:
    """Answers for jobs that are not in this server's memory."""

    def __init__(self, results: ResultKeeping, look: Look, after_changes: Callable[[Callable[[], None]], None]) -> None:
        """`after_changes` calls back once all changes of this server are written."""
        self._results = results
        self._look = look
        self._after_changes = after_changes
        self._alarm = results.agenda.alarm(self._look_for_ends)
        self._is_looking = False
        self._at = 0
        #: Has the owners tell of jobs as they go; None: there are no links.
        self.live: LiveWaits | None = None
        results.elsewhere = self

    def get(self, session: Session, handle: bytes, digits: bytes, now: float) -> None:
        """Answer GET_RESULT; `digits` are the milliseconds to wait, empty for any time."""
        gap = session.withhold()
        deadline = now + int(digits) / 1000 if digits else None
        is_patient = deadline is None or deadline > now
        answer = partial(self._answer, gap, handle, deadline, is_patient)
        self.look_up(handle, answer)

    def look_up(self, handle: bytes, answer: Callable[[Mapping[bytes, Looked] | None], None]) -> None:
        """Look one job up, once all that this server has done so far is in the tables."""
        self._after_changes(partial(self._look, [handle], answer))

    def _answer(
        self,
        gap: WithheldReply,
        handle: bytes,
        deadline: float | None,
        is_patient: bool,
        found: Mapping[bytes, Looked] | None,
    ) -> None:
        session = gap.session
        if session is None:
            return
        looked = found.get(handle) if found is not None else None
        if found is None:
            gap.release(_UNREADABLE)
        elif looked is None:
            gap.release(self._gone(handle))
        elif looked.result is not None:
            gap.release(final_packets(looked.result))
        elif not is_patient:
            gap.release(answer_of(handle, looked.state))
        else:
            gap.release(b"")
            self._wait(session, handle, deadline, looked)
        self._results.touched.add(session)

    def _wait(self, session: Session, handle: bytes, deadline: float | None, looked: Looked) -> None:
        if session.ending is not None:
            return
        try:
            self._results.waits.add(session, handle, deadline)
        except RefusedError as refusal:
            session.reply(error(refusal.code, refusal.text))
            return
        self._results.states_elsewhere[handle] = looked.state
        self._look_soon()
        if self.live is not None:
            self.live.join(session, handle)
            self.live.follow(handle, looked.owner)

    def _gone(self, handle: bytes) -> bytes:
        return answer_of(handle, b"expired" if self._results.kept.has_expired(handle) else b"unknown")

    # --- for the sessions that wait

    def _look_soon(self) -> None:
        if self._alarm.due is None:
            self._alarm.by(self._results.agenda.now + LOOK_EVERY_S)

    def _look_for_ends(self, _now: float) -> None:
        handles = [handle for handle in self._results.waits.handles if self._results.unfinished(handle) is None]
        if not handles:
            self._results.states_elsewhere.clear()
            return
        self._look_soon()
        if not self._is_looking:
            self._is_looking = True
            self._at = self._at if self._at < len(handles) else 0
            some = handles[self._at : self._at + _HANDLES_AT_ONCE]
            self._at += len(some)
            self._look(some, partial(self._note, some))

    def _note(self, handles: Sequence[bytes], found: Mapping[bytes, Looked] | None) -> None:
        self._is_looking = False
        for handle in handles if found is not None else ():
            looked = found.get(handle) if found is not None else None
            if looked is not None and looked.result is None:
                self._results.states_elsewhere[handle] = looked.state
                if self.live is not None and self._results.unfinished(handle) is None:
                    self.live.follow(handle, looked.owner)
                continue
            self._results.states_elsewhere.pop(handle, None)
            if self._results.unfinished(handle) is not None:
                continue  # it was adopted meanwhile
            packets = self._gone(handle) if looked is None or looked.result is None else final_packets(looked.result)
            self._results.end_waits(handle, packets)
