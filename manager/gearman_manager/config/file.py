"""Reads a configuration from its files: the only part of this room that touches the disk.

All mistakes in a configuration are raised together as one `ConfigError`, in the order of the files.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gearman_manager.config.document import Entry, read_document
from gearman_manager.config.error import ConfigError
from gearman_manager.config.merge import PATH_KEYS, SQLITE, SYSLOG, PathKey, anchor_paths, merge, paths_of
from gearman_manager.config.models import Config
from gearman_manager.config.problem import Place, Problem
from gearman_manager.config.validation import validated
from gearman_process.regular_file import read_regular_file

#: A configuration written by people is far smaller; a log or an image that was named by mistake is larger.
MAX_FILE_BYTES: Final = 4 << 20
MAX_INCLUDED_FILES: Final = 1000
DEFAULT_WORKERS_DIR: Final = "workers"

_WILDCARDS: Final = "*?["
_INI_SECTION: Final = re.compile(r"\[[\w .-]+\](\s*[;#].*)?")


def load(path: Path, environ: Mapping[str, str], replaced: Mapping[str, object] = MappingProxyType({})) -> Config:
    """The configuration in the file at `path` and in the files that it includes.

    `environ` holds the variables that `${NAME}` can name. `replaced` holds values that stand in the place of those of
    the files, by key; None takes a key out.

    Raises:
        ConfigError: the configuration has mistakes; the error holds all of them.
    """
    reader = _Reader(path, environ)
    tree = reader.read_all()
    if not reader.is_main_read:
        raise ConfigError(reader.problems)
    tree = anchor_paths(_with_workers_dir(_with_replaced(tree, replaced)), reader.folders)
    config, problems = validated(tree, reader.problems)
    problems += _missing_paths(tree)
    if problems or config is None:
        raise ConfigError(_in_file_order(problems, list(reader.folders)), config)
    return config


def written_run_dir(path: Path, environ: Mapping[str, str]) -> str | None:
    """The `run_dir` of a configuration that is otherwise broken, so that a running manager can still be found."""
    reader = _Reader(path, environ)
    tree = anchor_paths(reader.read_all(), reader.folders)
    found = paths_of(tree, PathKey(("run_dir",)))
    return found[0][1] if found else None


class _Reader:
    """Reads the main file and the included ones, and collects unreadable files and bad YAML as problems."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.folders: dict[str, str] = {}
        self.is_main_read = False
        self._path = path
        self._environ = environ

    def read_all(self) -> Entry:
        main = self._read(self._path, Place(str(self._path), 0), "")
        if main is None:
            return Entry({}, Place(str(self._path), 0))
        self.is_main_read = True
        include = main.value.get("include") if isinstance(main.value, dict) else None
        for path, place in self._included(include):
            other = self._read(path, place, "include")
            if other is None:
                continue
            nested = other.value.pop("include", None) if isinstance(other.value, dict) else None
            if nested is not None:
                self._report(nested.place, "include", "only the main file can include others")
            main = merge(main, other, self.problems)
        return main

    def _included(self, include: Entry | None) -> list[tuple[Path, Place]]:
        """The files that the `include` entry names, each once, in the order of its patterns."""
        if include is None:
            return []
        entries = include.value if isinstance(include.value, list) else [include]
        found: dict[Path, Place] = {}
        for entry in entries:
            if isinstance(entry.value, str) and entry.value:
                for path in self._matching(entry.value, entry.place):
                    found.setdefault(path, entry.place)
        if len(found) > MAX_INCLUDED_FILES:
            self._report(include.place, "include", f"{len(found)} files fit, at most {MAX_INCLUDED_FILES} are read")
        own = self._path.absolute()
        return [(path, place) for path, place in found.items() if path.absolute() != own][:MAX_INCLUDED_FILES]

    def _matching(self, pattern: str, place: Place) -> list[Path]:
        """The files that match one pattern. Only its last part may hold wildcards; finding no file is no mistake."""
        path = self._path.parent / pattern
        if not any(sign in path.name for sign in _WILDCARDS):
            return [path]
        if any(sign in str(Path(pattern).parent) for sign in _WILDCARDS):
            self._report(place, "include", f"only file names can hold wildcards, as in conf.d/*.yaml, not {pattern!r}")
            return []
        try:
            names = os.listdir(path.parent)
        except OSError as error:
            self._report(place, "include", _unreadable(error, "folder", path.parent))
            return []
        fitting = sorted(name for name in names if not name.startswith(".") and fnmatch.fnmatchcase(name, path.name))
        return [path.parent / name for name in fitting]

    def _read(self, path: Path, place: Place, key: str) -> Entry | None:
        """The tree of one file, or None if it is unusable. `place` is where the file is named."""
        file = str(path)
        self.folders[file] = str(path.absolute().parent)
        try:
            content = read_regular_file(path, MAX_FILE_BYTES + 1)
        except OSError as error:
            self._report(place, key, _unreadable(error, "file", path if key else None))
            return None
        if len(content) > MAX_FILE_BYTES:
            self._report(Place(file, 0), "", f"more than {MAX_FILE_BYTES >> 20} MiB: this is no configuration")
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._report(Place(file, line), "", "the text is not UTF-8: save the file in this encoding")
            return None
        if other := _other_language(text):
            self._report(Place(file, 1), "", other.format(file=file))
            return None
        entry, problems = read_document(text, file, self._environ)
        self.problems += problems
        return entry if entry.value or not problems else None

    def _report(self, place: Place, key: str, message: str) -> None:
        self.problems.append(Problem(place.file, place.line, key, message))


def _with_replaced(tree: Entry, replaced: Mapping[str, object]) -> Entry:
    """The tree with these values: what the files say in their place is not looked at."""
    if not isinstance(tree.value, dict):
        return tree
    sections = dict(tree.value)
    for key, value in replaced.items():
        section, _, inner = key.partition(".")
        if value is None:
            sections.pop(section, None)
        elif inner:
            around = sections.get(section)
            entries = around.value if around is not None and isinstance(around.value, dict) else {}
            sections[section] = Entry({**entries, inner: _entry(value, tree.place)}, tree.place)
        else:
            sections[section] = _entry(value, tree.place)
    return Entry(sections, tree.place)


def _entry(value: object, place: Place) -> Entry:
    return Entry([_entry(item, place) for item in value] if isinstance(value, (list, tuple)) else value, place)


def _with_workers_dir(tree: Entry) -> Entry:
    """Adds the default folder of modules, unless it does not exist and every pool runs a program."""
    if not isinstance(tree.value, dict) or "workers_dir" in tree.value:
        return tree
    folder = Path(tree.place.file).parent / DEFAULT_WORKERS_DIR
    entries: list[Entry] = [Entry(DEFAULT_WORKERS_DIR, tree.place)]
    if not folder.is_dir() and _runs_programs_only(tree.value):
        entries = []
    return Entry({**tree.value, "workers_dir": Entry(entries, tree.place)}, tree.place)


def _runs_programs_only(sections: Mapping[str, Entry]) -> bool:
    pools = sections["pools"].value if "pools" in sections else None
    if not isinstance(pools, dict) or not pools:
        return False
    return all(isinstance(pool.value, dict) and "command" in pool.value for pool in pools.values())


def _missing_paths(tree: Entry) -> list[Problem]:
    """Problems with folders and files that are named but can't be read."""
    problems = []
    for path_key in PATH_KEYS:
        for key, path, place in paths_of(tree, path_key):
            message = _path_message(path, path_key)
            if message:
                problems.append(Problem(place.file, place.line, key, message))
    return problems


def _path_message(path: str, path_key: PathKey) -> str:
    if path_key.kind == "folder":
        return _tried(os.listdir, "folder", Path(path))
    if path_key.kind == "file":
        return _tried(_open_and_close, "file", Path(path))
    is_log_file = path_key.kind == "log" and path != SYSLOG
    if is_log_file and (Path(path).is_dir() or Path(path).is_fifo()):
        kind = "folder" if Path(path).is_dir() else "named pipe"
        return f"{path} is a {kind}: name a file"
    if is_log_file or (path_key.kind == "store" and path.startswith(SQLITE)):
        return _tried(os.listdir, "folder", Path(path.removeprefix(SQLITE)).parent)
    return ""


def _tried(action: Callable[[Path], object], what: str, path: Path) -> str:
    try:
        action(path)
    except OSError as error:
        return _unreadable(error, what, path)
    return ""


def _open_and_close(path: Path) -> None:
    read_regular_file(path, 0)


def _unreadable(error: OSError, what: str, path: Path | None) -> str:
    """The reason why a file or folder can't be read, and the remedy. Without `path` the message's start names it."""
    name = f"the {what} {path}" if path is not None else f"the {what}"
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist: create it, or correct its name"
    if isinstance(error, PermissionError):
        return f"{name} can't be read: allow this user to, or run as another one"
    if isinstance(error, NotADirectoryError):
        return f"{name} can't be read: a folder is expected where a file stands"
    if isinstance(error, IsADirectoryError):
        return f"{name} can't be read: it is a folder, name a file in it"
    reason = error.strerror or "input/output error"
    return f"{name} can't be read: {reason[:1].lower()}{reason[1:]}"


def _other_language(text: str) -> str:
    """What to do with a file that is no YAML but GearmanManager's, or nothing."""
    if text.lstrip().startswith("<?php"):
        return "this is PHP, and our configuration is YAML: write its array as an ini file, then use import-ini"
    lines = (line.strip() for line in text.splitlines())
    if _INI_SECTION.fullmatch(next((line for line in lines if line and line[0] not in "#;"), "")):
        return (
            "this is an ini file, and our configuration is YAML: `gearman-manager import-ini {file} > config.yaml` "
            "turns GearmanManager's into ours"
        )
    return ""


def _in_file_order(problems: Iterable[Problem], files: list[str]) -> list[Problem]:
    """The problems by file and line, each once: an alias or an include can repeat a mistake."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (files.index(problem.file), problem.line))
