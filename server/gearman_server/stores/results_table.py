"""Results of background jobs in the table `gearman_results`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, insert, select, table

from gearman_server.jobs.kept_results import Ending, KeptResult, fitting
from gearman_server.jobs.store import number_of

_BYTES: Final = ("handle", "function_name", "ending", "content", "reports", "numerator", "denominator")
_NUMBERS: Final = ("lost_bytes", "ended_at", "expires_at")
RESULTS: Final = table(
    "gearman_results",
    column("id", BigInteger()),
    *(column(name) for name in _NUMBERS),
    *(column(name, LargeBinary()) for name in _BYTES),
)
#: Ids in one statement.
_MAX_IDS: Final = 500


def write_results(connection: Connection, results: Iterable[KeptResult], room_bytes: int | None = None) -> None:
    """Add results; each replaces one with the same handle. If one is too large for a row, only its state is written."""
    rows = [_row(result if room_bytes is None else fitting(result, room_bytes)) for result in results]
    _delete(connection, [row["id"] for row in rows])
    if rows:
        connection.execute(insert(RESULTS), rows)


def delete_results(connection: Connection, handles: Iterable[bytes]) -> None:
    """Remove the results that exist."""
    _delete(connection, [number_of(handle) for handle in handles])


def read_results(connection: Connection) -> list[KeptResult]:
    """All results, in the order of their ends."""
    rows = connection.execute(select(RESULTS).order_by(RESULTS.c.ended_at, RESULTS.c.id)).mappings()
    return [_result(dict(row)) for row in rows]


def read_results_of(connection: Connection, ids: list[int]) -> list[KeptResult]:
    """The results that have these ids."""
    rows = connection.execute(select(RESULTS).where(RESULTS.c.id.in_(ids))).mappings()
    return [_result(dict(row)) for row in rows]


def _delete(connection: Connection, ids: list[int]) -> None:
    for at in range(0, len(ids), _MAX_IDS):
        connection.execute(delete(RESULTS).where(RESULTS.c.id.in_(ids[at : at + _MAX_IDS])))


def _row(result: KeptResult) -> dict[str, Any]:
    return {
        "id": number_of(result.handle),
        "handle": result.handle,
        "function_name": result.function,
        "ending": result.ending.value,
        "content": result.content,
        "reports": result.reports,
        "lost_bytes": result.lost_bytes,
        "numerator": result.numerator,
        "denominator": result.denominator,
        "ended_at": result.ended_at,
        "expires_at": result.expires_at,
    }


def _result(row: dict[str, Any]) -> KeptResult:
    texts = {name: bytes(row[name]) for name in _BYTES}
    return KeptResult(
        handle=texts["handle"],
        function=texts["function_name"],
        ending=Ending(texts["ending"]),
        content=texts["content"],
        reports=texts["reports"],
        lost_bytes=row["lost_bytes"],
        numerator=texts["numerator"],
        denominator=texts["denominator"],
        ended_at=row["ended_at"],
        expires_at=row["expires_at"],
    )
