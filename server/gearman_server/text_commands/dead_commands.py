"""The text commands `dead list|show|retry|drop`, about jobs that failed for good. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.job import PRIORITY_NAMES
from gearman_server.text_commands.arguments import (
    Arguments,
    CommandError,
    NotAllowedError,
    Subcommands,
    parse_arguments,
)
from gearman_server.text_commands.listings import Listings
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import PREVIEW_BYTES, SHOWN_BYTES, page, table

if TYPE_CHECKING:
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.dead_letters import DeadLetter, DeadLetters
    from gearman_server.jobs.session import Session
    from gearman_server.requests.restoring import Revival
    from gearman_server.text_commands.bulk_changes import LongChanges

#: The part of an error that a list shows.
ERROR_BYTES: Final = 200
_SELECTION: Final = (b"function", b"older")


class DeadCommands:
    """Carries out the `dead` commands."""

    def __init__(
        self,
        letters: DeadLetters,
        revival: Revival,
        agenda: Agenda,
        long_changes: LongChanges,
        allowed: AccessList,
    ) -> None:
        self._letters = letters
        self._revival = revival
        self._agenda = agenda
        self._allowed = allowed
        self._listings = Listings(agenda)
        self._long_changes = long_changes
        #: Carries out one line of a session.
        self.execute = Subcommands(
            b"dead list, dead show, dead retry or dead drop is expected",
            {
                b"list": self._list,
                b"show": self._show,
                b"retry": self._retry,
                b"drop": self._drop,
            },
        ).execute

    def _list(self, _session: Session, words: list[bytes]) -> bytes:
        arguments = parse_arguments(words, (*_SELECTION, b"limit", b"after"))
        matches = self._matcher(arguments)

        def line(handle: bytes) -> bytes | None:
            letter = self._letters.by_handle.get(handle)
            return _line(letter) if letter is not None and matches(letter) else None

        return page(self._listings, arguments, self._letters.by_handle, line, self._agenda.now)

    def _show(self, _session: Session, words: list[bytes]) -> bytes:
        letter = self._letters.by_handle.get(words[0]) if len(words) == 1 else None
        if letter is None:
            raise CommandError(b"UNKNOWN_JOB", b"There is no such dead letter")
        return table(_fields(letter))

    def _retry(self, session: Session, words: list[bytes]) -> bytes:
        obstacle = self._revival.obstacle
        if obstacle is not None:
            raise CommandError(b"QUEUE_ERROR", obstacle)
        return self._change(session, words, self._revive)

    def _revive(self, handle: bytes) -> bool:
        letter = self._letters.by_handle.get(handle)
        return letter is not None and self._revival.revive(letter)

    def _drop(self, session: Session, words: list[bytes]) -> bytes:
        return self._change(session, words, lambda handle: self._letters.take(handle) is not None)

    def _change(self, session: Session, words: list[bytes], change: Callable[[bytes], bool]) -> bytes:
        if not self._allowed.allows(session.identity):
            raise NotAllowedError
        return self._long_changes.start_each(session, self._selected(words), change)

    def _selected(self, words: list[bytes]) -> Sequence[bytes]:
        """The given handles, or those that match the conditions, or all with `all`. No argument is an error."""
        arguments = parse_arguments(words, _SELECTION)
        if arguments.names == [b"all"]:
            arguments.names.clear()
        elif arguments.names:
            return arguments.names
        elif arguments.function is None and not arguments.older_s:
            raise CommandError(b"INVALID_ARGUMENTS", b"handles, function=, older= or all are expected")
        matches = self._matcher(arguments)
        return [handle for handle, letter in self._letters.by_handle.items() if matches(letter)]

    def _matcher(self, arguments: Arguments) -> Callable[[DeadLetter], bool]:
        # Without a condition the clock does not count: it may have been set back.
        died_before = self._agenda.unix_time() - arguments.older_s if arguments.older_s else math.inf
        function = arguments.function

        def matches(letter: DeadLetter) -> bool:
            return (function is None or letter.function == function) and letter.died_at <= died_before

        return matches


def _line(letter: DeadLetter) -> bytes:
    columns = (
        letter.handle,
        printable(letter.function),
        PRIORITY_NAMES[letter.priority].encode(),
        b"%d" % letter.attempts,
        b"%.3f" % letter.died_at,
        b"%d" % len(letter.workload),
        printable(letter.unique),
        printable(letter.error.partition(b"\n")[0], ERROR_BYTES),
        printable(letter.workload, PREVIEW_BYTES),
    )
    return b"\t".join(columns) + b"\n"


def _fields(letter: DeadLetter) -> dict[str, bytes]:
    return {
        "handle": letter.handle,
        "function": printable(letter.function),
        "unique": printable(letter.unique),
        "priority": PRIORITY_NAMES[letter.priority].encode(),
        "failures": b"%d" % letter.failures,
        "losses": b"%d" % letter.losses,
        "submitted": b"%.3f" % letter.submitted_at,
        "first_attempt": b"%.3f" % letter.first_started_at,
        "last_attempt": b"%.3f" % letter.last_started_at,
        "died": b"%.3f" % letter.died_at,
        "error": printable(letter.error),
        "traceback": printable(letter.traceback),
        "bytes": b"%d" % len(letter.workload),
        "workload": printable(letter.workload, SHOWN_BYTES),
    }
