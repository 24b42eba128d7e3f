"""Tables as answers of our own text commands: pages of long lists, and the facts about one job. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gearman_server.text_commands.arguments import Arguments, CommandError
from gearman_server.text_commands.listings import Listings, UnknownCursorError

#: The part of a workload that a list shows, and the part that the view of one job shows.
PREVIEW_BYTES: Final = 64
SHOWN_BYTES: Final = 64 * 1024


def page(
    listings: Listings,
    arguments: Arguments,
    handles: Iterable[bytes],
    line: Callable[[bytes], bytes | None],
    now: float,
) -> bytes:
    """A page of a list as an answer; a line with `next`, a TAB and a cursor means that there is more."""
    if arguments.names:
        raise CommandError(b"INVALID_ARGUMENTS", b"a list takes conditions such as function=NAME")
    try:
        if arguments.after is None:
            lines, cursor = listings.begin(handles, line, arguments.limit, now)
        else:
            lines, cursor = listings.go_on(arguments.after, line, arguments.limit, now)
    except UnknownCursorError:
        raise CommandError(b"UNKNOWN_CURSOR", b"begin again without after=") from None
    if cursor is not None:
        lines.append(b"next\t%s\n" % cursor)
    return b"".join(lines) + b".\n"


def table(fields: dict[str, bytes]) -> bytes:
    """One job, with a line for each field."""
    return b"".join(b"%s\t%s\n" % (name.encode(), value) for name, value in fields.items()) + b".\n"
