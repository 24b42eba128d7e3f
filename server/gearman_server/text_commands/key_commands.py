"""The text command `jobs keys`: the keys of one function, and which of them have to wait for what. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from gearman_server.keys.key_rules import running_jobs, table_of
from gearman_server.text_commands.arguments import CommandError, parse_arguments
from gearman_server.text_commands.listings import Listings
from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session
    from gearman_server.keys.key_table import Key, KeyTable
    from gearman_server.text_commands.bulk_changes import LongChanges

#: Up to this many keys come in the order of their waiting jobs: more would take too long to sort.
_SORTED: Final = 2000


class KeyCommands:
    """Lists keys."""

    def __init__(
        self, functions: Functions, sessions: Collection[Session], agenda: Agenda, long_changes: LongChanges
    ) -> None:
        self._by_name = functions.by_name
        self._sessions = sessions
        self._agenda = agenda
        self._listings = Listings(agenda, long_changes)

    def keys(self, session: Session, words: list[bytes]) -> bytes:
        """A page of the function's keys, those with the most waiting jobs first, unless there are very many."""
        arguments = parse_arguments(words, (b"function", b"limit", b"after"))
        if arguments.function is None and len(arguments.names) == 1:
            arguments.function = arguments.names.pop()
        if arguments.function is None:
            raise CommandError(b"INVALID_ARGUMENTS", b"jobs keys FUNCTION is expected")
        function = self._by_name.get(arguments.function)
        table = table_of(function) if function is not None else None
        if function is None:
            raise CommandError(b"UNKNOWN_FUNCTION", b"There is no such function")
        if table is None:
            raise CommandError(b"NO_KEYS", b"Keys mean nothing to this function: it has neither fair nor per_key")
        table.advance()
        counts = Counter(job.key for job in running_jobs(self._sessions, function))
        keys, now = table.keys, self._agenda.now

        def line(name: bytes) -> bytes | None:
            key = keys.get(name)
            return None if key is None else _line(table, key, counts[name], now)

        names = list(keys)
        if len(names) <= _SORTED and arguments.after is None:
            names.sort(key=lambda name: keys[name].waiting, reverse=True)
        return self._listings.page(session, arguments, names, line)


def _line(table: KeyTable, key: Key, running: int, now: float) -> bytes:
    reason, opens_at = table.obstacle(key)
    columns = (
        printable(key.name) if key.name[:1] != b"\0" else b"(shared %s)" % key.name[1:],
        b"%d" % key.waiting,
        b"%d" % (key.running if table.max_running is not None else running),
        b"%d" % sum(line.counted for line in key.lines),
        reason,
        b"" if opens_at is None else b"%.3f" % max(0.0, opens_at - now),
    )
    return b"\t".join(columns) + b"\n"
