"""The text commands `worker drain|return WORKER`, by which a worker's supervisor takes it out of service. Pure.

A worker is named by its client id or by its connection's address, such as `127.0.0.1:53120`, because programs of others
often have no client id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.access import is_same_origin
from gearman_server.jobs.agenda import STEP
from gearman_server.text_commands.arguments import CommandError, Subcommands

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.session import Session
    from gearman_server.requests.abilities import Abilities
    from gearman_server.text_commands.bulk_changes import LongChanges

#: The reason in the log for a job that went back to its queue.
TAKEN_BACK: Final = "its worker was taken out of service"
#: The client id of connections that have given none.
_NAMELESS: Final = b"-"


class WorkerCommands:
    """Carries out the `worker` commands."""

    def __init__(
        self, sessions: Collection[Session], abilities: Abilities, attempts: Attempts, long_changes: LongChanges
    ) -> None:
        self._sessions = sessions
        self._abilities = abilities
        self._attempts = attempts
        self._long_changes = long_changes
        #: Carries out one line of a session.
        self.execute = Subcommands(
            b"worker drain or worker return is expected", {b"drain": self._drain, b"return": self._return}
        ).execute

    def _drain(self, session: Session, words: list[bytes]) -> bytes:
        """Give the worker no further job; it keeps those that it has. The answer is their number."""
        workers = self._named(session, words)

        def answer() -> bytes:
            return b"OK %d\n" % sum(len(worker.assigned) for worker in workers)

        return self._long_changes.start(session, self._unregister(workers), answer)

    def _return(self, session: Session, words: list[bytes]) -> bytes:
        """Put the worker's jobs back into their queues too, as if they had never been given out."""
        workers = self._named(session, words)
        returned = 0

        def steps() -> Iterator[None]:
            nonlocal returned
            yield from self._unregister(workers)
            for at, (worker, job) in enumerate([(w, job) for w in workers for job in reversed(w.assigned.values())], 1):
                if job.worker is worker:  # else it has ended meanwhile
                    self._attempts.take_back(job, TAKEN_BACK)
                    returned += 1
                if at % STEP == 0:
                    yield

        return self._long_changes.start(session, steps(), lambda: b"OK %d\n" % returned)

    def _unregister(self, workers: Collection[Session]) -> Iterator[None]:
        for worker in workers:
            worker.is_drained = True
            yield from self._abilities.forget_all(worker)

    def _named(self, session: Session, words: list[bytes]) -> list[Session]:
        """The connections of that name.

        Raises:
            CommandError: there is none, or its worker is at another address than the session.
        """
        name = words[0] if len(words) == 1 else b""
        if name in (b"", _NAMELESS):
            raise CommandError(b"INVALID_ARGUMENTS", b"a client id or an address with its port is expected")
        text = name.decode(errors="replace")
        found = [each for each in self._sessions if each.client_id == name or str(each.identity) == text]
        if not found:
            raise CommandError(b"UNKNOWN_WORKER", b"No connection has this client id or address")
        ours = [each for each in found if is_same_origin(session.identity, each.identity)]
        if not ours:
            raise CommandError(b"NOT_ALLOWED", b"Only from the address of the worker")
        return ours
