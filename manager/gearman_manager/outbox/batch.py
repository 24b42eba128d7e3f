"""The rows that are handed to one job server together, in waves: each is sent when the one before is answered. Pure.

A wave has at most one row of each key, so that a refused row holds those behind it, and nothing is sent out of order.
A row that the server may have already is a wave by itself: if the server does not survive it, no other row suffers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from gearman_manager.outbox.row import OutboxRow


class Answer(Enum):
    """What has come of a row that was to be sent."""

    #: The server has the job.
    CREATED = auto()
    #: The server does not have it, and says why.
    REFUSED = auto()
    #: It was sent, and the connection was lost before the answer: the server has it, or not.
    LOST = auto()
    #: It was not sent.
    UNSENT = auto()


class Answered(NamedTuple):
    """A row and its answer; code and text are the server's, or the reason why there is no answer."""

    row: OutboxRow
    answer: Answer
    code: str = ""
    text: str = ""


#: The code of a refusal that passes: the queue is full, the store can't be written, the server is ending. Every other
#: one is about the row itself, and would come again.
PASSING: Final = "QUEUE_ERROR"


def is_to_be_repeated(answered: Answered) -> bool:
    """Whether the row is to be sent again, and those of its key behind it have to wait."""
    return answered.answer is not Answer.CREATED and (answered.answer is not Answer.REFUSED or answered.code == PASSING)


@dataclass(slots=True)
class Batch:
    """The rows for one server.

    leased_until: monotonic; later no row is sent, because another relay may have it. The relay moves it on.
    """

    server: str
    rows: Sequence[OutboxRow]
    leased_until: float
    waves: Sequence[Sequence[OutboxRow]] = field(init=False)

    def __post_init__(self) -> None:
        self.waves = waves_of(self.rows)


def waves_of(rows: Sequence[OutboxRow]) -> Sequence[Sequence[OutboxRow]]:
    """The waves of rows that are in their order."""
    alone = [[row] for row in rows if row.is_in_doubt]
    together: list[list[OutboxRow]] = []
    taken = Counter[str]()
    for row in rows:
        if row.is_in_doubt:
            continue
        at = 0 if row.order_key is None else taken[row.order_key]
        if row.order_key is not None:
            taken[row.order_key] += 1
        if at == len(together):
            together.append([])
        together[at].append(row)
    return [*alone, *together]
