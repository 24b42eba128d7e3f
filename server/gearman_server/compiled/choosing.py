"""Which core runs: the compiled one, if it is there and was made for this Python of exactly these sources, or Python's.

It is chosen when `gearman_server` is imported. With GEARMAN_COMPILED=0 the compiled one is never taken, with
GEARMAN_COMPILED=1 the server refuses to start without it. The extension modules are beside the package, in
`gearman_server_core/`, in a folder for each Python.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

VARIABLE: Final = "GEARMAN_COMPILED"
PACKAGE: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = PACKAGE.parent / "gearman_server_core" / str(sys.implementation.cache_tag)
MANIFEST: Final = "manifest.json"
#: The extension module that holds the code of all; each of the others only refers to it.
GROUP: Final = "gearman_server_core__mypyc"
SUFFIX: Final = EXTENSION_SUFFIXES[0]
_HOW: Final = "make it anew with `make compiled`"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which core runs, and why."""

    is_compiled: bool
    #: Why the compiled one does not run; empty if there is none, and nobody asked for it.
    reason: str = ""
    #: What is wrong, in a sentence, if the environment asks for something that can't be had.
    trouble: str | None = None

    def describe(self) -> str:
        """In some words: for the version and the log."""
        if self.is_compiled:
            return "compiled core"
        return f"pure Python core: {self.reason}" if self.reason else "pure Python core"


class CoreFinder(MetaPathFinder):
    """Finds the compiled modules before Python finds their sources."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self._names = frozenset((*names, GROUP))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a compiled module; None for all others."""
        if fullname not in self._names:
            return None
        place = str(self.folder / (fullname + SUFFIX))
        return importlib.util.spec_from_file_location(fullname, place, loader=ExtensionFileLoader(fullname, place))


def choose(folder: Path = FOLDER) -> Choice:
    """Choose for this process; all imports that follow find the chosen core."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "0", "1"):
        return Choice(
            False, f"{VARIABLE} is neither 0 nor 1", f"{VARIABLE} is {wanted!r}; set it to 0 or 1, or not at all"
        )
    if wanted == "0":
        return Choice(False, f"{VARIABLE}=0")
    reason = _take(folder)
    if reason is None:
        return Choice(True)
    if wanted == "1":
        return Choice(False, reason, f"{VARIABLE}=1, but the compiled core can't be used: {reason}")
    return Choice(False, reason if folder.exists() else "")


def _take(folder: Path) -> str | None:
    """Have the compiled modules imported from now on; if that can't be, nothing changes, and the answer says why."""
    if not folder.exists():
        return f"there is no {folder}; make it with `make compiled`"
    import json  # only those that have a compiled core need it

    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{folder / MANIFEST} can't be read ({error}); {_HOW}"
    if (
        not isinstance(manifest, dict)
        or manifest.get("suffix") != SUFFIX
        or manifest.get("sources") != digest(PACKAGE, client_package())
    ):
        return f"it was compiled from other sources, or for another Python; {_HOW}"
    names = [str(name) for name in manifest.get("modules", ())]
    known = next((name for name in names if name in sys.modules), None)
    if known is not None:
        return f"{known} was imported before gearman_server"
    finder = CoreFinder(folder, names)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(GROUP)
    except ImportError as error:
        sys.meta_path.remove(finder)
        return f"it can't be loaded ({error}); {_HOW}"
    return None


def digest(server: Path, client: Path) -> str:
    """A digest of all sources in the folder of `gearman_server`, and of those beside `gearman_client.packet`.

    The compiled core was made of some of them, and relies on what it has seen of the others.
    """
    import hashlib

    sources = hashlib.sha256()
    for file in (*sorted(server.rglob("*.py")), *sorted(client.glob("*.py"))):
        sources.update(f"{file.name}\0".encode() + file.read_bytes())
    return sources.hexdigest()


def client_package() -> Path:
    """The folder of `gearman_client`, which is not imported for this."""
    spec: Any = importlib.util.find_spec("gearman_client")
    return Path(spec.origin).parent


CHOICE: Final = choose()
