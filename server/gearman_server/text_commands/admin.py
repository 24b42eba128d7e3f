"""The text commands: one line in, the answer's exact bytes out. Pure.

Monitoring tools parse these answers, so the bytes are gearmand's, inconsistent line endings included: data lines and
`OK value` end with a line feed, a bare `OK` and every `ERR` with carriage return and line feed, tables with `.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.access import is_same_origin
from gearman_server.jobs.attempts import Failure
from gearman_server.jobs.events import ShutdownRequested
from gearman_server.jobs.function import Function, QueueLimits
from gearman_server.jobs.job import Job, JobState
from gearman_server.text_commands.dead_commands import DeadCommands
from gearman_server.text_commands.job_commands import JobCommands
from gearman_server.text_commands.policy_commands import policy_table

if TYPE_CHECKING:
    from gearman_server.jobs.attempts import Attempts
    from gearman_server.jobs.job_table import BrokerSettings, JobTable
    from gearman_server.jobs.session import Session

MAX_WORDS: Final = 5
#: Ours: sentences, conditions and many handles.
_LONG_COMMANDS: Final = (b"fail", b"dead", b"jobs")
OK: Final = b"OK\r\n"
#: What servers that knew `shutdown` answered.
SHUTTING_DOWN: Final = b"OK\n"
_UNKNOWN_SERVER_COMMAND: Final = b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"
_INCOMPLETE: Final = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n"
_UNKNOWN_SHOW: Final = b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
_UNKNOWN_ERROR: Final = b"ERR UNKNOWN_ERROR\r\n"
_UNKNOWN_JOB: Final = b"ERR UNKNOWN_JOB\r\n"
_NO_FUNCTION: Final = b"ERR function not found\r\n"
_FUNCTION_IN_USE: Final = b"ERR there are still connected workers or executing clients\r\n"
_NOT_RUNNING: Final = b"ERR JOB_NOT_RUNNING No+worker+has+this+job\r\n"
_NOT_AN_ADMINISTRATOR: Final = (
    b"ERR NOT_ALLOWED Not+from+this+address:+the+operator+says+who+may+with+--admin-allow\r\n"
)
_NOT_THE_WORKERS_ADDRESS: Final = b"ERR NOT_ALLOWED Only+from+the+address+of+the+worker+that+has+the+job\r\n"

#: What carries out a command: the session that asks, and the words of its line.
Command = Callable[["Session", list[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What `version`, `getpid` and `verbose` answer."""

    version: str
    pid: int
    verbosity: str


class AdminCommands:
    """Carries out text commands."""

    def __init__(
        self,
        table: JobTable,
        attempts: Attempts,
        sessions: set[Session],
        facts: ServerFacts,
        settings: BrokerSettings,
    ) -> None:
        self._table = table
        self._attempts = attempts
        self._allowed = settings.admin_allow
        self._sessions = sessions
        self._facts = facts
        self._commands: dict[bytes, Command] = {
            b"status": self._status,
            b"prioritystatus": self._priority_status,
            b"workers": self._workers,
            b"version": self._version,
            b"verbose": self._verbose,
            b"getpid": self._getpid,
            b"maxqueue": self._max_queue,
            b"show": self._show,
            b"cancel": self._for_administrators(self._cancel),
            b"create": self._for_administrators(self._create),
            b"drop": self._for_administrators(self._drop),
            b"fail": self._fail,
            b"policies": lambda _session, _words: policy_table(table.policies),
            b"dead": DeadCommands(table, settings.admin_allow).execute,
            b"jobs": JobCommands(table, settings.admin_allow).execute,
        }
        if settings.allow_shutdown:  # else it is unknown, as in gearmand since 2016
            self._commands[b"shutdown"] = self._for_administrators(self._shutdown)

    def add(self, name: bytes, command: Command) -> None:
        """Know one more command."""
        self._commands[name] = command

    def execute(self, session: Session, line: bytes) -> bytes | None:
        """The answer to one line (without its line feed); None when the connection is to be closed without one."""
        words = split_words(line)
        name = words[0].lower()
        if len(words) > MAX_WORDS and name not in _LONG_COMMANDS:
            return None
        command = self._commands.get(name)
        return command(session, words) if command is not None else _UNKNOWN_SERVER_COMMAND % words[0]

    def _for_administrators(self, command: Command) -> Command:
        def execute_if_allowed(session: Session, words: list[bytes]) -> bytes:
            return command(session, words) if self._allowed.allows(session.identity) else _NOT_AN_ADMINISTRATOR

        return execute_if_allowed

    # --- facts

    def _version(self, _session: Session, _words: list[bytes]) -> bytes:
        return b"OK %s\n" % self._facts.version.encode()

    def _verbose(self, _session: Session, _words: list[bytes]) -> bytes:
        return b"OK %s\n" % self._facts.verbosity.encode()

    def _getpid(self, _session: Session, _words: list[bytes]) -> bytes:
        return b"OK %d\n" % self._facts.pid

    # --- tables

    def _status(self, _session: Session, _words: list[bytes]) -> bytes:
        return _table(
            b"%s\t%d\t%d\t%d\n" % (function.name, function.total, function.running, len(function.workers))
            for function in self._table.functions.values()
        )

    def _priority_status(self, _session: Session, _words: list[bytes]) -> bytes:
        return _table(_priority_line(function) for function in self._table.functions.values())

    def _workers(self, _session: Session, _words: list[bytes]) -> bytes:
        sessions = sorted(self._sessions, key=lambda session: session.number)
        return _table(_worker_line(session) for session in sessions)

    def _show(self, _session: Session, words: list[bytes]) -> bytes:
        arguments = [word.lower() for word in words[1:]]
        if not arguments:
            return _UNKNOWN_SERVER_COMMAND % words[0]
        if arguments[0] == b"jobs":
            return _table(_job_line(job) for job in self._table.jobs.values())
        if arguments[:2] == [b"unique", b"jobs"]:
            return _table(job.unique + b"\n" for job in self._table.jobs.values())
        return _UNKNOWN_SHOW

    # --- changes

    def _cancel(self, _session: Session, words: list[bytes]) -> bytes:
        if len(words) < 3:
            return _UNKNOWN_SERVER_COMMAND % words[0]
        if words[1].lower() != b"job":
            return _UNKNOWN_ERROR
        job = self._table.jobs.get(words[2])
        if job is None or job.state is JobState.CANCELLED:
            return _UNKNOWN_JOB
        self._table.cancel(job)
        return OK

    def _fail(self, session: Session, words: list[bytes]) -> bytes:
        """Ours: whoever watches over a worker, on its machine, says that its attempt at a job has failed."""
        if len(words) < 4 or words[1].lower() != b"job":
            return _INCOMPLETE % words[0]
        job = self._table.jobs.get(words[2])
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
            self._table.function(words[2])
        except RefusedError:
            return b"ERR CREATE_FUNCTION %s\r\n" % words[2]
        return OK

    def _drop(self, _session: Session, words: list[bytes]) -> bytes:
        if len(words) != 3 or words[1].lower() != b"function":
            return _INCOMPLETE % words[0]
        function = self._table.functions.get(words[2])
        if function is None:
            return _NO_FUNCTION
        if function.workers or function.running:
            return _FUNCTION_IN_USE
        self._table.drop_function(function)
        return OK

    def _max_queue(self, session: Session, words: list[bytes]) -> bytes:
        """Sets the operator's limits of a function; without numbers reads them back (gearmand would reset them)."""
        if len(words) < 2:
            return _INCOMPLETE % words[0]
        if len(words) == 2:
            function = self._table.functions.get(words[1])
            limits = (function.limits if function is not None else None) or QueueLimits()
            return b"%s\t%d\t%d\t%d\n.\n" % (words[1], limits.high, limits.normal, limits.low)
        return self._for_administrators(self._limit_queue)(session, words)

    def _limit_queue(self, _session: Session, words: list[bytes]) -> bytes:
        function = self._table.functions.get(words[1])
        if function is not None:
            numbers = [_limit(word) for word in words[2:]]
            limits = QueueLimits(*(numbers if len(numbers) > 1 else numbers * 3))
            function.limit_queue(limits.high, limits.normal, limits.low)
        return OK

    def _shutdown(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) > 1 and words[1].lower() != b"graceful":
            return _INCOMPLETE % words[0]
        self._table.events.emit(ShutdownRequested(session.identity, len(words) > 1))
        return SHUTTING_DOWN


def split_words(line: bytes) -> list[bytes]:
    """The words of a line: one or more spaces part them, a zero byte ends a word early, a leading space makes an empty
    first word (so that the line is an unknown command)."""
    words = line.removesuffix(b"\r").split(b" ")
    words = [words[0], *(word for word in words[1:] if word)]
    return [word.partition(b"\0")[0] for word in words]


def _table(lines: Iterable[bytes]) -> bytes:
    return b"".join(lines) + b".\n"


def _priority_line(function: Function) -> bytes:
    high, normal, low = (
        queue.waiting + delayed for queue, delayed in zip(function.queues, function.delayed, strict=True)
    )
    return b"%s\t%d\t%d\t%d\t%d\n" % (function.name, high, normal, low, len(function.workers))


def _worker_line(session: Session) -> bytes:
    functions = b"".join(b" " + function.name for function in session.functions)
    return b"%d %s %s :%s\n" % (session.number, session.identity.address.encode(), session.client_id, functions)


def _job_line(job: Job) -> bytes:
    return b"%s\t%d\t%d\t%d\n" % (job.handle, job.requeues, not job.is_wanted, job.background)


def _limit(word: bytes) -> int:
    return int(word) if word.isdigit() and len(word) < 10 else 0
