"""The table of the manager's metrics for the documentation.

`make docs` runs this module on docs/monitoring.md, and makes what is between its markers anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gearman_manager.metrics.exposition import AnyFamily, LabelledFamily
from gearman_manager.metrics.function_families import FUNCTION_FAMILIES
from gearman_manager.metrics.manager_families import BUDGET_FAMILIES, MANAGER_FAMILIES, SERVER_FAMILIES
from gearman_manager.metrics.pool_families import POOL_FAMILIES

#: All families, by the label that their rows have.
BY_LABEL: Final[dict[str, tuple[AnyFamily[Any], ...]]] = {
    "pool": POOL_FAMILIES,
    "function": FUNCTION_FAMILIES,
    "server": SERVER_FAMILIES,
    "budget": BUDGET_FAMILIES,
    "": MANAGER_FAMILIES,
}
_MARKED: Final = re.compile(r"(<!-- metrics of the manager[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    """The table in Markdown."""
    rows = (_row(row_label, family) for row_label, families in BY_LABEL.items() for family in families)
    return "".join(("| metric | labels | kind | |\n|---|---|---|---|\n", *rows))


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    return _MARKED.sub(lambda match: match[1] + table() + match[2], page)


def _row(row_label: str, family: AnyFamily[Any]) -> str:
    labels = [row_label] if row_label else []
    if isinstance(family, LabelledFamily):
        labels.append(family.label)
    name = family.name + ("_total" if family.kind == "counter" else "")
    return f"| `{name}` | {', '.join(labels)} | {family.kind} | {family.help_text} |\n"


def _remade(paths: list[str]) -> Iterator[str]:
    for path in paths:
        page = Path(path).read_text()
        if (made := with_table(page)) != page:
            Path(path).write_text(made)
            yield f"{path}: table made anew"


if __name__ == "__main__":
    for line in _remade(sys.argv[1:]):
        print(line)
