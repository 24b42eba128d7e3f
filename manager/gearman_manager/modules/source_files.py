"""The source files below a workers folder: which of them count, which are passed over and why, and their hashes.

What tools leave in such a folder (virtual environments, installed packages, tests, build output) is never run: it was
not written as a function. The supervisor uses this too; nothing here imports user code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from gearman_manager.bridge.functions import php_files

#: Takes a path that is passed over, and the reason.
PassedOver = Callable[[Path, str], None]

_FOLDERS: Final = {
    "site-packages": "installed packages",
    "dist-packages": "installed packages",
    "node_modules": "installed packages",
    "__pypackages__": "installed packages",
    "*.egg-info": "made by a build",
    "*.dist-info": "made by a build",
    "build": "made by a build",
    "dist": "made by a build",
    "tests": "tests",
}
_FILES: Final = {
    "setup.py": "a build script",
    "noxfile.py": "a build script",
    "conftest.py": "tests",
    "test_*.py": "tests",
    "*_test.py": "tests",
}
#: One of these in a folder makes it a virtual environment.
_ENVIRONMENT_MARKS: Final = ("pyvenv.cfg", "conda-meta", "bin/activate_this.py")


def source_files(
    folder: Path, passed_over: PassedOver = lambda _path, _why: None, around: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[Path]:
    """The Python files below a folder, helpers included, in a stable order.

    Links are followed, but not in circles (`around` holds the folders around this one). Only regular files count.

    Raises:
        OSError: the folder, or one below it, can't be read.
    """
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in around:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name == "__pycache__":
            continue
        is_folder = entry.is_dir()
        if not is_folder and entry.suffix != ".py":
            continue
        if why := _reason(entry, is_folder=is_folder):
            passed_over(entry, why)
        elif is_folder:
            yield from source_files(entry, passed_over, around | {identity})
        elif entry.is_file():
            yield entry


def links_below(folder: Path, around: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """The links below a folder that lead to modules or to folders of modules, or could."""
    with suppress(OSError):
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        for entry in sorted(folder.iterdir()) if identity not in around else ():
            is_folder = entry.is_dir()
            if _reason(entry, is_folder=is_folder):
                continue
            if entry.is_symlink() and (is_folder or entry.suffix in (".py", ".php", "")):
                yield entry
            if is_folder:
                yield from links_below(entry, around | {identity})


def dangling_links(folder: Path) -> Iterator[Path]:
    """The links below a folder that should lead to a module or a folder of modules, but lead nowhere."""
    with suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if _reason(entry, is_folder=entry.suffix != ".py"):
                continue
            if entry.is_symlink():
                if not entry.exists() and entry.suffix in (".py", ".php", ""):
                    yield entry
            elif entry.is_dir():
                yield from dangling_links(entry)


def content_hashes(folders: Sequence[Path], files: Iterable[str] = ()) -> dict[str, str]:
    """File → hash of its content: all source files of the folders, PHP's too, and these files.

    Files that vanish meanwhile, or can't be read, are left out.
    """
    paths = [Path(file) for file in files]
    for folder in folders:
        with suppress(OSError):
            paths += source_files(folder)
            paths += php_files(folder)
    hashes = {}
    for path in paths:
        with suppress(OSError):
            if not path.is_file():
                continue
            with path.open("rb") as file:  # in pieces: a file that is watched may be a large one
                hashes[str(path)] = hashlib.file_digest(file, _digest).hexdigest()
    return hashes


def is_helper(folder: Path, file: Path) -> bool:
    """Whether the name of the file, or of a folder around it, starts with an underscore: then it holds no functions.

    A package's `__init__.py` is no helper: it can hold the function that is named like the package.
    """
    parts = file.relative_to(folder).parts
    if parts[-1] == "__init__.py":
        parts = parts[:-1]
    return any(part.startswith("_") for part in parts)


def _digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _reason(entry: Path, *, is_folder: bool) -> str:
    """Why a file or folder is passed over, or nothing."""
    if entry.name.startswith("."):
        return "hidden"
    patterns = _FOLDERS if is_folder else _FILES
    if is_folder and any((entry / mark).exists() for mark in _ENVIRONMENT_MARKS):
        return "a virtual environment"
    return next((why for pattern, why in patterns.items() if fnmatchcase(entry.name, pattern)), "")
