"""A manager that is watched: what ten open pages cost it, and whether it reacts as fast as one that nobody looks at.

The pages are those of a real browser, and a scraper asks for the metrics once a second meanwhile. The browser takes
much of two processors, so both reactions are also measured with a browser that shows ten other busy pages.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from open_pages import Watched, chromium
from running_manager import RunningManager, cores_used, manager, title, wait_until
from scope import Scope

from gearman_client import Client

PAGES: Final = 10
WORKERS: Final = 200
POOLS: Final = 10
WATCHED_S: Final = 20.0
REACTIONS: Final = 15
MOST_MORE_PERCENT: Final = 2.0
AT_MOST_TIMES: Final = 1.1
_MODULE: Final = "def watched{number}(job):\n    return b''\n"
_BURST: Final = "import time\n\ndef {name}(job):\n    time.sleep(float(job.workload))\n"
#: As busy as pages of the dashboard are: they change something about every second.
_BUSY_PAGE: Final = (
    "data:text/html,<p>0</p><script>setInterval(() => document.body.replaceChildren(...Array.from({length: 300},"
    " (_, i) => Object.assign(document.createElement('p'), {textContent: i + Date.now()}))), 1000)</script>"
)


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    if not scope.wants("watched"):
        return
    yield f"A manager with {WORKERS} workers, watched by {PAGES} pages and a scraper, medians of {scope.rounds} rounds"
    yield ""
    rounds = [_measure() for _ in range(scope.rounds)]
    alone, open_pages, replaced, grown = (median(values) for values in zip(*rounds, strict=True))
    yield "| | | bar | |"
    yield "|---|--:|--:|---|"
    yield f"| the supervisor with nobody who looks, % of a core | {alone:.1f} | | |"
    rows = (
        (f"{PAGES} open pages: more, % of a core", open_pages, f"{open_pages:.1f}", MOST_MORE_PERCENT),
        ("killed worker replaced, watched by unwatched", replaced, f"{replaced:.2f}", AT_MOST_TIMES),
        ("burst until the first extra worker, watched by unwatched", grown, f"{grown:.2f}", AT_MOST_TIMES),
    )
    for what, figure, shown, bar in rows:
        yield f"| {what} | {shown} | ≤ {bar:g} | {'ok' if figure <= bar else 'MISSED'} |"


def _measure() -> tuple[float, float, float, float]:
    """Percents of a core without and with pages, and the ratios of both reactions."""
    watched = Watched()
    each = WORKERS // POOLS
    pools = "".join(f"  watched{number}: {{min: {each}, max: {each}}}\n" for number in range(POOLS))
    modules = {f"watched{number}.py": _MODULE.format(number=number) for number in range(POOLS)}
    # Each burst has a pool of its own, since none is small again soon.
    names = [f"burst{number}" for number in range(2 * REACTIONS)]
    modules |= {f"{name}.py": _BURST.format(name=name) for name in names}
    pools += "".join(f"  {name}: {{min: 1, max: 4}}\n" for name in names)
    config = f"{watched.section}pools:\n{pools}"
    with manager(config, modules) as running, chromium() as browser:
        running.wait_for_control()
        wait_until(lambda: _is_settled(watched), "all workers are idle", every_s=0.1)
        alone = 100 * cores_used(running.supervisor, WATCHED_S)

        @contextmanager
        def pages(open_one: Callable[[], object]) -> Iterator[None]:
            for _ in range(PAGES):
                open_one()
            try:
                yield
            finally:
                for context in browser.contexts:
                    context.close()

        with pages(lambda: watched.open(browser)):
            time.sleep(2)
            more = 100 * cores_used(running.supervisor, WATCHED_S) - alone
            with _scraped(watched):
                reactions = _reactions(running, watched, names[:REACTIONS])
        with pages(lambda: browser.new_context().new_page().goto(_BUSY_PAGE)):
            unwatched = _reactions(running, watched, names[REACTIONS:])
    return alone, more, reactions[0] / unwatched[0], reactions[1] / unwatched[1]


def _is_settled(watched: Watched) -> bool:
    try:
        pools = json.loads(watched.get("/api/v1/overview"))["pools"]
    except OSError:
        return False  # it does not listen yet
    states = [worker["state"] for pool in pools if "watched" in pool["name"] for worker in pool["workers"]]
    return len(states) == WORKERS and set(states) == {"idle"} and all(pool["ready"] for pool in pools)


def _reactions(running: RunningManager, watched: Watched, bursts: list[str]) -> tuple[float, float]:
    """Seconds from a kill to the new process, and from a burst to the process of the first extra worker."""
    replaced = median(_replaced_s(running, watched) for _ in range(REACTIONS))
    with Client([running.address]) as client:
        return replaced, median(_grown_s(running, client, burst) for burst in bursts)


def _replaced_s(running: RunningManager, watched: Watched) -> float:
    wait_until(lambda: _is_settled(watched), "all workers are idle", every_s=0.1)
    before = _processes(running)
    victim = next(worker for worker in running.workers() if "watched" in title(worker))
    began = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: _processes(running) - before, "a killed worker is replaced", every_s=0.0)
    return time.monotonic() - began


def _grown_s(running: RunningManager, client: Client, function: str) -> float:
    before = _processes(running)
    began = time.monotonic()
    client.submit_background_many(function, [b"0.5"] * 8)
    wait_until(lambda: _processes(running) - before, "the pool grows", every_s=0.0)
    return time.monotonic() - began


def _processes(running: RunningManager) -> set[str]:
    """The pids of the supervisor's children and of theirs, among which are the workers; read in a cheap way."""
    found = set(_children(str(running.process.pid)))
    return found.union(*map(_children, found))


def _children(pid: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


@contextmanager
def _scraped(watched: Watched) -> Iterator[None]:
    is_over = threading.Event()

    def scrape() -> None:
        while not is_over.wait(1.0):
            watched.get("/metrics")

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        is_over.set()
        scraper.join()
