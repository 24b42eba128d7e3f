"""The arguments of our own text commands: handles, and conditions such as `function=a%20b`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from gearman_server.options.text_search import MAX_TEXT_BYTES, TextSearch

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session

#: Lines of a page, unless `limit=` says so, and at most.
DEFAULT_LINES: Final = 100
MAX_LINES: Final = 1000
#: The conditions that jobs and dead letters have in common. Without a moment that is meant, one that has a text is
#: needed where a change is to concern some of them.
TEXTS: Final = (b"function", b"tag", b"key", b"unique", b"text")
CONDITIONS: Final = (*TEXTS, b"older", b"since", b"until")
#: The names of all conditions; each command allows some of them.
_ALL: Final = frozenset({*CONDITIONS, b"state", b"limit", b"looks", b"after"})


class CommandError(Exception):
    """A text command can't be carried out; `answer` is the line to send."""

    def __init__(self, code: bytes, text: bytes) -> None:
        super().__init__(text.decode())
        self.answer = b"ERR %s %s\r\n" % (code, text.replace(b" ", b"+"))


class NotAllowedError(CommandError):
    """This address may not change anything."""

    def __init__(self) -> None:
        super().__init__(b"NOT_ALLOWED", b"Not from this address: the operator says who may with --admin-allow")


class Subcommands:
    """The words that may follow a command's name, such as `list` after `jobs`, each with its handler."""

    def __init__(self, expected: bytes, handlers: Mapping[bytes, Callable[[Session, list[bytes]], bytes]]) -> None:
        """`expected` is the refusal of any other word."""
        self._refusal = CommandError(b"INVALID_ARGUMENTS", expected)
        self._handlers = handlers

    def execute(self, session: Session, words: list[bytes]) -> bytes:
        """The answer to one line; empty if it follows later."""
        handler = self._handlers.get(words[1].lower()) if len(words) > 1 else None
        try:
            return self._refusal.answer if handler is None else handler(session, words[2:])
        except CommandError as error:
            return error.answer


@dataclass(slots=True)
class Arguments:
    """The arguments of one command."""

    #: Words without a `=`: handles.
    names: list[bytes] = field(default_factory=list)
    function: bytes | None = None
    #: Options of the jobs.
    tag: bytes | None = None
    key: bytes | None = None
    unique: bytes | None = None
    #: A part of the workload, the error or its traceback.
    text: bytes | None = None
    state: bytes | None = None
    #: The least age of the jobs, in seconds.
    older_s: float = 0.0
    #: The first and the last moment at which they may have come, in Unix seconds of this server's clock.
    since: float = 0.0
    until: float = math.inf
    limit: int = DEFAULT_LINES
    #: The number of entries, matching or not, behind which a page ends; None: as many as the server likes.
    looks: int | None = None
    #: The cursor of a page.
    after: bytes | None = None

    @property
    def has_texts(self) -> bool:
        """Whether one of the conditions says which jobs are meant, not just from when."""
        return any(getattr(self, name.decode()) is not None for name in TEXTS)

    def search(self) -> TextSearch | None:
        """The search that `text=` asks for; None: it is not there."""
        return None if self.text is None else TextSearch(self.text)


def parse_arguments(words: Iterable[bytes], allowed: Collection[bytes]) -> Arguments:
    """Parse the arguments; only the conditions in `allowed` may be among them.

    Raises:
        CommandError: one of them is not understood.
    """
    arguments = Arguments()
    for word in words:
        name, separator, value = word.partition(b"=")
        if not separator or name not in _ALL:
            arguments.names.append(word)
        elif name not in allowed:
            raise CommandError(b"INVALID_ARGUMENTS", b"%s= has no meaning in this command" % name)
        else:
            _set(arguments, name, unquote_to_bytes(value))
    return arguments


def _set(arguments: Arguments, name: bytes, value: bytes) -> None:
    if name == b"older":
        arguments.older_s = _seconds(name, value)
    elif name == b"since":
        arguments.since = _seconds(name, value)
    elif name == b"until":
        arguments.until = _seconds(name, value)
    elif name == b"limit":
        arguments.limit = max(1, min(_whole(name, value), MAX_LINES))
    elif name == b"looks":
        arguments.looks = max(1, _whole(name, value))
    elif name == b"text" and not 0 < len(value) <= MAX_TEXT_BYTES:
        raise CommandError(b"INVALID_ARGUMENTS", b"text= takes a text of 1 to %d bytes to look for" % MAX_TEXT_BYTES)
    else:
        setattr(arguments, name.decode(), value)


def _seconds(name: bytes, text: bytes) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CommandError(b"INVALID_ARGUMENTS", b"%s= takes a number of seconds" % name)
    return seconds


def _whole(name: bytes, text: bytes) -> int:
    if not text.isdigit() or len(text) > 9:
        raise CommandError(b"INVALID_ARGUMENTS", b"%s= takes a whole number" % name)
    return int(text)
