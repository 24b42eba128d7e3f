"""The history of pools and functions: its file after a week, what recording costs the manager, and the first page.

The manager has two hundred pools of a worker each and two hundred functions, and finds in its file a day of minutes
whose hours nobody has added up: so the measured time has all that recording ever does. Its loop is watched in a run of
its own.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import traced_manager
from open_pages import Watched, chromium
from playwright.sync_api import Browser
from running_manager import BIN, RunningManager, cores_used, manager, wait_until
from scope import Scope

from gearman_client import Client
from gearman_manager.history.history_file import FILE_NAME, HistoryFile
from gearman_manager.series import points_table as table
from gearman_manager.series.figures import FUNCTION, POOL, packed

SERIES: Final = 200
WEEK_HOURS: Final = 7 * 24
#: As long as minutes are kept unless the configuration says otherwise.
KEPT_MINUTES: Final = 25 * 60
MOST_MB: Final = 50.0
MOST_HOLD_MS: Final = 20.0
MOST_KB: Final = 150.0
MOST_MS: Final = 300.0
LOADS: Final = 15
#: So long that a minute ends, and is written.
RECORDED_S: Final = 75.0
_MODULE: Final = "def {name}(job):\n    return b''\n"
_NAMES: Final = tuple(f"function_{number}" for number in range(SERIES))


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    if not scope.wants("history"):
        return
    yield f"The history of {SERIES} pools and {SERIES} functions, medians of {scope.rounds} rounds"
    yield ""
    yield "| | | bar | |"
    yield "|---|--:|--:|---|"
    yield _row("the file, with 7 days of hours and 25 h of minutes, all of them busy, MB", _file_mb(), MOST_MB)
    rounds = [_recorded() for _ in range(scope.rounds)]
    hold_ms, cpu = (median(values) for values in zip(*rounds, strict=True))
    yield _row("the longest hold of the loop while it records, and adds up 24 hours, ms", hold_ms, MOST_HOLD_MS)
    yield f"| the supervisor meanwhile, % of a core | {cpu:.1f} | | |"
    pages = [_first_page() for _ in range(scope.rounds)]
    size_kb, content_ms = (median(values) for values in zip(*pages, strict=True))
    yield _row("the first page, with all that it loads, kB over the wire", size_kb, MOST_KB)
    yield _row("the first page until there is content, ms", content_ms, MOST_MS)


def _row(what: str, figure: float, bar: float) -> str:
    return f"| {what} | {figure:.1f} | ≤ {bar:g} | {'ok' if figure <= bar else 'MISSED'} |"


# --- the file


def _fill(folder: Path, hours: int, minutes: int) -> Path:
    """Write the points of so many hours and minutes until now into the file of a run folder, all series busy."""
    file = HistoryFile(folder / FILE_NAME)
    for statement in table.TABLES:
        file.declare(statement)
    chance = random.Random(1)
    now = int(time.time()) // 3600 * 3600
    keys = [("pool", f"pool_{name}") for name in _NAMES] + [("function", name) for name in _NAMES]
    numbers = file.run(partial(table.numbers, [*keys, ("pools", ""), ("functions", "")], now), 60.0)
    for step_s, count in ((table.HOUR_S, hours), (table.MINUTE_S, minutes)):
        for place in reversed(range(count)):
            looks = step_s // 10
            rows = {
                number: packed(_pool(chance, looks) if kind.startswith("pool") else _function(chance, looks))
                for (kind, _), number in numbers.items()
            }
            file.run(partial(table.write, step_s, now - (place + 1) * step_s, rows), 60.0)
    file.close()
    return folder / FILE_NAME


def _pool(chance: random.Random, looks: int) -> dict[int, int]:
    workers, waiting = chance.randrange(1, 30), chance.randrange(500)
    point = POOL.point(samples=looks, idle=looks * workers, busy=looks * workers // 2, wanted=looks * workers)
    point |= POOL.point(target=looks * workers, waiting=looks * waiting, waiting_max=2 * waiting, running=looks * 3)
    point |= POOL.point(memory_kb=looks * workers * 14_000, held=looks, limit=3, oldest_ms=chance.randrange(9000))
    point |= POOL.point(done=looks * chance.randrange(900), failed=chance.randrange(20), cpu_ms=looks * 7000)
    return point | POOL.point(spawned=chance.randrange(3), grown=chance.randrange(3), shrunk=chance.randrange(3))


def _function(chance: random.Random, looks: int) -> dict[int, int]:
    jobs, first = looks * chance.randrange(1, 900), chance.randrange(9)
    point = FUNCTION.point(waiting=looks * chance.randrange(500), waiting_max=chance.randrange(1000), running=3 * looks)
    point |= FUNCTION.point(oldest_ms=chance.randrange(9000), submitted=jobs, started=jobs, completed=jobs * 9 // 10)
    point |= FUNCTION.point(failed=jobs // 50, retried=jobs // 30, waited_ms=jobs * 800, ran_ms=jobs * 300)
    for of in ("waited", "ran"):
        for bucket in range(first, first + 6):
            point |= FUNCTION.point(**{f"{of}_{bucket}": jobs // (bucket + 2)})
    return point


def _file_mb() -> float:
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
        return _fill(Path(name), WEEK_HOURS, KEPT_MINUTES).stat().st_size / 1e6


# --- the manager


@contextmanager
def _managed(watched: Watched, programs: Path = BIN) -> Iterator[RunningManager]:
    """The manager, with a day of minutes in its file."""
    pools = "".join(f"  pool_{name}: {{functions: [{name}], min: 1, max: 1}}\n" for name in _NAMES)
    modules = {f"{name}.py": _MODULE.format(name=name) for name in _NAMES}
    with manager(f"{watched.section}pools:\n{pools}", modules, programs) as running:
        running.wait_for_control()
        wait_until(lambda: b'"starting"' not in watched.get("/api/v1/overview"), "all workers run", every_s=0.5)
        _fill(running.folder / "run", 0, 24 * 60)
        yield running


def _submit(running: RunningManager) -> None:
    with Client([running.address], timeout_s=60) as client:
        for name in _NAMES:
            client.submit(name, b"")


@contextmanager
def _busy(running: RunningManager) -> Iterator[None]:
    """Each function has a job every few seconds."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            _submit(running)
            is_over.wait(3)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _recorded() -> tuple[float, float]:
    """The longest hold of the loop in milliseconds, and the supervisor's use of a core in per cent, untraced. Each
    function has had jobs, and none has any now: else the scaler's passes would be measured."""
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
        folder = traced_manager.programs(Path(name))
        with _managed(Watched(), folder) as running:
            _submit(running)
            time.sleep(2)
            traced_manager.reset(folder)
            time.sleep(RECORDED_S)
            hold_ms = traced_manager.held_s(folder) * 1e3
    with _managed(Watched()) as running:
        _submit(running)
        return hold_ms, 100 * cores_used(running.supervisor, RECORDED_S)


def _first_page() -> tuple[float, float]:
    """The bytes in kB that a browser which knows nothing yet loads for the first page, and the milliseconds until it
    shows something: both medians of some loads."""
    watched = Watched()
    with _managed(watched) as running, _busy(running), chromium() as browser:
        time.sleep(RECORDED_S)  # then there is something in the charts
        loads = [_load(watched, browser) for _ in range(LOADS)]
    size_kb, content_ms = (median(values) for values in zip(*loads, strict=True))
    return size_kb, content_ms


def _load(watched: Watched, browser: Browser) -> tuple[float, float]:
    page = watched.open(browser, "/history")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(watched.url, wait_until="load")
    content_ms = page.evaluate(
        "new Promise(told => new PerformanceObserver(list => told(list.getEntries()[0].startTime))"
        ".observe({type: 'paint', buffered: true}))"
    )
    size_kb = sum(sizes) / 1e3
    page.context.close()
    return size_kb, float(content_ms)
