"""Finds the rows of other servers' jobs by their handles: all that are asked for meanwhile by one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, LargeBinary, column, select, table

from gearman_server.cluster.elsewhere import Found
from gearman_server.stores.rows import JOBS, RUNNING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.sharing.reader import Reader

_jobs: Final = table(
    JOBS, column("id", BigInteger()), column("owner", BigInteger()), column("state"), column("handle", LargeBinary())
)
#: Handles in one statement.
_AT_ONCE: Final = 500

Answer = Callable[["Found | None"], None]


class Directory:
    """Answers questions in the order in which they came."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._questions: list[tuple[bytes, Answer]] = []
        self._is_asking = False

    def find(self, handle: bytes, answer: Answer) -> None:
        """Call `answer`, later, with the row of that handle; None: there is none, or the store can't be asked."""
        self._questions.append((handle, answer))
        self._ask()

    def _ask(self) -> None:
        if self._is_asking or not self._questions:
            return
        self._is_asking = True
        questions, self._questions = self._questions[:_AT_ONCE], self._questions[_AT_ONCE:]
        handles = [handle for handle, _ in questions]
        self._reader.ask(partial(_find, handles=handles), partial(self._tell, questions))

    def _tell(self, questions: Sequence[tuple[bytes, Answer]], found: dict[bytes, Found] | None) -> None:
        self._is_asking = False
        self._ask()
        for handle, answer in questions:
            answer((found or {}).get(handle))


def _find(connection: Connection, handles: Sequence[bytes]) -> dict[bytes, Found]:
    query = select(_jobs.c.handle, _jobs.c.owner, _jobs.c.state).where(_jobs.c.id.in_(ids_of(handles)))
    return {bytes(handle): Found(int(owner), state == RUNNING) for handle, owner, state in connection.execute(query)}


def ids_of(handles: Sequence[bytes]) -> list[int]:
    """The ids of the rows of these handles, which clients may have made up."""
    numbers = (handle.rpartition(b":")[2] for handle in handles)
    return [int(number) for number in numbers if number.isdigit() and len(number) < 19]
