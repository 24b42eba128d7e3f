"""The text commands: one line in, the answer's exact bytes out. Pure.

Monitoring tools parse these answers, so the bytes are gearmand's, and so are the inconsistent line endings: data lines
and `OK value` end with a line feed, a bare `OK` and every `ERR` with carriage return and line feed, tables with `.`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final
from weakref import ref

from gearman_server.jobs.events import ForeignRequest
from gearman_server.jobs.function import QueueLimits
from gearman_server.text_commands.foreign_protocols import foreign_line
from gearman_server.text_commands.policy_commands import policy_lines
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import in_pieces

if TYPE_CHECKING:
    from gearman_server.jobs.events import EventStream
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session

MAX_WORDS: Final = 5
#: Our own commands may have more words: sentences, conditions and many handles.
_LONG_COMMANDS: Final = (b"fail", b"dead", b"jobs", b"stop")
#: The bytes of another protocol's line that the log shows.
MOST_OF_A_LINE: Final = 100
UNKNOWN_SERVER_COMMAND: Final = b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"
_UNKNOWN_SHOW: Final = b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"

#: The names that one part of a line of `workers` holds at most; each may have 8 kB.
_FUNCTIONS_AT_ONCE: Final = 4

#: An answer to a text command: whole, or in pieces. Pieces are made as their peer reads them, so that each line says
#: what is true when it is made.
Answer = bytes | Iterator[bytes]
#: Carries out a command: it is handed the session and the words of the line, and returns the answer.
Command = Callable[["Session", list[bytes]], Answer]


class _Handles(list[bytes]):
    """The handles of all jobs at one time. Other than a plain list, it can be found as long as anybody reads it."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The answers to `version`, `getpid`, `verbose` and, partly, `facts`, and what `servers` says of a server without a
    cluster."""

    version: str
    pid: int
    verbosity: str
    name: str = ""
    #: Where others reach it; empty if nowhere.
    address: str = ""
    #: The kind of database that keeps its background jobs.
    store: str = "memory"


class AdminCommands:
    """Carries out text commands: queries by itself, the others by the commands that were added."""

    def __init__(
        self,
        functions: Functions,
        jobs: dict[bytes, Job],
        sessions: Collection[Session],
        facts: ServerFacts,
        events: EventStream,
    ) -> None:
        self._functions = functions
        self._jobs = jobs
        self._sessions = sessions
        self._facts = facts
        self._events = events
        self._last_handles: ref[_Handles] | None = None
        self._commands: dict[bytes, Command] = {
            b"status": self._status,
            b"prioritystatus": self._priority_status,
            b"workers": self._workers,
            b"version": self._version,
            b"verbose": self._verbose,
            b"getpid": self._getpid,
            b"facts": self._tell_facts,
            b"show": self._show,
            b"policies": lambda _session, _words: in_pieces(policy_lines(functions.policies)),
        }

    def add(self, commands: Mapping[bytes, Command]) -> None:
        """Add commands, by their first words."""
        self._commands.update(commands)

    def execute(self, session: Session, line: bytes) -> Answer | None:
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

    def _tell_facts(self, _session: Session, _words: list[bytes]) -> bytes:
        """Our extension: what the server is, in few words, for managers and their pages."""
        counts = {"connections": len(self._sessions), "jobs": len(self._jobs)}
        facts = {"version": self._facts.version, "pid": self._facts.pid, "store": self._facts.store, **counts}
        return "".join(f"{name}\t{value}\n" for name, value in facts.items()).encode() + b".\n"

    # --- tables

    def _status(self, _session: Session, _words: list[bytes]) -> Answer:
        return in_pieces(map(_status_line, self._present_functions()))

    def _priority_status(self, _session: Session, _words: list[bytes]) -> Answer:
        return in_pieces(map(_priority_line, self._present_functions()))

    def _present_functions(self) -> Iterator[Function]:
        """The functions that exist now and still do when their turn comes."""
        names, find = self._functions.names, self._functions.by_name.get
        return (function for name in names if (function := find(name)) is not None)

    def _workers(self, _session: Session, _words: list[bytes]) -> Answer:
        sessions = sorted(self._sessions, key=lambda session: session.number)
        return in_pieces(part for session in sessions if session in self._sessions for part in _worker_line(session))

    def _present_jobs(self) -> Iterator[Job]:
        """The jobs that exist now and still do when their turn comes.

        Handles, not jobs, because a slow reader must not keep the workloads of jobs that have ended. Readers share
        them while no job has come since: a new one is always the last.
        """
        handles = self._last_handles() if self._last_handles is not None else None
        if not handles or next(reversed(self._jobs), None) is not handles[-1]:
            handles = _Handles(self._jobs)
            self._last_handles = ref(handles)
        find = self._jobs.get
        return (job for handle in handles if (job := find(handle)) is not None)

    def _show(self, _session: Session, words: list[bytes]) -> Answer:
        arguments = [word.lower() for word in words[1:]]
        if not arguments:
            return UNKNOWN_SERVER_COMMAND % words[0]
        if arguments[0] == b"jobs":
            return in_pieces(map(_job_line, self._present_jobs()))
        if arguments[0] == b"maxqueue":
            return in_pieces(self._limit_lines(words[2:]))
        if arguments[:2] == [b"unique", b"jobs"]:
            return in_pieces(printable(job.unique) + b"\n" for job in self._present_jobs())
        return _UNKNOWN_SHOW

    def _limit_lines(self, names: list[bytes]) -> Iterator[bytes]:
        """Our extension: the limits that `maxqueue` has set, of one function, or of all that have some."""
        by_name = self._functions.by_name
        for name in names[:1] or self._functions.names:
            limits = (by_name[name].limits if name in by_name else None) or QueueLimits()
            is_shown = names or limits.high or limits.normal or limits.low
            # No line, but a part: a piece must not walk over all functions in search of one.
            yield b"%s\t%d\t%d\t%d\n" % (name, limits.high, limits.normal, limits.low) if is_shown else b""


def split_words(line: bytes) -> list[bytes]:
    """The words of a line. One or more spaces separate them, a zero byte ends a word early, and a leading space makes
    an empty first word, so that the line is an unknown command."""
    words = line.removesuffix(b"\r").split(b" ")
    words = [words[0], *(word for word in words[1:] if word)]
    return [word.partition(b"\0")[0] for word in words]


def _status_line(function: Function) -> bytes:
    return b"%s\t%d\t%d\t%d\n" % (function.name, function.total, function.running, len(function.workers))


def _priority_line(function: Function) -> bytes:
    high, normal, low = (
        queue.waiting + delayed for queue, delayed in zip(function.queues, function.delayed, strict=True)
    )
    return b"%s\t%d\t%d\t%d\t%d\n" % (function.name, high, normal, low, len(function.workers))


def _worker_line(session: Session) -> Iterator[bytes]:
    """One line, in parts, for a worker may have very many functions."""
    yield b"%d %s %s :" % (session.number, session.identity.address.encode(), printable(session.client_id))
    names = (b" " + function.name for function in list(session.functions))
    while some := b"".join(islice(names, _FUNCTIONS_AT_ONCE)):
        yield some
    yield b"\n"


def _job_line(job: Job) -> bytes:
    return b"%s\t%d\t%d\t%d\n" % (job.handle, job.requeues, not job.is_wanted, job.is_background)
