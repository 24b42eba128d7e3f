"""A dashboard at the limits: a thousand workers, a million queued jobs, and pages that stay open for ten minutes.

The pages are asked for one after the other by a browser, which must show each within a bound; then the overview stays
open, and its memory must not grow. What must hold is an error of the summary, and the rest are figures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from open_pages import Watched, chromium
from playwright.sync_api import Page
from running_manager import RunningManager, manager, wait_until
from soak_summary import Summary

from gearman_client import Client

POOLS: Final = 200
DEADLINE_S: Final = 300.0
MOST_TO_CONTENT_S: Final = 5.0
#: The growth of the page's heap that is no leak, in the second half of the time: what it has just got.
MOST_GROWTH_BYTES: Final = 1_000_000
HEAP_LOOKS: Final = 10
PATHS: Final = (
    "/",
    "/pools/dash0",
    "/functions",
    "/functions/dash0",
    "/jobs",
    "/jobs?state=finished",
    "/jobs?state=finished&text=xxxx",
    "/dead",
    "/failures",
    "/schedules",
    "/servers",
    "/peers",
    "/history",
)
_MODULE: Final = "import time\n\ndef dash{number}(job):\n    time.sleep(1)\n"


@dataclass(frozen=True)
class Size:
    """How many, and for how long."""

    workers: int = 1000
    jobs: int = 1_000_000
    open_s: float = 600.0


SMALL: Final = Size(workers=200, jobs=20_000, open_s=20.0)


def run(small: bool) -> Summary:
    """The whole soak."""
    size = SMALL if small else Size()
    summary, watched = Summary(), Watched()
    each = size.workers // POOLS
    pools = "".join(f"  dash{number}: {{min: {each}, max: {each}}}\n" for number in range(POOLS))
    modules = {f"dash{number}.py": _MODULE.format(number=number) for number in range(POOLS)}
    with manager(f"{watched.section}pools:\n{pools}", modules) as running, chromium() as browser:
        running.wait_for_control()
        wait_until(lambda: len(running.workers()) == size.workers, "all workers are there", DEADLINE_S, 0.5)
        with Client([running.address], timeout_s=DEADLINE_S) as client:
            for number in range(POOLS):
                client.submit_background_many(f"dash{number}", [b"x" * 100] * (size.jobs // POOLS))
        page = watched.open(browser)
        for path in PATHS:
            _look(page, watched, path, summary)
        page.goto(watched.url)
        _stay_open(page, running, size.open_s, summary)
    return summary


def _look(page: Page, watched: Watched, path: str, summary: Summary) -> None:
    """Open a page, which must have its content soon."""
    began = time.monotonic()
    answer = page.goto(watched.url + path, wait_until="domcontentloaded")
    page.locator("#live, main").first.wait_for()
    took_s = time.monotonic() - began
    summary.figures[f"{path}: content after"] = f"{took_s:.2f} s"
    if answer is None or answer.status != 200 or took_s > MOST_TO_CONTENT_S:
        summary.errors.append(f"{path}: {answer and answer.status} after {took_s:.1f} s")


def _stay_open(page: Page, running: RunningManager, for_s: float, summary: Summary) -> None:
    """The page stays open; it must go on, and what it holds must not grow in the second half of the time."""
    half_s = for_s / 2
    page.wait_for_timeout(1000 * half_s)
    half, shown = _heap_bytes(page), page.locator("#live").inner_text()
    page.wait_for_timeout(1000 * half_s)
    end = _heap_bytes(page)
    summary.figures[f"heap of the overview after {half_s:g} s"] = f"{half / 1e6:.1f} MB"
    summary.figures[f"heap of the overview after {for_s:g} s"] = f"{end / 1e6:.1f} MB"
    summary.figures["memory of the supervisor"] = f"{running.supervisor.memory_info().rss / 1e6:.0f} MB"
    if end > half + MOST_GROWTH_BYTES:
        summary.errors.append(f"the page grew from {half} to {end} bytes")
    if page.locator("#live").inner_text() == shown:
        summary.errors.append("the page did not go on")


def _heap_bytes(page: Page) -> int:
    """The JavaScript heap in use after a collection: the least of some, since one may fall into a change."""
    session = page.context.new_cdp_session(page)
    used: list[int] = []
    for _ in range(HEAP_LOOKS):
        session.send("HeapProfiler.collectGarbage")
        used.append(session.send("Runtime.getHeapUsage")["usedSize"])
        page.wait_for_timeout(1000)
    session.detach()
    return min(used)
