"""The dead letters of a cluster, as text commands see them: a table that each server reads and changes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.options.text_search import TextSearch


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """Conditions that letters have to meet."""

    function: bytes | None
    unique: bytes | None
    #: Unix seconds.
    died_since: float
    died_before: float
    #: Told the pairs of the letter's options; None: these do not matter.
    has_options: Callable[[bytes], bool] | None
    #: Told the workload, the error and the traceback; None: these do not matter.
    has_text: TextSearch | None
    #: None: any.
    handles: Collection[bytes] | None = None


class Place(NamedTuple):
    """The place of a letter in the order of their deaths."""

    died_at: float
    id: int


class LetterPage(NamedTuple):
    """Some of the letters, the oldest first."""

    #: Without most of their workloads, whose sizes in bytes stand beside them.
    letters: Sequence[tuple[DeadLetter, int]]
    #: After which the next page begins; None: there are no more.
    last: Place | None


class LetterTable(Protocol):
    """Reads and changes the table. Each `answer` is called later; with None if the database does not answer."""

    def page(
        self,
        choice: LetterChoice,
        after: Place | None,
        limit: int,
        answer: Callable[[LetterPage | None], None],
        is_awaited: Callable[[], bool],
    ) -> None:
        """Some of the letters behind a place. When the answer is not awaited any more, it is None."""

    def choose(
        self,
        choice: LetterChoice,
        answer: Callable[[list[bytes] | None], None],
        is_awaited: Callable[[], bool] = ...,
    ) -> None:
        """The handles of all letters that meet the conditions. The caller bounds the number of `choice.handles`."""

    def get(self, handles: Sequence[bytes], answer: Callable[[list[DeadLetter] | None], None]) -> None:
        """Those of the letters that exist."""

    def drop(self, handles: Sequence[bytes], answer: Callable[[int | None], None]) -> None:
        """Remove those that exist; the answer is their number."""

    def insert(self, job: Job) -> None:
        """Insert the job of a letter, in the same transaction as the removal of the letter. If another server has
        removed it, the store's `InsertsLost` tells of the job."""
