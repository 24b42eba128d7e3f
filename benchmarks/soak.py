"""`make soak`: runs every soak and prints its summary; exit code 1 if anything went wrong. Each soak is a module.

The module has `run(small)`, which returns a `Summary`. A new soak is a module beside this file and a line in SOAKS.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import soak_dashboard
import soak_workers

SOAKS: Final = {"workers": soak_workers.run, "dashboard": soak_dashboard.run}


def main() -> int:
    """Run the chosen soaks."""
    parser = argparse.ArgumentParser(description="Long runs at the limits of one machine; see benchmarks/README.md.")
    parser.add_argument("soaks", nargs="*", help=f"which: {', '.join(SOAKS)} (default: all)")
    parser.add_argument("--small", action="store_true", help="a fraction of everything, to try the soak itself")
    options = parser.parse_args()
    unknown = set(options.soaks) - SOAKS.keys()
    if unknown:
        parser.error(f"unknown soak {', '.join(unknown)}")
    clean = True
    for name in options.soaks or SOAKS:
        print(f"{name}: load before {os.getloadavg()[0]:.1f}", flush=True)
        began = time.monotonic()
        summary = SOAKS[name](options.small)
        print(*summary.lines(), f"  {'took':48} {time.monotonic() - began:.1f} s", sep="\n", flush=True)
        clean = clean and not summary.errors
    print("clean" if clean else "NOT CLEAN")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
