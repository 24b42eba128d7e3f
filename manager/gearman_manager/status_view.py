"""The status report for people: tables on a terminal."""

import time
from typing import Any, Final

from rich.console import Console
from rich.table import Table

Report = dict[str, Any]
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"))


def show(report: Report) -> None:
    """Print it."""
    console = Console(highlight=False)
    since_s = time.time() - report["supervisor"]["since"]
    console.print(f"manager pid {report['supervisor']['pid']}, running for {duration(since_s)}")
    for part in (_pools(report), _workers(report), _functions(report), _servers(report)):
        console.print()
        console.print(part)
    for error in report["errors"]:
        where = f"{error['file']}:{error['line']}" if error["line"] else error["file"]
        console.print(f"[red]error[/red] {where}: {error['message']}", soft_wrap=True)


def duration(seconds: float) -> str:
    """`850ms`, `12.3s`, `5m`, `2h`, `3d`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


def _pools(report: Report) -> Table:
    table = Table("pool", "min", "max", "target", "workers", "busy", "last error", box=None)
    for name, pool in report["pools"].items():
        busy = sum(worker["state"] == "busy" for worker in pool["workers"])
        error = ("[red]failing[/red] " if pool["failing"] else "") + pool["last_error"]
        numbers = (pool["min"], pool["max"], pool["target"], len(pool["workers"]), busy)
        table.add_row(name, *(str(number) for number in numbers), error)
    return table


def _workers(report: Report) -> Table:
    table = Table("worker", "pid", "state", "job", "for", "done", "failed", "memory", "age", box=None)
    for pool in report["pools"].values():
        for worker in pool["workers"]:
            job = worker["jobs"][0] if worker["jobs"] else None
            table.add_row(
                worker["name"],
                str(worker["pid"] or "-"),
                worker["state"],
                f"{job['function']} {job['handle']}" if job else "-",
                duration(job["for_s"]) if job else "-",
                str(worker["done"]),
                str(worker["failed"]),
                f"{worker['private_bytes'] / 1e6:.1f} MB" if worker["private_bytes"] else "-",
                duration(worker["age_s"]),
            )
    return table


def _functions(report: Report) -> Table:
    table = Table("function", "pool", "queued", "running", "workers", "file", box=None)
    for name, entry in report["functions"].items():
        numbers = ("-" if entry[key] is None else str(entry[key]) for key in ("queued", "running", "workers"))
        table.add_row(name, entry["pool"], *numbers, entry["file"])
    return table


def _servers(report: Report) -> Table:
    table = Table("job server", "state", "for", box=None)
    for address, server in report["servers"].items():
        since = duration(time.time() - server["since"]) if server["since"] else "-"
        table.add_row(address, "up" if server["up"] else "[red]down[/red]", since)
    return table
