"""Jobs that a job server has found by a text or a unique key: only those in which that stands in what is shown.

The job server knows no rules of privacy: it looks in all that a job has. Of functions with such rules the manager looks
again, in the whole of each job that was found. Those that are left out must not show in any other way either: by short
pages, by the places where these end, or by a refusal when they are many. So a page goes on behind them until it is full
or has come to a place that does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gearman_client import AdminClient, AdminError
from gearman_client.text import unescaped
from gearman_manager.control.private_rows import shown_row
from gearman_manager.control.server_access import lines_of
from gearman_manager.control.server_rows import Row, details_of, table_page
from gearman_manager.control.turns import Turns
from gearman_manager.privacy import FunctionPrivacy, Privacy

#: Jobs that one page goes through, whatever is found among them: each that is found may take a question, and
#: milliseconds if its workload is long. Letters are fewer, and a page of them goes on to the last one.
PAGE_JOBS: Final = 2000
#: Of a number in a cursor, as job servers have them.
_MOST_DIGITS: Final = 18


@dataclass(slots=True)
class ShownFinds:
    """One search, with what is looked for, and the rules. Without a text or a unique key everything may be found."""

    privacy: Privacy
    text: str
    unique: str
    #: Whether the job server ends a page at a place that it is told. An older one does not: then a page goes on.
    knows_places: bool = True

    def needs_looks(self, function: str | None) -> bool:
        """Whether jobs of that function, or of any (None), that a job server has found may have to be left out."""
        return bool(self.text or self.unique) and self.privacy.hides(function)

    def page(
        self, admin: AdminClient, family: str, words: list[str], limit: int, after: str | None
    ) -> tuple[list[Row], str | None]:
        """Those of the `jobs` or `dead` letters that match and may be found, so many at most, as the server tells of
        them; and where the next page begins, if there is one.

        Raises:
            AdminError: the server refuses.
        """
        rows: list[Row] = []
        place = _place(after)
        end = (place // PAGE_JOBS + 1) * PAGE_JOBS
        while True:
            command = [f"{family} list", *words, f"limit={limit - len(rows)}"]
            command += [] if after is None else [f"after={after}"]
            found, after = self._found(admin, family, " ".join(command), end - place)
            rows += self._among(admin, family, found)
            place = _place(after)
            if after is None or len(rows) >= limit or (self._has_places(family) and place >= end):
                return rows, after

    def _has_places(self, family: str) -> bool:
        return family == "jobs" and self.knows_places

    def _found(self, admin: AdminClient, family: str, command: str, looks: int) -> tuple[list[Row], str | None]:
        if self._has_places(family):
            try:
                return table_page(admin, family, f"{command} looks={looks}")
            except AdminError as error:
                if not error.code.startswith("INVALID"):
                    raise
                self.knows_places = False  # or it refuses the conditions, which it will say again
        return table_page(admin, family, command)

    def _among(self, admin: AdminClient, family: str, rows: Iterable[Row]) -> Iterator[Row]:
        turns = Turns()
        for row in rows:
            rules = self.privacy.of(row["function"])
            if not rules.hides or self._is_shown(admin, family, row, rules):
                yield row
            turns.others()

    def _is_shown(self, admin: AdminClient, family: str, row: Row, rules: FunctionPrivacy) -> bool:
        has_failed = family == "dead" or row["attempt"] > 1
        if not (has_failed or self.unique or rules.shows_workloads):
            return False  # there is only the workload
        if has_failed or not _is_whole(row):
            answer = admin.command(f"{family} show {row['handle']}")
            if answer.startswith(b"ERR UNKNOWN_JOB"):
                return False  # it is gone meanwhile
            row = details_of(lines_of(answer))
        else:
            row = {**row, "workload": row["preview"], "error": "", "traceback": ""}
        if self.unique and shown_row(row, rules)["unique"] != self.unique:
            return False
        return not self.text or rules.shows(self.text, row["workload"], row["error"], row["traceback"])


def _is_whole(row: Row) -> bool:
    """Whether the list has all of the workload."""
    return len(unescaped(row["preview"].encode())) == int(row["bytes"])


def _place(cursor: str | None) -> int:
    """How many jobs lie before a place in a list of a job server; 0 if its cursor does not say that."""
    numbers = (cursor or "").split(".")
    is_told = len(numbers) == 3 and numbers[1].isascii() and numbers[1].isdecimal() and len(numbers[1]) <= _MOST_DIGITS
    return int(numbers[1]) if is_told else 0
