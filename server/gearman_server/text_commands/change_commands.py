"""gearmand's text commands that change something, and ours: cancel, create, drop, fail, maxqueue, shutdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from gearman_server.ending.attempts import Failure
from gearman_server.errors import RefusedError
from gearman_server.jobs.access import is_same_origin
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.events import EventStream, ShutdownRequested
from gearman_server.jobs.function import QueueLimits
from gearman_server.jobs.job import CANCELLED
from gearman_server.text_commands.admin import UNKNOWN_SERVER_COMMAND
from gearman_server.text_commands.arguments import NotAllowedError

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.requests.stops import Stops
    from gearman_server.text_commands.admin import Answer, Command
    from gearman_server.text_commands.bulk_changes import LongChanges

OK: Final = b"OK\r\n"
#: The answer of those versions of gearmand that had `shutdown`.
SHUTTING_DOWN: Final = b"OK\n"
_INCOMPLETE: Final = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n"
_UNKNOWN_ERROR: Final = b"ERR UNKNOWN_ERROR\r\n"
_UNKNOWN_JOB: Final = b"ERR UNKNOWN_JOB\r\n"
_NO_FUNCTION: Final = b"ERR function not found\r\n"
_FUNCTION_IN_USE: Final = b"ERR there are still connected workers or executing clients\r\n"
_NOT_RUNNING: Final = b"ERR JOB_NOT_RUNNING No+worker+has+this+job\r\n"
_NOT_AN_ADMINISTRATOR: Final = NotAllowedError().answer
_NOT_THE_WORKERS_ADDRESS: Final = b"ERR NOT_ALLOWED Only+from+the+address+of+the+worker+that+has+the+job\r\n"


class ChangeCommands:
    """Carries out commands that change something."""

    def __init__(
        self,
        functions: Functions,
        life: JobLife,
        attempts: Attempts,
        events: EventStream,
        long_changes: LongChanges,
        stops: Stops,
    ) -> None:
        self._functions = functions
        self._life = life
        self._attempts = attempts
        self._events = events
        self._long_changes = long_changes
        self._stops = stops

    def commands(self, *, allow_shutdown: bool) -> dict[bytes, Command]:
        """The commands, by their first words."""
        commands: dict[bytes, Command] = {
            b"maxqueue": self._for_administrators(self._max_queue),
            b"cancel": self._for_administrators(self._cancel),
            b"create": self._for_administrators(self._create),
            b"drop": self._for_administrators(self._drop),
            b"fail": self._fail,
        }
        if allow_shutdown:  # else the command is unknown, as in gearmand since 2016
            commands[b"shutdown"] = self._for_administrators(self._shutdown)
        return commands

    def _for_administrators(self, command: Command) -> Command:
        def execute_if_allowed(session: Session, words: list[bytes]) -> Answer:
            return command(session, words) if self._stops.may(session) else _NOT_AN_ADMINISTRATOR

        return execute_if_allowed

    def _cancel(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) < 3:
            return UNKNOWN_SERVER_COMMAND % words[0]
        if words[1].lower() != b"job":
            return _UNKNOWN_ERROR
        job = self._life.jobs.get(words[2])
        if job is None and self._stops.elsewhere is not None:
            return self._stops.elsewhere.cancel(session, words[2], _UNKNOWN_JOB)
        if job is None or job.state is CANCELLED:
            return _UNKNOWN_JOB
        self._life.cancel(job)
        return self._long_changes.once_written(session, OK)

    def _fail(self, session: Session, words: list[bytes]) -> bytes:
        """Our extension: a worker's supervisor, on the same machine, reports that the worker's attempt has failed."""
        if len(words) < 4 or words[1].lower() != b"job":
            return _INCOMPLETE % words[0]
        job = self._life.jobs.get(words[2])
        if job is None:
            return _UNKNOWN_JOB
        if job.worker is None:
            return _NOT_RUNNING
        if not is_same_origin(session.identity, job.worker.identity):
            return _NOT_THE_WORKERS_ADDRESS
        self._attempts.fail(job, Failure(None, b" ".join(words[3:])))
        return OK

    def _create(self, _session: Session, words: list[bytes]) -> bytes:
        if len(words) != 3 or words[1].lower() != b"function":
            return _INCOMPLETE % words[0]
        try:
            if words[2] not in self._functions.by_name:
                self._functions.create(words[2])
        except RefusedError:
            return b"ERR CREATE_FUNCTION %s\r\n" % words[2]
        return OK

    def _drop(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) != 3 or words[1].lower() != b"function":
            return _INCOMPLETE % words[0]
        function = self._functions.by_name.get(words[2])
        if function is None:
            return _NO_FUNCTION
        if function.workers or function.running:
            return _FUNCTION_IN_USE
        self._functions.drop(function)
        # While stored jobs come back, some of its jobs may be queued behind unread ones.
        is_all = self._functions.unread.is_reading or any(function.delayed)
        jobs = list(self._life.jobs.values() if is_all else chain.from_iterable(function.queues))

        def steps() -> Iterator[None]:
            for at in range(0, len(jobs), STEP):
                for job in jobs[at : at + STEP]:
                    if job.function is function and job.is_waiting:
                        self._life.drop(job, "its function was dropped")
                if at + STEP < len(jobs):
                    yield

        return self._long_changes.start(session, steps(), lambda: self._long_changes.once_written(session, OK))

    def _max_queue(self, _session: Session, words: list[bytes]) -> bytes:
        """Set the operator's limits of a function; without numbers there is no limit. `show maxqueue` reads them."""
        if len(words) < 2:
            return _INCOMPLETE % words[0]
        function = self._functions.by_name.get(words[1])
        if function is not None:
            numbers = [_limit(word) for word in words[2:]] or [0]
            limits = QueueLimits(*(numbers if len(numbers) > 1 else numbers * 3))
            function.limit_queue(limits.high, limits.normal, limits.low)
        return OK

    def _shutdown(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) > 1 and words[1].lower() != b"graceful":
            return _INCOMPLETE % words[0]
        self._events.emit(ShutdownRequested(session.identity, len(words) > 1))
        return SHUTTING_DOWN


def _limit(word: bytes) -> int:
    return int(word) if word.isdigit() and len(word) < 10 else 0
