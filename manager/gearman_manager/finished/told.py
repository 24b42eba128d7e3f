"""Finished jobs as API, pages and commands tell of them: rows of the table under the names of other lists. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMES: Final[Mapping[str, str]] = {
    "at": "ended",
    "is_background": "background",
    "workload_bytes": "bytes",
}
_FIRST: Final = ("handle", "function", "outcome", "follows", "attempt")
#: What only the file's readers need.
_INNER: Final = ("id", "run", "number")


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row with all that is known, of one job."""
    names = dict.fromkeys((*_FIRST, *row))
    return {_NAMES.get(name, name): row[name] for name in names if name not in _INNER}


def told_in_list(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a list. Its workload is a `preview`, and of the error only the first line is there."""
    made = told(row)
    preview, error = made.pop("workload"), made.pop("error")
    return {**made, "error": error.partition("\n")[0], "preview": preview}
