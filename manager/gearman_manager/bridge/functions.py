"""Finds GearmanManager's PHP functions in the workers folders: a file NAME.php directly in a folder serves NAME.

None of their code is run: one PHP process reads all files as text (`bridge/inspect.php`), and reports syntax errors,
files without a function, and the files they include. This runs in the zygote, never in the supervisor, which must not
wait for a process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gearman_manager.bridge.order import INSPECTION, INTERPRETER, MISSING, is_php_file
from gearman_manager.errors import ModuleError

_TIMEOUT_S: Final = 30.0
#: The most files for one PHP process: the length of a command line is limited.
_FILES_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class PhpFunction:
    """A function, named like its file. `line` is the line of its definition, or 1 if PHP could not be asked."""

    name: str
    file: str
    line: int


@dataclass(slots=True)
class PhpFunctions:
    """The PHP functions of the folders; `needs` as in `discovery.Discovery`."""

    functions: list[PhpFunction] = field(default_factory=list)
    errors: list[ModuleError] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)


def php_files(folder: Path) -> Iterator[Path]:
    """The PHP files directly in a folder, helpers too; files in deeper folders are for these to include.

    Raises:
        OSError: the folder can't be read.
    """
    for entry in sorted(folder.iterdir()):
        if is_php_file(entry.name) and not entry.name.startswith(".") and entry.is_file():
            yield entry


def find_php_functions(folders: Sequence[Path]) -> PhpFunctions:
    """The functions of all folders. Folders that can't be read are reported elsewhere."""
    found = PhpFunctions()
    files = [str(file) for folder in folders for file in _functions_files(folder)]
    for start in range(0, len(files), _FILES_AT_ONCE):
        _inspect(files[start : start + _FILES_AT_ONCE], found)
    return found


def _functions_files(folder: Path) -> list[Path]:
    try:
        return [file for file in php_files(folder) if not file.name.startswith("_")]
    except OSError:
        return []


def _inspect(files: Sequence[str], found: PhpFunctions) -> None:
    try:
        report = _report(files)
    except ModuleError as error:
        # The functions are kept: their pools report the error too, and serve them once PHP is back.
        found.functions += [PhpFunction(Path(file).stem, file, 1) for file in files]
        found.errors += [ModuleError(file, 0, error.message) for file in files]
        return
    for file in files:
        about = report[file]
        found.needs[file] = sorted({file, *about["includes"]})
        if about["error"] is not None:
            found.errors.append(ModuleError(file, about["line"], about["error"]))
        else:
            found.functions.append(PhpFunction(Path(file).stem, file, about["line"]))


def _report(files: Sequence[str]) -> dict[str, Any]:
    """PHP's report on each file.

    Raises:
        ModuleError: PHP is not installed, too old, or broken.
    """
    if shutil.which(INTERPRETER) is None:
        raise ModuleError(files[0], 0, MISSING)
    try:
        done = subprocess.run(
            [*INSPECTION, *files],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModuleError(files[0], 0, f"{INTERPRETER} can't be asked about the file: {error}") from error
    except ValueError as error:
        words = done.stderr.decode(errors="backslashreplace").strip().splitlines()
        reason = words[-1] if words else f"it ended with {done.returncode}"
        raise ModuleError(files[0], 0, f"{INTERPRETER} can't be asked about the file: {reason}") from error
    return report
