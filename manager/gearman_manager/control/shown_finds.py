"""Jobs that a job server has found by a text or a unique key: only those in which that stands in what is shown.

The job server knows no rules of privacy: it looks in all that a job has. Of functions with such rules the manager looks
again, in the whole of each job that was found. Those that are left out must not show in any other way either, by short
pages or by the places where these end: so a page goes on behind them until it is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gearman_client import AdminClient
from gearman_manager.control.private_rows import shown_row
from gearman_manager.control.server_access import lines_of
from gearman_manager.control.server_rows import Row, details_of, table_page
from gearman_manager.control.turns import Turns
from gearman_manager.errors import ManagerError
from gearman_manager.privacy import FunctionPrivacy, Privacy


@dataclass(slots=True)
class ShownFinds:
    """One search, with what is looked for, and the rules. Without a text or a unique key everything may be found."""

    privacy: Privacy
    text: str
    unique: str
    #: Jobs that it may still have us look into: each takes a question, and milliseconds if its workload is long.
    left_looks: int

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
            ManagerError: too many jobs would have to be looked into.
        """
        rows: list[Row] = []
        while True:
            place = [] if after is None else [f"after={after}"]
            command = " ".join([f"{family} list", *words, f"limit={limit - len(rows)}", *place])
            found, after = table_page(admin, family, command)
            rows += self._among(admin, family, found)
            if after is None or len(rows) >= limit:
                return rows, after

    def _among(self, admin: AdminClient, family: str, rows: Iterable[Row]) -> Iterator[Row]:
        turns = Turns()
        for row in rows:
            rules = self.privacy.of(row["function"])
            if not rules.hides or self._is_shown(admin, f"{family} show {row['handle']}", rules):
                yield row
            turns.others()

    def _is_shown(self, admin: AdminClient, command: str, rules: FunctionPrivacy) -> bool:
        if not self.left_looks:
            name = "text" if self.text else "unique"
            raise ManagerError(f"{name}: it stands in too many jobs with private data: choose a function or a time too")
        self.left_looks -= 1
        answer = admin.command(command)
        if answer.startswith(b"ERR UNKNOWN_JOB"):
            return False  # it is gone meanwhile
        row = details_of(lines_of(answer))
        if self.unique and shown_row(row, rules)["unique"] != self.unique:
            return False
        return not self.text or rules.shows(self.text, row["workload"], row["error"], row["traceback"])
