"""`make bench`: runs every subject and prints its tables. One module per subject, each with `report(rounds)`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import job_server
import manager

#: What can be measured, by name. A new subject is a module beside this file and a line here.
SUBJECTS = {"job_server": job_server.report, "manager": manager.report}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Runnable comparisons; see benchmarks/README.md.")
    parser.add_argument("subjects", nargs="*", help=f"what to measure: {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per figure, of which the median counts")
    options = parser.parse_args()
    unknown = set(options.subjects) - SUBJECTS.keys()
    if unknown or options.rounds < 1:
        parser.error(f"unknown subject {', '.join(unknown)}" if unknown else "--rounds must be at least 1")
    print(f"{date.today()}, {_machine()}, Python {platform.python_version()}", flush=True)
    for name in options.subjects or SUBJECTS:
        print("", *SUBJECTS[name](options.rounds), sep="\n", flush=True)


def _machine() -> str:
    """Processor and kernel, as the system tells them."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


if __name__ == "__main__":
    main()
