"""The `dead` commands of a server in a cluster: all its servers have the same letters, in a table. Pure.

The table is read elsewhere, so each answer follows later; until then no later request of the connection is carried out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.cluster.letters import LetterChoice, LetterPage, LetterTable, Place
from gearman_server.text_commands.arguments import CommandError, Subcommands
from gearman_server.text_commands.bulk_changes import MAX_SEARCHES, TOO_MANY_SEARCHES
from gearman_server.text_commands.tables import table

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.session import Session
    from gearman_server.text_commands.dead_commands import DeadCommands

#: Letters that are revived, and that are removed, at once.
_REVIVED_AT_ONCE: Final = 50
_DROPPED_AT_ONCE: Final = 500
_UNREADABLE: Final = CommandError(b"QUEUE_ERROR", b"The store can't be read now").answer
_UNKNOWN_CURSOR: Final = CommandError(b"UNKNOWN_CURSOR", b"begin again without after=")

#: Sends the answer of one command.
Send = Callable[[bytes], None]


class SharedDeadCommands:
    """Carries them out."""

    def __init__(self, commands: DeadCommands, letters: LetterTable, expected: bytes) -> None:
        """`commands` are those of a server that has its letters to itself; `expected` is the refusal of others."""
        self._commands = commands
        self._letters = letters
        self._searches = 0
        handlers = {
            b"list": self._list,
            b"show": self._show,
            b"count": self._count,
            b"retry": self._retry,
            b"drop": self._drop,
        }
        self.execute = Subcommands(expected, handlers).execute

    def _later(self, session: Session, act: Callable[[Send], None], *, is_search: bool = False) -> bytes:
        """Act once all that this server has done so far is in the table."""
        if is_search and self._searches >= MAX_SEARCHES:
            raise TOO_MANY_SEARCHES
        self._searches += is_search
        durability = self._commands.durability
        session.hold()
        fill = durability.withhold(session)

        def send(answer: bytes) -> None:
            self._searches -= is_search
            session.unhold()
            fill(answer)

        durability.after_changes(partial(act, send))
        return b""

    def _list(self, session: Session, words: list[bytes]) -> bytes:
        choice, arguments = self._commands.choice(words, b"limit", b"after")
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"a list takes conditions such as function=NAME")
        after = None if arguments.after is None else _place(arguments.after)

        def act(send: Send) -> None:
            self._letters.page(
                choice,
                after,
                arguments.limit,
                lambda page: send(self._page(page)),
                lambda: not self._commands.has_left(session),
            )

        return self._later(session, act, is_search=choice.has_text is not None)

    def _page(self, page: LetterPage | None) -> bytes:
        if page is None:
            return _UNREADABLE
        lines = [self._commands.line(letter, size_bytes) for letter, size_bytes in page.letters]
        if page.last is not None:
            lines.append(b"next\t%s\n" % _cursor(page.last))
        return b"".join(lines) + b".\n"

    def _show(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) != 1:
            raise self._commands.unknown
        return self._later(session, lambda send: self._letters.get(words, lambda found: send(self._shown(found))))

    def _shown(self, found: Sequence[DeadLetter] | None) -> bytes:
        if found is None:
            return _UNREADABLE
        return table(self._commands.fields(found[0])) if found else self._commands.unknown.answer

    def _count(self, session: Session, words: list[bytes]) -> bytes:
        choice = self._commands.conditions(words)

        def act(send: Send) -> None:
            self._letters.choose(
                choice,
                lambda found: send(_UNREADABLE if found is None else self._commands.counted(len(found))),
                lambda: not self._commands.has_left(session),
            )

        return self._later(session, act, is_search=choice.has_text is not None)

    def _retry(self, session: Session, words: list[bytes]) -> bytes:
        self._commands.check_revival()
        return self._change(session, words, self._revive, _REVIVED_AT_ONCE)

    def _drop(self, session: Session, words: list[bytes]) -> bytes:
        return self._change(session, words, self._letters.drop, _DROPPED_AT_ONCE)

    def _change(self, session: Session, words: list[bytes], change: _Change, at_once: int) -> bytes:
        handles, choice = self._commands.selection(session, words)

        def act(send: Send) -> None:
            if handles is None:
                self._letters.choose(choice, partial(_change_all, change, at_once, send))
            else:
                _change_all(partial(self._change_those, choice, change), at_once, send, handles)

        return self._later(session, act, is_search=choice.has_text is not None)

    def _change_those(
        self, choice: LetterChoice, change: _Change, handles: Sequence[bytes], answer: Callable[[int | None], None]
    ) -> None:
        """Change those of the given letters that meet the conditions too."""

        def go_on(found: list[bytes] | None) -> None:
            if found:
                change(found, answer)
            else:
                answer(None if found is None else 0)

        self._letters.choose(replace(choice, handles=frozenset(handles)), go_on)

    def _revive(self, handles: Sequence[bytes], answer: Callable[[int | None], None]) -> None:
        """Revive those of the letters that exist and that no other server revives."""

        def revive(letters: list[DeadLetter] | None) -> None:
            if letters is None:
                answer(None)
                return
            revived, left = 0, len(letters)

            def tell(is_revived: bool) -> None:
                nonlocal revived, left
                revived += is_revived
                left -= 1
                if not left:
                    answer(revived)

            for letter in letters:
                if not self._commands.revival.prepare(letter, self._letters.insert, tell):
                    tell(False)
            if not letters:
                answer(0)

        self._letters.get(handles, revive)


#: Changes letters, and answers with the number of those that were changed, or None.
_Change = Callable[[Sequence[bytes], Callable[["int | None"], None]], None]


def _change_all(change: _Change, at_once: int, send: Send, handles: Sequence[bytes] | None) -> None:
    """Change some after the other, and send their number."""
    changed = 0
    left = list(dict.fromkeys(handles or ()))

    def go_on(some: int | None) -> None:
        nonlocal changed
        if some is None:
            send(_UNREADABLE)
            return
        changed += some
        if left:
            chosen = left[:at_once]
            del left[:at_once]
            change(chosen, go_on)
        else:
            send(b"OK %d\n" % changed)

    go_on(None if handles is None else 0)


def _cursor(place: Place) -> bytes:
    return b"%d.%d" % (*struct.unpack(">Q", struct.pack(">d", place.died_at)), place.id)


def _place(cursor: bytes) -> Place:
    first, _, second = cursor.partition(b".")
    if not (first.isdigit() and second.isdigit() and len(first) <= 19 and len(second) <= 18):
        raise _UNKNOWN_CURSOR
    (died_at,) = struct.unpack(">d", struct.pack(">Q", int(first)))
    return Place(died_at, int(second))
