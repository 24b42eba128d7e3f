"""Instructions per job of each row of `job_server`, counted by valgrind: they do not depend on the machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from gearload import gearload
from job_server import OURS, ROWS, THEIRS, Row
from scope import Scope
from servers import COMMANDS, our_version, started

#: valgrind is so slow that a run has this part of the row's jobs, and a shorter one that part.
MANY: Final = 1 / 10
FEW: Final = 1 / 50
PATIENT_SERVER: Final = Path(__file__).with_name("patient_server.py")
_START_DEADLINE_S: Final = 120
_JOBS: Final = re.compile(r"-n (\d+)")


class Counter:
    """Counts the instructions of a process that runs in valgrind, in all its threads; not those of the kernel."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = ["vgdb", f"--vgdb-prefix={folder}/vgdb"]
        self._dumps = 0

    def wrap(self, command: list[str], is_compiled: bool) -> list[str]:
        """The command that starts the process in valgrind, which counts nothing yet; Python's hashes are not random."""
        environment = ["PYTHONHASHSEED=0", f"GEARMAN_COMPILED={is_compiled:d}"]
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"]
        places = [f"--callgrind-out-file={self._folder}/counts", f"--vgdb-prefix={self._folder}/vgdb"]
        program = [sys.executable, str(PATIENT_SERVER)] if Path(command[0]).name == OURS else [command[0]]
        return ["env", *environment, *valgrind, *places, *program, *command[1:]]

    def begin(self) -> None:
        """Count from now on."""
        self._tell("instrumentation", "on")

    def take(self) -> int:
        """The number of instructions since `begin` or the last `take`."""
        self._tell("dump")
        self._dumps += 1
        counts = (self._folder / f"counts.{self._dumps}").read_text()
        return int(counts.rpartition("totals:")[2])

    def _tell(self, *words: str) -> None:
        subprocess.run([*self._command, *words], capture_output=True, check=True, timeout=60)


def per_job(server_name: str, row: Row, *, is_compiled: bool = False) -> float:
    """Instructions per job: the difference of two runs against one server that has run such jobs before."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        counter = Counter(Path(folder))
        command = COMMANDS[server_name]
        with started(lambda port: counter.wrap(command(port), is_compiled), _START_DEADLINE_S) as server:

            def count(part: float) -> int:
                if row.before is not None:
                    gearload(server.port, _fewer(row.before, part))
                    counter.take()
                gearload(server.port, _fewer(row.arguments, part))
                return counter.take()

            counter.begin()
            count(FEW)
            base = count(FEW)
            spent = count(MANY) - base
    return spent / (_jobs(_fewer(row.arguments, MANY)) - _jobs(_fewer(row.arguments, FEW)))


def _fewer(arguments: str, part: float) -> str:
    return _JOBS.sub(f"-n {round(_jobs(arguments) * part)}", arguments)


def _jobs(arguments: str) -> int:
    found = _JOBS.search(arguments)
    if found is None:
        raise ValueError(f"no number of jobs in {arguments}")
    return int(found[1])


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(row.arguments)]
    if not rows:
        return
    if shutil.which("valgrind") is None:
        yield "Instructions per job: valgrind is not installed (apt install valgrind)"
        return
    yield f"Instructions per job outside the kernel, medians of {scope.rounds} rounds"
    yield ""
    has_compiled = our_version().endswith("compiled core")
    yield "| gearload | gearmand | ours | ratio |" + (" compiled | ratio |" if has_compiled else "")
    yield "|---|--:|--:|--:|" + ("--:|--:|" if has_compiled else "")
    for row in rows:
        theirs = median(per_job(THEIRS, row) for _ in range(scope.rounds))
        line = f"| {row.arguments} | {theirs:,.0f} |"
        for is_compiled in (False, True) if has_compiled else (False,):
            ours = median(per_job(OURS, row, is_compiled=is_compiled) for _ in range(scope.rounds))
            line += f" {ours:,.0f} | {ours / theirs:.2f} |"
        yield line
