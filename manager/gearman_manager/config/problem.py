"""Problems of a configuration and their places: the one form in which every part of this room reports.

Pure: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A line of a file. Line 0 stands for the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its place, its key and a message that says what is wrong and what is allowed.

    A fatal problem keeps a manager from starting. Others stop a single function or pool; the rest can run. `modules`
    holds the files of modules that can't be loaded because of it.
    """

    file: str
    line: int
    key: str
    message: str
    is_fatal: bool = True
    modules: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Key and message, for whoever shows the place apart."""
        return f"{self.key}: {self.message}" if self.key else self.message

    def __str__(self) -> str:
        parts = [str(Place(self.file, self.line)), self.key, self.message]
        return ": ".join(part for part in parts if part)


class Places:
    """The place of each key of a configuration, by its dotted name (`pools.email.min`, `pools.email.functions[0]`)."""

    def __init__(
        self, main_file: str = "", places: Mapping[str, Place] | None = None, written: Mapping[str, str] | None = None
    ) -> None:
        self.main_file = main_file
        #: The text of each key that names environment variables, as it stands in the file.
        self.written = dict(written or {})
        self._places = dict(places or {})

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def find(self, key: str) -> Place:
        """The place of `key`, or of the nearest key around it that the files hold."""
        while key:
            if key in self._places:
                return self._places[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return Place(self.main_file, 1 if self._places else 0)

    def problem(self, key: str, message: str, *, at: str = "", is_fatal: bool = True) -> Problem:
        """A problem with `key`. `at` names the entry whose line to show, if it is another one (a list's item)."""
        file, line = self.find(at or key)
        return Problem(file, line, key, message, is_fatal)
