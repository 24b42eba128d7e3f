"""Merges the trees of several files, and makes relative paths absolute, from the folder of the file that holds them.

Pure: trees and folders are arguments.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gearman_manager.config.document import Entry
from gearman_manager.config.problem import Place, Problem

SQLITE: Final = "sqlite:///"
SYSLOG: Final = "syslog"


@dataclass(frozen=True, slots=True)
class PathKey:
    """A key that holds a path. `kind` says what must exist: a folder, a file, or the folder around a file.

    A `store` is a URL, which holds a path if it names SQLite; a `log` is a file, or the word `syslog`.
    """

    key: tuple[str, ...]
    kind: str = ""


#: '*' stands for every entry of a mapping or a list.
PATH_KEYS: Final = (
    PathKey(("workers_dir",), "folder"),
    PathKey(("run_dir",)),
    PathKey(("log", "file"), "log"),
    PathKey(("control", "token_file"), "file"),
    PathKey(("control", "read_token_file"), "file"),
    PathKey(("control", "users_file"), "file"),
    PathKey(("control", "trusted_proxy", "token_file"), "file"),
    PathKey(("control", "peer_token_file"), "file"),
    PathKey(("control", "peers", "*", "token_file"), "file"),
    PathKey(("control", "peers", "*", "ca_file"), "file"),
    PathKey(("otel", "headers_file"), "file"),
    PathKey(("server", "store"), "store"),
    PathKey(("servers", "*", "ca_file"), "file"),
    PathKey(("servers", "*", "certificate_file"), "file"),
    PathKey(("servers", "*", "key_file"), "file"),
    PathKey(("defaults", "watch")),
    PathKey(("defaults", "cwd"), "folder"),
    PathKey(("pools", "*", "watch")),
    PathKey(("pools", "*", "cwd"), "folder"),
)


def merge(first: Entry, second: Entry, problems: list[Problem], key: str = "") -> Entry:
    """One tree from two. Sections are merged; a value that both set is a problem, which names both places."""
    if second.value is None:
        return first
    if first.value is None:
        return second
    if isinstance(first.value, dict) and isinstance(second.value, dict):
        merged = dict(first.value)
        for name, entry in second.value.items():
            inner = f"{key}.{name}" if key else name
            merged[name] = merge(merged[name], entry, problems, inner) if name in merged else entry
        return Entry(merged, first.place)
    message = f"the key is set twice, at {first.place} already: keep one of them"
    problems.append(Problem(second.place.file, second.place.line, key, message))
    return first


def anchor_paths(tree: Entry, folders: Mapping[str, str]) -> Entry:
    """The tree with absolute paths; `folders` holds the absolute folder of each file."""

    def absolute(entry: Entry) -> Entry:
        if not isinstance(entry.value, str) or not entry.value:
            return entry
        return Entry(_absolute(entry.value, folders[entry.place.file]), entry.place)

    def absolute_store(entry: Entry) -> Entry:
        is_file = isinstance(entry.value, str) and entry.value.startswith(SQLITE) and entry.value != SQLITE
        if not is_file or ":memory:" in str(entry.value):
            return entry
        path = _absolute(str(entry.value).removeprefix(SQLITE), folders[entry.place.file])
        return Entry(SQLITE + path, entry.place, entry.written)

    def absolute_log(entry: Entry) -> Entry:
        return entry if entry.value == SYSLOG else absolute(entry)

    changes = {"store": absolute_store, "log": absolute_log}
    for path in PATH_KEYS:
        tree = _change(tree, path.key, changes.get(path.kind, absolute))
    return tree


def paths_of(tree: Entry, path: PathKey) -> list[tuple[str, str, Place]]:
    """Every path that a key holds, as its dotted key, the path and its place."""
    found: list[tuple[str, str, Place]] = []
    _collect(tree, path.key, "", found)
    return found


def _absolute(text: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, text))


def _change(entry: Entry, path: tuple[str, ...], change: Callable[[Entry], Entry]) -> Entry:
    """A copy of the tree with `change` applied at `path`, or to each item of a list there."""
    value = entry.value
    if isinstance(value, list):
        rest = path[1:] if path[:1] == ("*",) else path
        return Entry([_change(item, rest, change) for item in value], entry.place)
    if not path:
        return change(entry)
    if not isinstance(value, dict):
        return entry
    chosen = value.keys() if path[0] == "*" else {path[0]}
    changed = {name: _change(inner, path[1:], change) if name in chosen else inner for name, inner in value.items()}
    return Entry(changed, entry.place)


def _collect(entry: Entry, path: tuple[str, ...], key: str, found: list[tuple[str, str, Place]]) -> None:
    value = entry.value
    if isinstance(value, list):
        rest = path[1:] if path[:1] == ("*",) else path
        for item in value:
            _collect(item, rest, key, found)
    elif path and isinstance(value, dict):
        for name, inner in value.items():
            if path[0] in (name, "*"):
                _collect(inner, path[1:], f"{key}.{name}" if key else name, found)
    elif not path and isinstance(value, str):
        found.append((key, value, entry.place))
