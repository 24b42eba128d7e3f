"""Those answers of our own text commands that are tables: pages of long lists, and all about one job. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gearman_server.text_commands.arguments import Arguments, CommandError
from gearman_server.text_commands.listings import Listings, UnknownCursorError

#: How much of a workload a list shows, and how much the view of one job.
PREVIEW_BYTES: Final = 64
SHOWN_BYTES: Final = 64 * 1024

UNKNOWN_CURSOR: Final = CommandError(b"UNKNOWN_CURSOR", b"begin again without after=")


def page(
    listings: Listings,
    arguments: Arguments,
    handles: Iterable[bytes],
    line: Callable[[bytes], bytes | None],
    now: float,
) -> bytes:
    """A page of a list as an answer; the line `next`, a TAB and a cursor says that there is more."""
    if arguments.names:
        raise CommandError(b"INVALID_ARGUMENTS", b"a list takes conditions such as function=NAME")
    try:
        if arguments.after is None:
            lines, cursor = listings.begin(handles, line, arguments.limit, now)
        else:
            lines, cursor = listings.go_on(arguments.after, line, arguments.limit, now)
    except UnknownCursorError:
        raise UNKNOWN_CURSOR from None
    if cursor is not None:
        lines.append(b"next\t%s\n" % cursor)
    return b"".join(lines) + b".\n"


def table(fields: dict[str, bytes]) -> bytes:
    """One job: a line for each field."""
    return b"".join(b"%s\t%s\n" % (name.encode(), value) for name, value in fields.items()) + b".\n"
