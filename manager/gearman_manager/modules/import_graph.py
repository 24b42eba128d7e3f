"""Finds the source files that a worker module depends on, from its import statements and from recorded imports.

The statements find modules that are imported only when a function runs; the record finds names that are computed while
loading. Only the user's files count, not the standard library or site-packages.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_INSTALLED: Final = tuple(
    str(Path(path).resolve()) + "/"
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
#: The manager, and the package that only holds the user's modules.
_OURS: Final = tuple(
    f"{Path(__file__).resolve().parents[2] / package}/" for package in ("gearman_manager", "gearman_workers")
)


class ImportGraph:
    """Collects which file imports which while modules are loaded."""

    def __init__(self) -> None:
        self._edges: defaultdict[str, set[str]] = defaultdict(set)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every import in this context, by a statement or by a call."""
        import_statement, import_module = builtins.__import__, importlib.import_module

        def note_statement(
            name: str,
            globals: Mapping[str, Any] | None = None,
            locals: Mapping[str, Any] | None = None,
            fromlist: Iterable[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            names = tuple(fromlist or ())
            module = import_statement(name, globals, locals, names, level)
            self._note(globals or sys._getframe(1).f_globals, name, names, level)
            return module

        def note_call(name: str, package: str | None = None) -> ModuleType:
            module = import_module(name, package)
            self._note(sys._getframe(1).f_globals, module.__name__, (), 0)
            return module

        builtins.__import__, importlib.import_module = note_statement, note_call
        try:
            yield
        finally:
            builtins.__import__, importlib.import_module = import_statement, import_module

    def files_of(self, file: str, packages: Iterable[str] = ()) -> set[str]:
        """The file and all the user's files that it needs, directly or indirectly; so does it its `packages`."""
        needed: set[str] = set()
        waiting = [file, *packages]
        while waiting:
            current = waiting.pop()
            if current in needed:
                continue
            needed.add(current)
            waiting += self._edges[current] | _statements(current)
        return needed

    def _note(self, importer: Mapping[str, Any], name: str, fromlist: Iterable[str], level: int) -> None:
        file = importer.get("__file__")
        if file:
            absolute = _absolute(name, importer.get("__package__") or "", level)
            self._edges[str(file)] |= set(_files(_names(absolute, fromlist), sys.modules.get))


def _names(name: str, fromlist: Iterable[str]) -> Iterator[str]:
    """`a.b` and `from a.b import c` mean a, a.b and perhaps a.b.c."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
    for attribute in fromlist:
        yield f"{name}.{attribute}"


def _files(names: Iterable[str], find: Callable[[str], Any]) -> Iterator[str]:
    for name in names:
        found = find(name)
        origin = getattr(found, "__file__", None) or getattr(found, "origin", None)
        if isinstance(origin, str) and is_users_file(origin):
            yield origin


@cache
def is_users_file(file: str) -> bool:
    """Whether a file is the user's own source: not the standard library's, not installed, not ours."""
    resolved = str(Path(file).resolve())
    return resolved.endswith(".py") and not resolved.startswith((*_INSTALLED, *_OURS)) and Path(resolved).exists()


def _absolute(name: str, package: str, level: int) -> str:
    if level == 0:
        return name
    try:
        return importlib.util.resolve_name("." * level + name, package)
    except ImportError:
        return name


@cache
def _statements(file: str) -> frozenset[str]:
    """The user's files that are named by import statements anywhere in a file."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    names: set[str] = set()
    beside: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.update(_names(alias.name, ()))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update(_names(node.module, [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            beside |= _relative(file, node.level, node.module or "", [alias.name for alias in node.names])
    return frozenset({*_files(names, _find), *beside})


def _relative(file: str, level: int, module: str, fromlist: Iterable[str]) -> set[str]:
    """The user's files that `from ..module import names` means."""
    parents = Path(file).parents
    if level > len(parents):
        return set()
    base = parents[level - 1].joinpath(*module.split(".")) if module else parents[level - 1]
    candidates = [base.with_suffix(".py") if module else base / "__init__.py", base / "__init__.py"]
    for name in fromlist:
        candidates += [base / f"{name}.py", base / name / "__init__.py"]
    return {str(path) for path in candidates if is_users_file(str(path))}


def _find(name: str) -> Any:
    """The module, or its spec. The search must not import its parents."""
    if name in sys.modules:
        return sys.modules[name]
    if "." in name and name.rpartition(".")[0] not in sys.modules:
        return None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
