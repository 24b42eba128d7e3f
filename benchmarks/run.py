"""`make bench`: runs every subject and prints its tables. One module per subject, each with `report(scope)`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import async_client
import background
import backlog
import client_calls
import cluster
import durable
import finished
import history
import instructions
import job_options
import job_server
import keys
import manager
import metrics_cost
import queue_search
import reload
import scrape
import stalls
import task_sets
import tls
import watched
from running_manager import programs_of
from scope import Scope
from servers import our_version


@dataclass(frozen=True)
class Subject:
    """A subject of measurement: a function for its section of the report, and its default number of rounds."""

    report: Callable[[Scope], Iterator[str]]
    rounds: int = 5


#: The subjects by name. A new subject is a module beside this file and a line here.
SUBJECTS: Final = {
    "job_server": Subject(job_server.report),
    "instructions": Subject(instructions.report, rounds=1),
    "tls": Subject(tls.report, rounds=3),
    "metrics": Subject(metrics_cost.report),
    "durable": Subject(durable.report, rounds=3),
    "cluster": Subject(cluster.report, rounds=3),
    "options": Subject(job_options.report, rounds=3),
    "keys": Subject(keys.report, rounds=3),
    "backlog": Subject(backlog.report, rounds=1),
    "queue_search": Subject(queue_search.report, rounds=3),
    "task_sets": Subject(task_sets.report, rounds=3),
    "stalls": Subject(stalls.report, rounds=1),
    "manager": Subject(manager.report, rounds=3),
    "reload": Subject(reload.report, rounds=3),
    "scrape": Subject(scrape.report, rounds=3),
    "finished": Subject(finished.report, rounds=3),
    "watched": Subject(watched.report, rounds=1),
    "history": Subject(history.report, rounds=1),
    "background": Subject(background.report, rounds=3),
    "calls": Subject(client_calls.report, rounds=5),
    "async_client": Subject(async_client.report, rounds=3),
}


def main() -> None:
    """Measure the chosen subjects, and print each line as soon as it is known."""
    parser = argparse.ArgumentParser(description="Runnable comparisons; see benchmarks/README.md.")
    parser.add_argument("subjects", nargs="*", help=f"what to measure: {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--rounds", type=int, help="measurements per figure, of which the median counts")
    parser.add_argument("--rows", action="append", default=[], metavar="TEXT", help="only rows with this in their name")
    parser.add_argument(
        "--before",
        type=lambda name: Path(name).resolve(),
        metavar="CHECKOUT",
        help="`manager`: compare with this checkout",
    )
    options = parser.parse_args()
    unknown = set(options.subjects) - SUBJECTS.keys()
    if unknown:
        parser.error(f"unknown subject {', '.join(unknown)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.before is not None and not programs_of(options.before).is_dir():
        parser.error(f"--before: {options.before} has no environment; run `make setup` there")
    print(f"{date.today()}, {_machine()}, Python {platform.python_version()}, {our_version()}", flush=True)
    for name in options.subjects or SUBJECTS:
        subject = SUBJECTS[name]
        scope = Scope(options.rounds or subject.rounds, tuple(options.rows), options.before)
        print(flush=True)
        for line in subject.report(scope):
            print(line, flush=True)


def _machine() -> str:
    """The names of processor and kernel."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


if __name__ == "__main__":
    main()
