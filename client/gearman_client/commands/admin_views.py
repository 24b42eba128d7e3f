"""The forms in which `gearadmin` shows answers: the servers' bytes, JSON, and tables for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Final

from gearman_client.admin.tables import ConnectedWorker, FunctionHold, FunctionStatus, PriorityStatus, ShownJob
from gearman_client.commands.admin_actions import Answer
from gearman_client.commands.admin_asking import ServerAnswers
from gearman_client.commands.json_output import json_line
from gearman_client.commands.terminal import printable, width_of
from gearman_client.connection.cluster_servers import ClusterServer
from gearman_client.text import to_text

#: The headings of each table's columns.
_HEADINGS: Final[dict[str, tuple[str, ...]]] = {
    "status": ("FUNCTION", "JOBS", "WAITING", "RUNNING", "WORKERS"),
    "priority_status": ("FUNCTION", "HIGH", "NORMAL", "LOW", "WORKERS"),
    "workers": ("FD", "ADDRESS", "CLIENT ID", "FUNCTIONS"),
    "jobs": ("HANDLE", "RETRIES", "IGNORED", "QUEUED"),
    "unique_ids": ("UNIQUE ID",),
    "holds": ("FUNCTION", "KIND", "SINCE", "UNTIL"),
    "servers": ("ID", "NAME", "ADDRESS", "VERSION", "STATE", "THIS"),
}
_GAP: Final = "  "


def plain(found: Sequence[ServerAnswers]) -> tuple[bytes, bytes]:
    """The bytes for standard output and standard error: as Debian's tool; several servers have headings."""
    output, errors = b"", b""
    for each in found:
        if len(found) > 1:
            output += f"# {each.server}\n".encode()
        for answer in each.answers:
            if answer.refusal is None:
                output += plain_answer(answer)
            else:
                errors += _place(each, found).encode() + b"Error: " + answer.refusal
        errors += _failure(each)
    return output, errors


def plain_answer(answer: Answer) -> bytes:
    """The bytes that Debian's tool prints for an answer that is no refusal."""
    return b"OK\n" if answer.request.action.value else answer.data.removeprefix(b"OK ")


def json_lines(found: Sequence[ServerAnswers], **more: Any) -> bytes:
    """An object for each server on a line of its own."""
    return b"".join(json_line({"server": str(each.server), **more, **_json_of(each)}) for each in found)


def _json_of(found: ServerAnswers) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for answer in found.answers:
        action = answer.request.action
        if action.value:
            refusal = None if answer.refusal is None else to_text(answer.refusal).rstrip("\r\n")
            done = {"name": answer.request.value, "done": refusal is None, "failure": refusal}
            document.setdefault(action.key, []).append(done)
        else:
            document[action.key] = _json_value(answer)
    return document | {"failure": found.failure}


def _json_value(answer: Answer) -> Any:
    if answer.refusal is not None:
        return None
    if answer.request.action.row is not None:
        return [asdict(row) if is_dataclass(row) and not isinstance(row, type) else row for row in answer.rows]
    text = to_text(plain_answer(answer)).rstrip("\r\n")
    return int(text) if answer.request.action.key == "pid" and text.isascii() and text.isdigit() else text


def tables(found: Sequence[ServerAnswers]) -> tuple[list[str], bytes]:
    """The lines for a terminal, and the bytes for standard error."""
    lines: list[str] = []
    errors = b""
    for number in range(max(len(each.answers) for each in found)):
        answers = [(each, each.answers[number]) for each in found if len(each.answers) > number]
        if lines:
            lines.append("")
        view = _table if answers[0][1].request.action.row else _values
        lines += view(answers, several=len(found) > 1)
        for each, answer in answers:
            if answer.refusal is not None:
                errors += f"{_place(each, found)}Error: {printable(to_text(answer.refusal).strip())}\n".encode()
    errors += b"".join(map(_failure, found))
    return lines, errors


def _place(each: ServerAnswers, found: Sequence[ServerAnswers]) -> str:
    return f"{each.server}: " if len(found) > 1 else ""


def _failure(found: ServerAnswers) -> bytes:
    return b"" if found.failure is None else f"gearadmin: {printable(found.failure)}\n".encode()


def _values(answers: Sequence[tuple[ServerAnswers, Answer]], *, several: bool) -> list[str]:
    return [
        (f"{each.server}{_GAP}" if several else "") + printable(to_text(plain_answer(answer)).rstrip("\r\n"))
        for each, answer in answers
        if answer.refusal is None
    ]


def _table(answers: Sequence[tuple[ServerAnswers, Answer]], *, several: bool) -> list[str]:
    rows = [
        [*([str(each.server)] if several else []), *cells] for each, answer in answers for cells in _rows_of(answer)
    ]
    headings = _HEADINGS[answers[0][1].request.action.key]
    return columns([["SERVER", *headings] if several else headings, *rows])


def _rows_of(answer: Answer) -> list[list[str]]:
    rows = [_cells(row) for row in answer.rows]
    # gearmand lists functions in the order of its hash table.
    return sorted(rows) if answer.request.action.key in ("status", "priority_status") else rows


def _cells(row: Any) -> list[str]:
    if isinstance(row, FunctionStatus):
        cells = [row.function, row.total, row.total - row.running, row.running, row.workers]
    elif isinstance(row, PriorityStatus):
        cells = [row.function, row.high, row.normal, row.low, row.workers]
    elif isinstance(row, ConnectedWorker):
        cells = [row.fd, row.address, row.client_id, " ".join(row.functions)]
    elif isinstance(row, ShownJob):
        cells = [row.handle, row.retries, "yes" if row.ignored else "no", "yes" if row.queued else "no"]
    elif isinstance(row, FunctionHold):
        cells = [row.function, row.kind, _time(row.since), "-" if row.until is None else _time(row.until)]
    elif isinstance(row, ClusterServer):
        cells = [row.id, row.name, row.address, row.version, row.state, "yes" if row.is_this else "no"]
    else:
        cells = [row]
    return [printable(str(cell)) for cell in cells]


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s).isoformat(" ", "seconds")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, numbers to the right."""
    widths = [max(width_of(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [_GAP.join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(cell: str, width: int) -> str:
    blanks = " " * (width - width_of(cell))
    return blanks + cell if cell.isdigit() else cell + blanks
