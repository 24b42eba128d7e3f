"""Jobs and dead letters as job servers tell of them, without what is not to be shown. Pure."""

from __future__ import annotations

from typing import Any, Final

from gearman_client.text import unescaped
from gearman_manager.privacy import MARK, FunctionPrivacy

Row = dict[str, Any]
_TEXTS: Final = ("error", "traceback", "unique", "key", "progress")
_PAIRS: Final = ("options", "headers")


def shown_row(row: Row, rules: FunctionPrivacy) -> Row:
    """A row of a list, or all details of one job. `is_redacted` is there, and true, if a part of its workload is not
    shown."""
    if not rules.hides:
        return row
    name = "workload" if "workload" in row else "preview"
    workload = str(row.get(name, ""))
    shown = rules.workload(workload)
    changed: Row = {name: shown or ""}
    changed |= {each: rules.text(row[each], workload) for each in _TEXTS if row.get(each)}
    if name == "preview" and row.get("error") and not rules.cleans_errors and _is_cut(row):
        changed["error"] = MARK  # it may hold a value of the part that the list has not; the job's own page tells it
    changed |= {each: rules.mapping(row[each], workload) for each in _PAIRS if row.get(each)}
    if row.get("tags"):
        changed["tags"] = [rules.text(tag, workload) for tag in row["tags"]]
    if row.get("cursor"):  # the function's own data
        changed["cursor"] = rules.text(row["cursor"], workload) if rules.shows_workloads else MARK
    if row.get("data"):  # the beginning of what the function says, as a result is
        changed["data"] = rules.text(rules.workload(row["data"]) or MARK, workload)
    if shown != workload:
        changed["is_redacted"] = True
    kept = {each: value for each, value in row.items() if each != "workload_base64" or shown == workload}
    return kept | changed


def _is_cut(row: Row) -> bool:
    """Whether the list has only the first part of the workload."""
    return len(unescaped(row["preview"].encode())) < int(row["bytes"])
