"""The text commands about batches of jobs in a cluster: the answers follow once the table is read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.requests.job_batches import STATE_NAMES, facts_of
from gearman_server.sequels.job_batches import CANCEL, STOP
from gearman_server.text_commands.arguments import Arguments, CommandError
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import table

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.sequels.job_batch import JobBatch
    from gearman_server.sequels.job_batches import JobBatches, SharedByServers

UNKNOWN_BATCH: Final = CommandError(b"UNKNOWN_BATCH", b"There is no such batch")
_UNREADABLE: Final = CommandError(b"QUEUE_ERROR", b"The store can't be read or written now")
_STATES: Final = {name: state for state, name in STATE_NAMES.items()}
_MARKS: Final = {b"close": None, b"cancel": CANCEL, b"stop": STOP}


class SharedBatchCommands:
    """Carries out the commands of one session; no later request of it is carried out before the answer."""

    def __init__(self, shared: SharedByServers, batches: JobBatches, session: Session) -> None:
        self._shared = shared
        self._batches = batches
        self._session = session

    def list(self, arguments: Arguments) -> bytes:
        """`jobs batches`, in the order of the ids."""
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"a list takes conditions such as state=open")
        try:
            after = bytes.fromhex((arguments.after or b"").decode())
        except ValueError:
            raise CommandError(b"UNKNOWN_CURSOR", b"begin again without after=") from None
        self._begin()

        def send(found: Sequence[JobBatch] | None) -> None:
            if found is None:
                self._send(_UNREADABLE.answer)
                return
            lines = [line_of(batch, self._batches) for batch in found]
            if len(found) == arguments.limit:
                lines.append(b"next\t%s\n" % found[-1].name.hex().encode())
            self._send(b"".join(lines) + b".\n")

        state = None if arguments.state is None else _STATES[arguments.state]
        self._shared.page(state, after, arguments.limit, send)
        return b""

    def show(self, name: bytes) -> bytes:
        """`jobs batch ID`."""
        self._begin()

        def send(found: Sequence[JobBatch] | None) -> None:
            if not found:
                self._send((_UNREADABLE if found is None else UNKNOWN_BATCH).answer)
            else:
                self._send(table({"id": printable(name), **facts_of(found[0], self._batches)}))

        self._shared.look_up(name, send)
        return b""

    def end(self, name: bytes, how: bytes) -> bytes:
        """`jobs batch ID close`, `cancel` or `stop`. The number is that of the jobs of all servers, or, if one of these
        asks, of the jobs that are here."""
        self._begin()
        mark = _MARKS[how]
        if self._session.is_peer and mark is not None:
            self._shared.end_here(name, mark, lambda ended: self._send(b"OK %d\n" % ended))
            return b""

        def answer(ended: int | None) -> None:
            if ended is None:
                self._send(_UNREADABLE.answer)
            else:
                self._send(b"OK\r\n" if how == b"close" else b"OK %d\n" % ended)

        def end(found: Sequence[JobBatch] | None) -> None:
            if not found:
                self._send((_UNREADABLE if found is None else UNKNOWN_BATCH).answer)
            else:
                self._shared.end_whole(name, mark, answer)

        self._shared.look_up(name, end)
        return b""

    def _begin(self) -> None:
        self._session.hold()
        self._fill = self._batches.owed.life.durability.withhold(self._session)

    def _send(self, answer: bytes) -> None:
        self._session.unhold()
        self._fill(answer)


def line_of(batch: JobBatch, batches: JobBatches) -> bytes:
    """The line of a list."""
    return b"\t".join((printable(batch.name), *facts_of(batch, batches).values())) + b"\n"
