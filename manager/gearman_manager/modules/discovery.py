"""Finds and loads worker modules, and reports their functions and errors.

It runs in the zygote, never in the supervisor, because loading runs user code. Modules are compiled from source under a
private package: a file named `email.py` hides no other module, and two saves within one second leave no stale bytecode.
One broken module never stops the others.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gearman_manager.bridge.functions import php_files
from gearman_manager.errors import ModuleError
from gearman_manager.function import Declaration, declaration_of
from gearman_manager.modules.hooks import FILE_NAME as HOOKS_FILE
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.import_graph import ImportGraph
from gearman_manager.modules.taint import Taint

PACKAGE: Final = "gearman_workers"


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """A function that can be called, and its place in the code."""

    name: str
    file: str
    line: int
    options: dict[str, object]
    target: Callable[..., Any]


@dataclass(slots=True)
class Discovery:
    """The outcome of loading: functions, errors, hooks, and a hash of every file that was read."""

    functions: list[LoadedFunction] = field(default_factory=list)
    errors: list[ModuleError] = field(default_factory=list)
    hooks: Hooks = field(default_factory=Hooks)
    hashes: dict[str, str] = field(default_factory=dict)
    #: A module's file → all files it depends on, itself too.
    needs: dict[str, list[str]] = field(default_factory=dict)
    #: A module's file → the things that it left behind and that survive no fork.
    tainted: dict[str, str] = field(default_factory=dict)


class _UncachedLoader(SourceFileLoader):
    """Compiles helpers from source at every import, without reading or writing bytecode files."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("bytecode files are not used for worker modules")


def source_files(folder: Path, seen: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """The Python files below a folder, helpers included, in a stable order.

    Links are followed, but not in circles. Only regular files count.

    Raises:
        OSError: the folder, or one below it, can't be read.
    """
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from source_files(entry, seen | {identity})
        elif entry.suffix == ".py" and entry.is_file():
            yield entry


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
            hashes[str(path)] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return hashes


def is_helper(folder: Path, file: Path) -> bool:
    """Whether the name of the file, or of a folder around it, starts with an underscore: then it holds no functions."""
    return any(part.startswith("_") for part in file.relative_to(folder).parts)


def load_all(
    folders: Sequence[Path], without: Collection[str] = (), starting: Callable[[Path], None] = lambda _file: None
) -> Discovery:
    """Import every worker module below the folders, except the files in `without`.

    `starting` is called before each import, so that a module that ends the process can be named.
    """
    found = Discovery()
    graph = ImportGraph()
    prepare(folders)
    with graph.recording():
        try:
            found.hooks = load_hooks(folders)
        except ModuleError as error:
            found.errors.append(error)
        modules = list(_modules(folders, found.errors))
        for file, name in modules:
            if str(file) in without:
                continue
            starting(file)
            before = Taint.now()
            try:
                found.functions += load_file(file, name)
            except ModuleError as error:
                found.errors.append(error)
            if left := Taint.now().since(before):
                found.tainted[str(file)] = left
    # Broken modules count too, so that files known to be theirs are not taken for anybody's.
    found.needs = {str(file): sorted(graph.files_of(str(file))) for file, _ in modules}
    found.hashes = content_hashes(folders, {file for files in found.needs.values() for file in files})
    return found


def prepare(folders: Sequence[Path]) -> None:
    """Make the modules of these folders importable: always from source, helpers by their plain names."""
    sys.dont_write_bytecode = True
    for folder in folders:
        _make_importable(folder)


def _modules(folders: Sequence[Path], errors: list[ModuleError]) -> Iterator[tuple[Path, str]]:
    """Every module file and its private name; a folder that can't be read is an error."""
    for number, folder in enumerate(folders):
        try:
            files = [file for file in source_files(folder) if not is_helper(folder, file)]
        except OSError as error:
            remedy = "make the folder readable for this user, or correct workers_dir"
            message = f"the workers folder can't be read: {error.strerror}; {remedy}"
            errors.append(ModuleError(str(folder), 0, message))
            continue
        for file in files:
            yield file, _module_name(number, folder, file)


def load_file(file: Path, module_name: str) -> list[LoadedFunction]:
    """Import one module and list its functions.

    Raises:
        ModuleError: it can't be read, compiled or run, or holds no function. The error names file and line.
    """
    return _functions_of(_execute(file, module_name), file)


def load_late(file: str) -> list[LoadedFunction]:
    """Import a module in the process that will run it, instead of in the zygote before the fork.

    Raises:
        ModuleError: as `load_file`.
    """
    return load_file(Path(file), f"{PACKAGE}.late.{Path(file).stem}")


def load_hooks(folders: Sequence[Path]) -> Hooks:
    """Load the hooks, before the modules, which may import them by their plain name and must see the same object."""
    loaded = []
    for number, folder in enumerate(folders):
        file = folder / HOOKS_FILE
        if os.path.exists(file):  # Path.exists would raise in a folder that can't be read
            module = _execute(file, f"{PACKAGE}.folder{number}.{file.stem}")
            sys.modules.setdefault(file.stem, module)
            loaded.append((file, module))
    return Hooks.of(loaded)


def _execute(file: Path, module_name: str) -> ModuleType:
    module = ModuleType(module_name)
    module.__file__ = str(file)
    try:
        code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except OSError as error:
        raise ModuleError(str(file), 0, f"can't be read: {error.strerror}; make it readable for this user") from error
    except SyntaxError as error:
        raise ModuleError(str(file), error.lineno or 0, f"syntax error: {error.msg}") from error
    except ValueError as error:  # zero bytes in the source
        raise ModuleError(str(file), 0, f"is not Python source: {error}") from error
    sys.modules[module_name] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        # A module may raise anything, even SystemExit; it must not end the zygote.
        del sys.modules[module_name]
        raise ModuleError(str(file), _line_in(file, error), f"{type(error).__name__}: {error}") from error
    return module


def _functions_of(module: ModuleType, file: Path) -> list[LoadedFunction]:
    declared: dict[int, tuple[Declaration, Any]] = {}
    for target in list(vars(module).values()):
        declaration = declaration_of(target)
        if declaration is not None and getattr(target, "__module__", None) == module.__name__:
            declared[id(target)] = (declaration, target)
    if not declared:
        target = getattr(module, file.stem, None)
        if not callable(target) or getattr(target, "__module__", None) != module.__name__:
            raise ModuleError(
                str(file),
                1,
                f"holds no function: define a function or class named {file.stem!r}, decorate one with @function, "
                f"or rename the file to _{file.name} if it is a helper",
            )
        declared[id(target)] = (Declaration(file.stem, {}), target)
    return [_checked(declaration, target, file) for declaration, target in declared.values()]


def _checked(declaration: Declaration, target: Any, file: Path) -> LoadedFunction:
    line = _line_of(target)
    name = declaration.name
    if isinstance(target, type) and not callable(getattr(target, "run", None)):
        raise ModuleError(
            str(file), line, f"the class {target.__name__} serves {name!r} and needs a method run(self, job)"
        )
    called = getattr(target, "run", None) if isinstance(target, type) else target
    if inspect.iscoroutinefunction(called):
        raise ModuleError(str(file), line, f"{name!r} is an async function; a plain def is needed")
    if not name or "\0" in name or "\n" in name:
        raise ModuleError(str(file), line, f"{name!r} can't be a function's name")
    options = dict(declaration.options)
    try:
        json.dumps(options)
    except (TypeError, ValueError) as error:
        raise ModuleError(str(file), line, f"the options of {name!r} must be plain values: {error}") from error
    return LoadedFunction(name, str(file), line, options, target)


def _line_of(target: Any) -> int:
    code = getattr(inspect.unwrap(target), "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    try:
        return inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return 1


def _line_in(file: Path, error: BaseException) -> int:
    """The innermost line of this file in a traceback, where its author should look."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return (lines[-1] if lines else None) or 1


def _module_name(number: int, folder: Path, file: Path) -> str:
    return ".".join([PACKAGE, f"folder{number}", *file.relative_to(folder).with_suffix("").parts])


def _make_importable(folder: Path) -> None:
    """Let modules import the helpers beside them by their plain names; installed modules come first."""
    root = str(folder)

    def hook(path: str) -> FileFinder:
        if path != root and not path.startswith(root + "/"):
            raise ImportError("not a workers folder", path=path)
        return FileFinder(path, (_UncachedLoader, [".py"]))

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.pop(root, None)
    if root not in sys.path:
        sys.path.append(root)
