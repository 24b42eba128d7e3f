"""Tables as answers of text commands: long ones in pieces, and the facts about one job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from gearman_server.options.text_search import READ_BYTES

#: The part of a workload that a list shows, and the part that the view of one job shows.
PREVIEW_BYTES: Final = 64
SHOWN_BYTES: Final = READ_BYTES
#: A piece of a table has about this many lines or bytes, whichever come first: half a millisecond of work.
PIECE_LINES: Final = 256
PIECE_BYTES: Final = 32 * 1024
_LINES_AT_ONCE: Final = 32


def in_pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A table of these lines, in pieces; the lines are made when their piece is asked for. A short one is one piece."""
    lines = iter(lines)
    piece: list[bytes] = []
    count = size_bytes = 0
    while some := list(islice(lines, _LINES_AT_ONCE)):
        count += len(some)
        piece.append(b"".join(some))
        size_bytes += len(piece[-1])
        if count >= PIECE_LINES or size_bytes >= PIECE_BYTES:
            yield b"".join(piece)
            piece.clear()
            count = size_bytes = 0
    piece.append(b".\n")
    yield b"".join(piece)


def table(fields: dict[str, bytes]) -> bytes:
    """One job, with a line for each field."""
    return b"".join(b"%s\t%s\n" % (name.encode(), value) for name, value in fields.items()) + b".\n"
