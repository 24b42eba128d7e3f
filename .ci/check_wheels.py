"""Looks into the built wheels: what must be in them is there, and nothing else.

Called by `.ci/run` with the wheels' paths. It knows what each distribution promises: packages, types, commands.
"""

from __future__ import annotations

import sys
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

#: For systemd, SysV init and logrotate; pip puts them below the environment's folder.
SERVICE_FILES = "share/gearman-manager/init/"


@dataclass(frozen=True)
class Promise:
    """What one distribution installs."""

    packages: frozenset[str]
    commands: frozenset[str]
    others: frozenset[str] = frozenset()


PROMISES = {
    "gearman_manager_client": Promise(frozenset({"gearman_client"}), frozenset({"gearman", "gearadmin"})),
    "gearman_manager": Promise(
        frozenset({"gearman_manager", "gearman_process", "gearman_server", "gearman_workers"}),
        frozenset({"gearman-manager", "gearman-server"}),
        frozenset(
            {
                "gearman_manager/bridge/bridge.php",
                "gearman_manager/access/templates/login.html",
                "gearman_manager/dashboard/templates/overview.html",
                "gearman_manager/dashboard/static/site.css",
                "gearman_manager/dashboard/static/site.js",
                f"{SERVICE_FILES}gearman-manager.service",
            }
        ),
    ),
}


def problems_of(wheel: Path) -> list[str]:
    """What is wrong with one wheel."""
    name, version, *_ = wheel.name.split("-")
    promise = PROMISES[name]
    metadata = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        files = [file.removeprefix(f"{name}-{version}.data/data/") for file in archive.namelist()]
        entry_points = archive.read(f"{metadata}/entry_points.txt").decode()
    problems = []
    folders = {file.split("/")[0] for file in files if not file.startswith(SERVICE_FILES)} - {metadata}
    if folders != promise.packages:
        problems.append(f"it installs {sorted(folders)}, not {sorted(promise.packages)}")
    if commands(entry_points) != promise.commands:
        problems.append(f"its commands are {sorted(commands(entry_points))}, not {sorted(promise.commands)}")
    problems += [f"{package}/py.typed is missing" for package in promise.packages if f"{package}/py.typed" not in files]
    problems += [f"{file} is missing" for file in promise.others if file not in files]
    problems += [f"{file} does not belong there" for file in files if not belongs(file, metadata)]
    if not any(file.startswith(metadata) and file.endswith("/LICENSE") for file in files):
        problems.append("the licence is missing")
    return problems


def belongs(file: str, metadata: str) -> bool:
    """Source of the packages, the PHP bridge, what pages are made of, service files, the wheel's own records: no tests,
    no bytecode."""
    if file.startswith((f"{metadata}/", SERVICE_FILES)):
        return True
    if file.startswith("gearman_manager/bridge/") and file.endswith(".php"):
        return True
    if file.startswith("gearman_manager/") and file.rpartition("/")[0].endswith(("/templates", "/static")):
        return file.endswith((".html", ".css", ".js", ".svg"))
    return file.endswith((".py", "/py.typed")) and "test" not in Path(file).name and "/tests/" not in file


def commands(entry_points: str) -> set[str]:
    """The console scripts that are declared."""
    parser = ConfigParser()
    parser.read_string(entry_points)
    return set(parser["console_scripts"])


def main(arguments: list[str]) -> int:
    """Check all of them; returns the exit code."""
    wheels = [Path(argument) for argument in arguments]
    problems = [f"{wheel.name}: {problem}" for wheel in wheels for problem in problems_of(wheel)]
    missing = set(PROMISES) - {wheel.name.split("-")[0] for wheel in wheels}
    problems += [f"no wheel of {name} was built" for name in sorted(missing)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
