"""The text command `jobs finished`: the ends of late, after the last one that the reader knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gearman_server.ending.late_ends import LateEnd, LateEnds
from gearman_server.jobs.job import PRIORITY_NAMES
from gearman_server.text_commands.arguments import CommandError, parse_arguments
from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session

#: A page has at most so many lines or about so many bytes, which take two milliseconds.
MAX_LINES: Final = 250
MAX_BYTES: Final = 256 * 1024


def finished_command(life: JobLife, most: int) -> Mapping[bytes, Callable[[Session, list[bytes]], bytes]]:
    """The command, by its word after `jobs`. `most` ends are kept; 0: none, and it says so."""
    if not most:
        return {b"finished": _refuse}
    # The clock is read once: two runs within one millisecond would have the same name.
    ends = LateEnds(most, life.agenda, b"%x" % int(life.agenda.unix_time() * 1000))
    life.endings.note, life.endings.note_success = ends.note, ends.note_success
    return {b"finished": FinishedCommand(ends, life).list}


def _refuse(_session: Session, _words: list[bytes]) -> bytes:
    raise CommandError(b"NOT_KEPT", b"The operator has them kept with --finished-jobs")


class FinishedCommand:
    """Lists ends."""

    def __init__(self, ends: LateEnds, life: JobLife) -> None:
        self._ends = ends
        self._agenda = life.agenda

    def list(self, _session: Session, words: list[bytes]) -> bytes:
        """A page. Its last line says where the next one begins, and how many of the ends before that are not kept."""
        arguments = parse_arguments(words, (b"limit", b"after"))
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"jobs finished takes limit= and after=")
        after = self._position(arguments.after)
        offset = self._agenda.unix_time() - self._agenda.now
        lines: list[bytes] = []
        size_bytes, last = 0, after
        for row in self._ends.after(after, min(arguments.limit, MAX_LINES)):
            lines.append(_line(row, offset))
            size_bytes += len(lines[-1])
            last = row.number
            if size_bytes >= MAX_BYTES:
                break
        if not lines:
            last = self._ends.last_number
        lines.append(b"next\t%s.%d\t%d\n" % (self._ends.run, last, last - after - len(lines)))
        return b"".join(lines) + b".\n"

    def _position(self, cursor: bytes | None) -> int:
        """The number of the last end that the reader knows; 0 for the cursor of another run, or none."""
        run, _, digits = (cursor or b"").partition(b".")
        is_ours = run == self._ends.run and digits.isdigit() and len(digits) <= 18
        return min(int(digits), self._ends.last_number) if is_ours else 0


def _line(row: LateEnd, offset: float) -> bytes:
    progress = row.progress
    columns = (
        b"%d" % row.number,
        b"%.3f" % (row.at + offset),
        row.handle,
        printable(row.function),
        printable(row.unique),
        PRIORITY_NAMES[row.priority].encode(),
        b"%d" % row.is_background,
        row.end.value,
        row.sequel.value,
        b"%d" % row.attempt,
        b"%.3f" % (row.submitted + offset),
        b"" if row.started is None else b"%.3f" % (row.started + offset),
        printable(row.worker),
        b"" if row.identity is None else printable(row.identity.address.encode()),
        printable(row.error),
        printable(row.traceback),
        b"%d" % row.workload_bytes,
        printable(row.workload),
        printable(row.result),
        b"" if progress is None else printable(progress[0] + b"/" + progress[1]),
        printable(b"\0".join(row.tags)),
    )
    return b"\t".join(columns) + b"\n"
