"""The names of worker modules, and how Python finds them: always from source, below the package `gearman_workers`.

A module has one name, wherever and whenever it is imported: `reports/daily.py` in the first workers folder is
`gearman_workers.folder0.reports.daily`. So a file named `email.py` hides no library, relative imports work, and pickles
name what any process of a worker can import. Modules beside it can be imported by their plain names too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "gearman_workers"
#: The workers folders as a JSON list, for processes that a worker starts.
FOLDERS_VARIABLE: Final = "GEARMAN_WORKERS_DIRS"
_INIT: Final = "__init__"
#: Stands for a dot in a file's name, which would part a module's name in two. It may be part of an identifier.
_DOT: Final = "\N{MIDDLE DOT}"

_folders: list[Path] = []


def prepare(folders: Sequence[Path]) -> None:
    """Make the modules of these folders importable here, and in the processes that this one starts."""
    sys.dont_write_bytecode = True
    os.environ[FOLDERS_VARIABLE] = json.dumps([str(folder) for folder in folders])
    importlib.import_module(PACKAGE)
    _use(folders)


def prepare_from_environment() -> None:
    """Make the modules importable that are so in the process that started this one."""
    _use([Path(folder) for folder in json.loads(os.environ.get(FOLDERS_VARIABLE, "[]"))])


def module_name(file: Path) -> str:
    """The name by which a file below the workers folders is imported."""
    number, folder = next((number, folder) for number, folder in enumerate(_folders) if file.is_relative_to(folder))
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join([folder_package(number), *map(_part, parts[:-1] if parts[-1] == _INIT else parts)])


def folder_package(number: int) -> str:
    """The package of a workers folder, by its place in `workers_dir`."""
    return f"{PACKAGE}.folder{number}"


def composed(name: str) -> str:
    """A name in composed form: Macs write `é` in file names as `e` and an accent."""
    return unicodedata.normalize("NFC", name)


def make_empty_package(number: int) -> None:
    """Make the package of a workers folder without running its `__init__.py`."""
    name = folder_package(number)
    module = importlib.util.module_from_spec(_folder_spec(name, _folders[number], with_init=False))
    sys.modules[name] = module


def _part(name: str) -> str:
    return composed(name).replace(".", _DOT)


def _use(folders: Sequence[Path]) -> None:
    if list(folders) == _folders:
        return
    _folders[:] = folders
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _FolderFinder)]
    sys.meta_path.insert(0, _FolderFinder())
    for folder in folders:
        _make_importable(str(folder))


def _make_importable(root: str) -> None:
    """Let modules import the files beside them by their plain names; installed modules come first."""

    def hook(path: str) -> FileFinder:
        if path != root and not path.startswith(root + "/"):
            raise ImportError("not a workers folder", path=path)
        return _SourceFinder(path, (_SourceLoader, [".py"]))

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
    if root not in sys.path:
        sys.path.append(root)


class _FolderFinder:
    """Finds the packages of the workers folders. All below them is found by their paths."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for number, folder in enumerate(_folders):
            if fullname == folder_package(number):
                return _folder_spec(fullname, folder, with_init=os.path.isfile(folder / "__init__.py"))
        return None


def _folder_spec(name: str, folder: Path, *, with_init: bool) -> ModuleSpec:
    file = str(folder / "__init__.py")
    spec = ModuleSpec(name, _SourceLoader(name, file) if with_init else None, origin=file, is_package=True)
    spec.has_location = with_init
    spec.submodule_search_locations = [str(folder)]
    return spec


class _SourceFinder(FileFinder):
    """Finds modules in a workers folder, or in a folder below it."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        tail = fullname.rpartition(".")[2]
        if fullname.startswith(f"{PACKAGE}."):
            # A module beside a folder of its name: both hold functions, so neither hides the other.
            file = os.path.join(self.path, f"{tail}.py")
            if os.path.isfile(file):
                return _file_spec(fullname, file)
        found = super().find_spec(fullname, target)
        if found is not None and found.loader is not None:
            return found
        return self._spelt_otherwise(fullname, tail) or found

    def _spelt_otherwise(self, fullname: str, tail: str) -> ModuleSpec | None:
        """A file or folder whose name is no module's as it is: in decomposed form, or with a dot in it."""
        try:
            entries = os.listdir(self.path)
        except OSError:
            return None
        for entry in entries:
            path = os.path.join(self.path, entry)
            if entry.endswith(".py") and _part(entry.removesuffix(".py")) == tail and os.path.isfile(path):
                return _file_spec(fullname, path)
            if entry != tail and _part(entry) == tail and os.path.isdir(path):
                return _folder_spec(fullname, Path(path), with_init=os.path.isfile(os.path.join(path, "__init__.py")))
        return None


def _file_spec(fullname: str, file: str) -> ModuleSpec | None:
    return spec_from_file_location(fullname, file, loader=_SourceLoader(fullname, file))


class _SourceLoader(SourceFileLoader):
    """Compiles modules from source at every import, without reading or writing bytecode files.

    Two saves within a second leave no stale bytecode.
    """

    def path_stats(self, path: Any) -> Any:
        raise OSError("bytecode files are not used for worker modules")

    def exec_module(self, module: ModuleType) -> None:
        folder = str(self.path).removesuffix(".py")
        if not hasattr(module, "__path__") and os.path.isdir(folder):
            module.__path__ = [folder]  # `reports.py` and the modules in `reports/` have no other parent
        super().exec_module(module)
