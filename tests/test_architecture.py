"""The map in docs/architecture.md: each module stands on it once, arrows are those of the contracts, bounds hold."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "gearman_client": ROOT / "client",
    "gearman_process": ROOT / "process",
    "gearman_server": ROOT / "server",
    "gearman_manager": ROOT / "manager",
}
MAP = (ROOT / "docs/architecture.md").read_text()
MOST_FILES_IN_A_ROOT, MOST_FILES_IN_A_ROOM, MOST_LINES, MOST_IN_A_CIRCLE = 12, 26, 400, 3
MOST_LINES_OF_A_FRONT_PAGE = 12
#: What is no module for the map: packages' own files, and the door to `python -m`.
UNMAPPED = {"__init__", "__main__"}


def files_of(package: str) -> list[Path]:
    """Every source file of a package, below its import package's folder."""
    return sorted((FOLDERS[package] / package).rglob("*.py"))


def rooms_of(package: str) -> dict[str, set[str]]:
    """The modules in each room, by the room's name; those in the root by `.`."""
    top = FOLDERS[package] / package
    found: dict[str, set[str]] = {}
    for file in files_of(package):
        if file.stem not in UNMAPPED:
            found.setdefault(str(file.parent.relative_to(top)), set()).add(file.stem)
    return found


def section_of(package: str) -> str:
    """The part of the map about a package."""
    heading = re.search(rf"^## .*`{package}`.*$", MAP, re.MULTILINE)
    assert heading is not None, f"docs/architecture.md has no heading with `{package}`"
    return MAP[heading.end() :].partition("\n## ")[0]


def mapped_rooms(package: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of the section's table: a room's name and the modules that stand in it, in order."""
    for room, _, modules in re.findall(r"^\| `([\w./]+?)/?` \| (.*?) \| (.*?) \|$", section_of(package), re.MULTILINE):
        yield room, re.findall(r"`(\w+)`", modules)


@pytest.mark.parametrize("package", FOLDERS)
def test_every_module_stands_on_the_map_once_and_in_its_room(package: str) -> None:
    rows = list(mapped_rooms(package))
    mapped = {room: set(modules) for room, modules in rows}
    assert mapped == rooms_of(package)
    assert [room for room, _ in rows] == list(mapped)  # no room twice
    assert [len(modules) for _, modules in rows] == [len(modules) for modules in mapped.values()]  # no module twice


def test_the_walks_and_the_table_of_changes_name_modules_that_there_are() -> None:
    text = MAP[MAP.index("## Three walks") :]
    named = set(re.findall(r"`(\w+/\w+)(?:\.py)?`", text))
    known = {
        f"{room}/{module}" for package in FOLDERS for room, modules in rooms_of(package).items() for module in modules
    }
    assert len(named) > 30
    assert named - known == set()


@pytest.mark.parametrize("package", ["gearman_client", "gearman_server", "gearman_manager"])
def test_the_arrows_on_the_map_are_those_of_the_contracts(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == [package]]
    drawn = re.search(r"^```\n(.*?)^```$", section_of(package), re.MULTILINE | re.DOTALL)
    assert drawn is not None
    assert drawn[1].splitlines() == [layer.replace(" : ", " ") for layer in layers]


@pytest.mark.parametrize("package", FOLDERS)
def test_no_room_and_no_file_is_too_large(package: str) -> None:
    folders = {file.parent for file in files_of(package)}
    top = FOLDERS[package] / package
    files = {folder: sum(entry.is_file() for entry in folder.iterdir()) for folder in folders}
    assert {folder for folder in folders - {top} if files[folder] > MOST_FILES_IN_A_ROOM} == set()
    assert files[top] <= MOST_FILES_IN_A_ROOT
    long = {file.name for file in files_of(package) if len(file.read_text().splitlines()) > MOST_LINES}
    assert long == set()


@pytest.mark.parametrize("package", FOLDERS)
def test_every_room_has_a_short_front_page(package: str) -> None:
    for file in files_of(package):
        if file.stem == "__init__":
            page = re.match(r'r?"""(.*?)"""', file.read_text(), re.DOTALL)
            assert page is not None, f"{file} says nothing about its room"
            assert len(page[1].strip().splitlines()) <= MOST_LINES_OF_A_FRONT_PAGE, file
            assert len(page[1]) > 80, f"{file} says too little about its room"


def test_no_circle_of_imports_is_larger_than_three_files_typing_included() -> None:
    graph = grimp.build_graph(*FOLDERS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert [circle for circle in circles_of(imports) if len(circle) > MOST_IN_A_CIRCLE] == []


def circles_of(imports: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that all reach one another."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for module in imports[todo.pop()] - seen:
                seen.add(module)
                todo.append(module)
        reached[start] = seen
    circles = []
    left = {module for module in imports if module in reached[module]}
    while left:
        module = left.pop()
        circle = {other for other in reached[module] if module in reached[other]} | {module}
        left -= circle
        circles.append(circle)
    return circles
