"""What becomes of rows after the answers of a job server: deleted, tried again, or set aside with the reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gearman_manager.outbox.batch import PASSING, Answer, Answered
from gearman_manager.outbox.claims import Change
from gearman_manager.outbox.row import OutboxRow

#: The wait of a function whose jobs are not accepted for the time being; it doubles up to the other one.
_FIRST_HOLD_S: Final = 0.5
_LONGEST_HOLD_S: Final = 60.0
#: A row with which the connection was lost so often, each time as the only one under way, is set aside.
MOST_LOSSES: Final = 10
_FIRST_LOSS_S: Final = 0.05
_LONGEST_LOSS_S: Final = 5.0


@dataclass(slots=True)
class Outcome:
    """What is to be written of the rows of a batch.

    created: rows that are handed over. aside: rows that are set aside, with the function and the reason.
    """

    created: list[OutboxRow] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    aside: list[tuple[OutboxRow, str]] = field(default_factory=list)


class Holds:
    """Functions whose jobs are not accepted for the time being, and until when; times are Unix milliseconds."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[int, float]] = {}

    def held(self, now_ms: int) -> Sequence[str]:
        """The functions that are held now."""
        return [function for function, (until_ms, _) in self._until.items() if until_ms > now_ms]

    def hold(self, function: str, now_ms: int) -> int:
        """Hold a function, for longer than the last time if no job was accepted in between. Returns the end."""
        until_ms, last_s = self._until.get(function, (0, 0.0))
        if until_ms <= now_ms:
            last_s = min(2 * last_s, _LONGEST_HOLD_S) or _FIRST_HOLD_S
            until_ms = now_ms + int(last_s * 1000)
            self._until[function] = until_ms, last_s
        return until_ms

    def release(self, function: str, now_ms: int) -> None:
        """Its jobs are accepted again; if it was held just now, others of the same batch were refused."""
        if function in self._until and self._until[function][0] <= now_ms:
            del self._until[function]


class Asked(NamedTuple):
    """The server that had a batch, and the name in rows that it may have."""

    server: str
    name_for_doubt: str


def outcome_of(asked: Asked, answers: Iterable[Answered], holds: Holds, now_ms: int, retries: int) -> Outcome:
    """What becomes of the rows of a batch that was given to a server."""
    outcome = Outcome()
    refused: dict[str, int] = {}
    for row, answer, code, text in answers:
        # Whoever may have had the row before still may: a refusal does not say that its submission is not known.
        doubted = asked.name_for_doubt if row.is_in_doubt else None
        attempts = 1 if row.is_in_doubt else row.attempts + 1
        reason = f"{asked.server}: {code}: {text}"
        if answer is Answer.CREATED:
            outcome.created.append(row)
        elif answer is Answer.UNSENT:
            outcome.changes.append(Change(row.id, now_ms, row.attempts, text or None, doubted))
        elif answer is Answer.LOST:
            _lost(outcome, row, asked, text, now_ms)
        elif code == PASSING and attempts <= retries:
            refused[row.function] = until_ms = holds.hold(row.function, now_ms)
            outcome.changes.append(Change(row.id, until_ms, attempts, reason, doubted))
        else:
            _set_aside(outcome, row, reason, doubted)
    for function in {row.function for row in outcome.created} - refused.keys():
        holds.release(function, now_ms)
    return outcome


def _lost(outcome: Outcome, row: OutboxRow, asked: Asked, text: str, now_ms: int) -> None:
    attempts = row.attempts + 1 if row.is_in_doubt else 1
    if attempts > MOST_LOSSES:
        reason = f"{asked.server} was lost {attempts} times with this row, and may have it: {text}"
        _set_aside(outcome, row, reason, asked.name_for_doubt)
        return
    pause_s = min(_FIRST_LOSS_S * 2 ** (attempts - 1), _LONGEST_LOSS_S)
    outcome.changes.append(Change(row.id, now_ms + int(pause_s * 1000), attempts, text, asked.name_for_doubt))


def _set_aside(outcome: Outcome, row: OutboxRow, reason: str, server: str | None) -> None:
    outcome.changes.append(Change(row.id, None, row.attempts, reason, server))
    outcome.aside.append((row, reason))
