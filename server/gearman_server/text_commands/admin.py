"""The text commands: one line in, the answer's exact bytes out. Pure.

Monitoring tools parse these answers, so the bytes are gearmand's, and so are the inconsistent line endings: data lines
and `OK value` end with a line feed, a bare `OK` and every `ERR` with carriage return and line feed, tables with `.`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import ForeignRequest
from gearman_server.jobs.function import QueueLimits
from gearman_server.text_commands.foreign_protocols import foreign_line
from gearman_server.text_commands.policy_commands import policy_table

if TYPE_CHECKING:
    from gearman_server.jobs.events import EventStream
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session

MAX_WORDS: Final = 5
#: Our own commands may have more words: sentences, conditions and many handles.
_LONG_COMMANDS: Final = (b"fail", b"dead", b"jobs")
#: The bytes of another protocol's line that the log shows.
MOST_OF_A_LINE: Final = 100
UNKNOWN_SERVER_COMMAND: Final = b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"
_UNKNOWN_SHOW: Final = b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"

#: Carries out a command: it is handed the session and the words of the line, and returns the answer.
Command = Callable[["Session", list[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The answers to `version`, `getpid` and `verbose`."""

    version: str
    pid: int
    verbosity: str


class AdminCommands:
    """Carries out text commands: queries by itself, the others by the commands that were added."""

    def __init__(
        self,
        functions: Functions,
        jobs: Mapping[bytes, Job],
        sessions: Collection[Session],
        facts: ServerFacts,
        events: EventStream,
    ) -> None:
        self._functions = functions
        self._jobs = jobs
        self._sessions = sessions
        self._facts = facts
        self._events = events
        self._commands: dict[bytes, Command] = {
            b"status": self._status,
            b"prioritystatus": self._priority_status,
            b"workers": self._workers,
            b"version": self._version,
            b"verbose": self._verbose,
            b"getpid": self._getpid,
            b"show": self._show,
            b"policies": lambda _session, _words: policy_table(functions.policies),
        }

    def add(self, commands: Mapping[bytes, Command]) -> None:
        """Add commands, by their first words."""
        self._commands.update(commands)

    def execute(self, session: Session, line: bytes) -> bytes | None:
        """The answer to one line (without its line feed), None for none. A line that nobody types here ends the
        session."""
        words = split_words(line)
        name = words[0].lower()
        command = self._commands.get(name)
        foreign = foreign_line(line, is_command=command is not None)
        if foreign is not None:
            session.end(f"sent a line of {foreign.protocol}")
            self._events.emit(ForeignRequest(session.identity, foreign.protocol, line[:MOST_OF_A_LINE]))
            return foreign.answer
        if len(words) > MAX_WORDS and name not in _LONG_COMMANDS:
            session.end("sent a text command of too many words")
            return None
        return command(session, words) if command is not None else UNKNOWN_SERVER_COMMAND % words[0]

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
            for function in self._functions.by_name.values()
        )

    def _priority_status(self, _session: Session, _words: list[bytes]) -> bytes:
        return _table(_priority_line(function) for function in self._functions.by_name.values())

    def _workers(self, _session: Session, _words: list[bytes]) -> bytes:
        sessions = sorted(self._sessions, key=lambda session: session.number)
        return _table(_worker_line(session) for session in sessions)

    def _show(self, _session: Session, words: list[bytes]) -> bytes:
        arguments = [word.lower() for word in words[1:]]
        if not arguments:
            return UNKNOWN_SERVER_COMMAND % words[0]
        if arguments[0] == b"jobs":
            return _table(_job_line(job) for job in self._jobs.values())
        if arguments[0] == b"maxqueue":
            return _table(self._limit_lines(words[2:]))
        if arguments[:2] == [b"unique", b"jobs"]:
            return _table(job.unique + b"\n" for job in self._jobs.values())
        return _UNKNOWN_SHOW

    def _limit_lines(self, names: list[bytes]) -> Iterator[bytes]:
        """Our extension: the limits that `maxqueue` has set, of one function, or of all that have some."""
        by_name = self._functions.by_name
        for name in names[:1] or by_name:
            limits = (by_name[name].limits if name in by_name else None) or QueueLimits()
            if names or limits.high or limits.normal or limits.low:
                yield b"%s\t%d\t%d\t%d\n" % (name, limits.high, limits.normal, limits.low)


def split_words(line: bytes) -> list[bytes]:
    """The words of a line. One or more spaces separate them, a zero byte ends a word early, and a leading space makes
    an empty first word, so that the line is an unknown command."""
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
    return b"%s\t%d\t%d\t%d\n" % (job.handle, job.requeues, not job.is_wanted, job.is_background)
