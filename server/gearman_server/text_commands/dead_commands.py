"""The text commands `dead list|show|count|retry|drop`, about jobs that failed for good. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.cluster.letters import LetterChoice
from gearman_server.jobs.job import PRIORITY_NAMES
from gearman_server.text_commands.arguments import (
    CONDITIONS,
    Arguments,
    CommandError,
    NotAllowedError,
    Subcommands,
    parse_arguments,
)
from gearman_server.text_commands.listings import Listings
from gearman_server.text_commands.option_fields import option_fields, options_matcher
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.shared_dead_commands import SharedDeadCommands
from gearman_server.text_commands.tables import PREVIEW_BYTES, SHOWN_BYTES, table

if TYPE_CHECKING:
    from gearman_server.cluster.letters import LetterTable
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.dead_letters import DeadLetter, DeadLetters
    from gearman_server.jobs.session import Session
    from gearman_server.requests.restoring import Revival
    from gearman_server.text_commands.bulk_changes import LongChanges

#: The refusal of any other word.
EXPECTED: Final = b"dead list, dead show, dead count, dead retry or dead drop is expected"
#: The part of an error that a list shows.
ERROR_BYTES: Final = 200


class DeadCommands:
    """Carries out the `dead` commands."""

    unknown: Final = CommandError(b"UNKNOWN_JOB", b"There is no such dead letter")

    def __init__(
        self,
        letters: DeadLetters,
        revival: Revival,
        agenda: Agenda,
        long_changes: LongChanges,
        allowed: AccessList,
    ) -> None:
        self._letters = letters
        self._agenda = agenda
        self._allowed = allowed
        self._listings = Listings(agenda, long_changes)
        self._long_changes = long_changes
        #: Tells whether nobody reads the answer of a command any more.
        self.has_left = long_changes.has_left
        self.durability = revival.durability
        self.revival = revival
        self._subcommands = Subcommands(
            EXPECTED,
            {
                b"list": self._list,
                b"show": self._show,
                b"count": self._count,
                b"retry": self._retry,
                b"drop": self._drop,
            },
        ).execute

    def share(self, letters: LetterTable) -> None:
        """Other servers have the same letters."""
        self._letters.are_shared = True
        self._subcommands = SharedDeadCommands(self, letters, EXPECTED).execute

    def execute(self, session: Session, words: list[bytes]) -> bytes:
        """The answer to one line; empty if it follows later."""
        return self._subcommands(session, words)

    def _list(self, session: Session, words: list[bytes]) -> bytes:
        choice, arguments = self.choice(words, b"limit", b"after")
        matches = _matcher(choice)

        def line(handle: bytes) -> bytes | None:
            letter = self._letters.by_handle.get(handle)
            return self.line(letter, len(letter.workload)) if letter is not None and matches(letter) else None

        return self._listings.page(session, arguments, self._letters.by_handle, line, choice.has_text)

    def _show(self, _session: Session, words: list[bytes]) -> bytes:
        letter = self._letters.by_handle.get(words[0]) if len(words) == 1 else None
        if letter is None:
            raise self.unknown
        return table(self.fields(letter))

    def _retry(self, session: Session, words: list[bytes]) -> bytes:
        self.check_revival()
        return self._change(session, words, self._revive)

    def check_revival(self) -> None:
        """Refuse to revive anything while that is impossible."""
        obstacle = self.revival.obstacle
        if obstacle is not None:
            raise CommandError(b"QUEUE_ERROR", obstacle)

    def _revive(self, handle: bytes) -> bool:
        letter = self._letters.by_handle.get(handle)
        return letter is not None and self.revival.revive(letter)

    def _drop(self, session: Session, words: list[bytes]) -> bytes:
        return self._change(session, words, lambda handle: self._letters.take(handle) is not None)

    def _change(self, session: Session, words: list[bytes], change: Callable[[bytes], bool]) -> bytes:
        handles, choice = self.selection(session, words)
        matches = self._finder(choice)
        return self._long_changes.start_each(
            session,
            list(self._letters.by_handle) if handles is None else handles,
            lambda handle: matches(handle) and change(handle),
            search=choice.has_text,
        )

    def _count(self, session: Session, words: list[bytes]) -> bytes:
        choice = self.conditions(words)
        handles = list(self._letters.by_handle)
        return self._long_changes.start_each(
            session, handles, self._finder(choice), self.counted, search=choice.has_text
        )

    def _finder(self, choice: LetterChoice) -> Callable[[bytes], bool]:
        """Tells by its handle whether a letter is there and meets the conditions."""
        matches, letters = _matcher(choice), self._letters.by_handle

        def is_meant(handle: bytes) -> bool:
            letter = letters.get(handle)
            return letter is not None and matches(letter)

        return is_meant

    @staticmethod
    def counted(number: int) -> bytes:
        """The answer to `dead count`."""
        return table({"dead": b"%d" % number})

    def conditions(self, words: list[bytes]) -> LetterChoice:
        """The conditions in a command that takes nothing else."""
        choice, arguments = self.choice(words)
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"conditions such as function=NAME are expected")
        return choice

    def selection(self, session: Session, words: list[bytes]) -> tuple[Sequence[bytes] | None, LetterChoice]:
        """The letters to change: the given handles, or None for all, as far as they meet the conditions. No argument is
        an error."""
        if not self._allowed.allows(session.identity):
            raise NotAllowedError
        choice, arguments = self.choice(words)
        if arguments.names == [b"all"]:
            return None, choice
        if arguments.names:
            return arguments.names, choice
        if not (arguments.older_s or arguments.has_texts):
            expected = b"handles, function=, tag=, key=, unique=, text=, older= or all are expected"
            raise CommandError(b"INVALID_ARGUMENTS", expected)
        return None, choice

    def choice(self, words: list[bytes], *further: bytes) -> tuple[LetterChoice, Arguments]:
        """The conditions in a command, in which `further` words mean something too."""
        arguments = parse_arguments(words, (*CONDITIONS, *further))
        # Without a condition the clock does not count: it may have been set back.
        died_before = self._agenda.unix_time() - arguments.older_s if arguments.older_s else math.inf
        died_before = min(died_before, arguments.until)
        choice = LetterChoice(
            function=arguments.function,
            unique=arguments.unique,
            died_since=arguments.since,
            died_before=died_before,
            has_options=options_matcher(arguments),
            has_text=arguments.search(),
        )
        return choice, arguments

    @staticmethod
    def line(letter: DeadLetter, workload_bytes: int) -> bytes:
        """The line of a list; the letter's own workload may be cut."""
        columns = (
            letter.handle,
            printable(letter.function),
            PRIORITY_NAMES[letter.priority].encode(),
            b"%d" % letter.attempts,
            b"%.3f" % letter.died_at,
            b"%d" % workload_bytes,
            printable(letter.unique),
            printable(letter.error.partition(b"\n")[0], ERROR_BYTES),
            printable(letter.workload, PREVIEW_BYTES),
        )
        return b"\t".join(columns) + b"\n"

    @staticmethod
    def fields(letter: DeadLetter) -> dict[str, bytes]:
        """What is shown of one letter."""
        return _fields(letter)


def _matcher(choice: LetterChoice) -> Callable[[DeadLetter], bool]:
    def matches(letter: DeadLetter) -> bool:
        return (
            (choice.function is None or letter.function == choice.function)
            and choice.died_since <= letter.died_at <= choice.died_before
            and (choice.unique is None or letter.unique == choice.unique)
            and (choice.has_options is None or choice.has_options(letter.options))
            and (choice.has_text is None or choice.has_text(letter.workload, letter.error, letter.traceback))
        )

    return matches


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
        **option_fields(letter.options),
        "error": printable(letter.error),
        "traceback": printable(letter.traceback),
        "bytes": b"%d" % len(letter.workload),
        "workload": printable(letter.workload, SHOWN_BYTES),
    }
