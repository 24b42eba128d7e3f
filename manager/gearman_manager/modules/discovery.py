"""Finds and loads worker modules, and reports their functions and errors.

It runs in the zygote, never in the supervisor, because loading runs user code. `importing` says how modules are named
and found, `source_files` which files count. One broken module never stops the others.
"""

from __future__ import annotations

import importlib
import inspect
import json
import keyword
import os
import sys
import traceback
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gearman_client.tasks.task import Task
from gearman_client.typed_json.mismatch import UnsupportedAnnotation
from gearman_client.typed_json.served_call import ServedCall
from gearman_manager.errors import ModuleError
from gearman_manager.function import Declaration, declaration_of
from gearman_manager.modules import importing
from gearman_manager.modules.hooks import FILE_NAME as HOOKS_FILE
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.import_graph import ImportGraph, is_users_file
from gearman_manager.modules.importing import composed, folder_package, make_empty_package, module_name
from gearman_manager.modules.signatures import is_async, problem_with_class, problem_with_function, problem_with_task
from gearman_manager.modules.source_files import content_hashes, dangling_links, is_helper, source_files
from gearman_manager.modules.taint import Taint
from gearman_manager.modules.task_function import task_of

_INIT: Final = "__init__.py"
#: The most importers of a broken file that its error names.
_IMPORTERS_SHOWN: Final = 5
_import_module: Final = importlib.import_module  # the graph records the user's calls of it, not ours


class _NoFunction(ModuleError):
    """A module holds no function."""


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """A function that can be called, and its place in the code."""

    name: str
    file: str
    line: int
    options: dict[str, object]
    target: Callable[..., Any]
    #: Set if it takes arguments instead of the job.
    task: ServedCall | None = None
    #: Whether an asyncio loop has to run it.
    is_async: bool = False

    @property
    def parameters(self) -> str:
        """A task's parameters and result, as its callers know them; empty if it takes the job."""
        return "" if self.task is None else self.task.parameters

    def called(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        """What a worker calls with a job, or a list of them; `function` is the target, or its object's `run`."""
        return function if self.task is None else self.task.called_by(function, is_async=self.is_async)


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
    #: Files and folders that look like something else than worker modules, and why.
    passed_over: dict[str, str] = field(default_factory=dict)
    #: Whether no file has changed meanwhile; otherwise modules of two versions may have met.
    is_settled: bool = True


def load_all(
    folders: Sequence[Path], without: Collection[str] = (), starting: Callable[[Path], None] = lambda _file: None
) -> Discovery:
    """Import every worker module below the folders, except the files in `without`.

    `starting` is called before each import, so that a module that ends the process can be named.
    """
    found = Discovery()
    graph = ImportGraph()
    errors: list[ModuleError] = []
    at_first = content_hashes(folders)
    with graph.recording():
        errors += prepare(folders)
        found.hooks, hook_errors = load_hooks(folders)
        errors += hook_errors
        files = list(_modules(folders, found, errors))
        for file in files:
            if str(file) in without:
                continue
            starting(file)
            before = Taint.now()
            imported = set(sys.modules)
            try:
                found.functions += load_file(file)
            except ModuleError as error:
                errors.append(error)
            if left := Taint.now().since(before):
                # A module that this one imported may be the cause, and would be imported again for its own functions.
                fresh = {getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - imported}
                found.tainted |= {str(other): left for other in files if other == file or str(other) in fresh}
    found.functions = _each_once(found.functions)
    found.errors = _merged(_without_parts(errors, found.functions))
    # Broken modules count too, so that files known to be theirs are not taken for anybody's.
    found.needs = {str(file): sorted(graph.files_of(str(file), _packages(folders, file))) for file in files}
    found.hashes = content_hashes(folders, {file for files in found.needs.values() for file in files})
    found.is_settled = content_hashes(folders) == at_first
    return found


def prepare(folders: Sequence[Path]) -> list[ModuleError]:
    """Make the modules of these folders importable, and import the packages of the folders themselves.

    A broken `__init__.py` there is an error, but no reason to load nothing below it.
    """
    importing.prepare(folders)
    errors = []
    for number, folder in enumerate(folders):
        try:
            _imported(folder / _INIT, folder_package(number))
        except ModuleError as error:
            make_empty_package(number)
            errors.append(error)
    return errors


def _packages(folders: Sequence[Path], file: Path) -> set[str]:
    """The `__init__.py` files that are run before a module can be."""
    folder = next(folder for folder in folders if file.is_relative_to(folder))
    around = [parent / _INIT for parent in file.parents if parent.is_relative_to(folder)]
    return {str(init) for init in around if init.is_file()}


def _modules(folders: Sequence[Path], found: Discovery, errors: list[ModuleError]) -> Iterator[Path]:
    """Every module file; a folder that can't be read is an error."""

    def passed_over(path: Path, why: str) -> None:
        found.passed_over[str(path)] = why

    for folder in folders:
        try:
            files = [file for file in source_files(folder, passed_over) if not is_helper(folder, file)]
        except OSError as error:
            remedy = "make the folder readable for this user, or correct workers_dir"
            message = f"the workers folder can't be read: {error.strerror}; {remedy}"
            errors.append(ModuleError(str(folder), 0, message))
            continue
        errors += [
            ModuleError(str(link), 0, f"the link leads nowhere, to {os.readlink(link)}: correct it, or remove it")
            for link in dangling_links(folder)
        ]
        yield from files


def load_file(file: Path) -> list[LoadedFunction]:
    """Import one module and list its functions. A worker does this too, with a module that the zygote left out.

    Raises:
        ModuleError: it can't be read, compiled or run, or holds no function. The error names file and line.
    """
    module = _imported(file, module_name(file))
    origin = getattr(module, "__file__", None)
    if origin == str(file):
        return _functions_of(module, file)
    if file.name == _INIT:
        return []  # a module beside the folder has its name, or it is broken, which is reported already
    raise ModuleError(str(file), 1, f"{origin} has the same module name: rename one of them")


def load_hooks(folders: Sequence[Path]) -> tuple[Hooks, list[ModuleError]]:
    """Load the hooks, before the modules, which may import them by their plain name and must see the same object."""
    loaded, errors = [], []
    for folder in folders:
        file = folder / HOOKS_FILE
        if os.path.isfile(file):  # Path.is_file would raise in a folder that can't be read
            try:
                module = _imported(file, module_name(file))
            except ModuleError as error:
                errors.append(error)
                continue
            sys.modules.setdefault(file.stem, module)
            loaded.append((file, module))
    hooks, problems = Hooks.of(loaded)
    return hooks, errors + problems


def _imported(file: Path, name: str) -> ModuleType:
    try:
        return _import_module(name)
    except BaseException as error:
        # A module may raise anything, even SystemExit; it must not end the zygote.
        raise _error_of(file, error) from error


def _error_of(file: Path, error: BaseException) -> ModuleError:
    """The error of a module's import, at the line where its author should look: perhaps in another of their files."""
    places = [(frame.filename, frame.lineno or 1) for frame in traceback.extract_tb(error.__traceback__)]
    places = [(name, line) for name, line in places if name == str(file) or is_users_file(name)]
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename and is_users_file(error.filename):
        places.append((error.filename, error.lineno or 0))
        message = f"syntax error: {error.msg}"
    elif not places and isinstance(error, OSError):
        return ModuleError(str(file), 0, f"can't be read: {error.strerror}; make it readable for this user")
    elif not places and isinstance(error, ValueError):  # zero bytes in the source
        message = f"is not Python source: {error}"
    where, line = places[-1] if places else (str(file), 1)
    if where == str(file):
        return ModuleError(where, line, message)
    own = [line for name, line in places if name == str(file)]
    importer = f"{file.name}:{own[-1]}" if own else file.name
    return ModuleError(where, line, message, {str(file): importer})


def _merged(errors: Sequence[ModuleError]) -> list[ModuleError]:
    """One error for all modules that fail for the same reason, such as a helper that they all import."""
    importers: dict[tuple[str, int, str], dict[str, str]] = {}
    for error in errors:
        importers.setdefault((error.file, error.line, error.message), {}).update(error.importers)
    merged = []
    for (file, line, message), by_module in importers.items():
        names = sorted(set(by_module.values()))
        more = f" and {len(names) - _IMPORTERS_SHOWN} more" if len(names) > _IMPORTERS_SHOWN else ""
        via = f" (imported by {', '.join(names[:_IMPORTERS_SHOWN])}{more})" if names else ""
        merged.append(ModuleError(file, line, message + via, by_module))
    return merged


def _each_once(functions: Sequence[LoadedFunction]) -> list[LoadedFunction]:
    """The functions without those that a package only passes on from a module that serves them itself."""
    own = {id(f.target) for f in functions if not _is_package(f.file)}
    return [f for f in functions if not _is_package(f.file) or id(f.target) not in own]


def _without_parts(errors: Sequence[ModuleError], functions: Sequence[LoadedFunction]) -> list[ModuleError]:
    """The errors, except that a file of a package that serves a function needs none of its own."""
    packages = [Path(f.file).parent for f in functions if _is_package(f.file)]
    return [
        error
        for error in errors
        if not isinstance(error, _NoFunction) or not any(Path(error.file).is_relative_to(each) for each in packages)
    ]


def _is_package(file: str) -> bool:
    return file.endswith(f"/{_INIT}")


def _functions_of(module: ModuleType, file: Path) -> list[LoadedFunction]:
    declared: dict[int, tuple[Declaration, Any]] = {}
    for target in list(vars(module).values()):
        declaration = declaration_of(target)
        if declaration is not None and getattr(target, "__module__", None) == module.__name__:
            declared[id(target)] = (declaration, target)
    if not declared:
        name = composed(file.parent.name if file.name == _INIT else file.stem)
        target = _named(module, name, is_package=file.name == _INIT)
        if target is not None:
            declared[id(target)] = (Declaration(name, {}), target)
        elif file.name != _INIT:
            raise _NoFunction(str(file), 1, _without_function(file, name))
    return [
        _checked(declaration, target, file, is_decorated=declaration_of(target) is not None)
        for declaration, target in declared.values()
    ]


def _named(module: ModuleType, name: str, *, is_package: bool) -> Any:
    """The function or class of this name that the module defines; a package may take it from a module of its own."""
    target = getattr(module, unicodedata.normalize("NFKC", name), None)  # as the parser does with identifiers
    home = str(getattr(target, "__module__", ""))
    is_own = home == module.__name__ or (is_package and home.startswith(f"{module.__name__}."))
    return target if callable(target) and is_own and not (is_package and declaration_of(target)) else None


def _without_function(file: Path, name: str) -> str:
    helper = f"or rename the file to _{file.name} if it is a helper"
    if not name.isidentifier() or keyword.iskeyword(name):
        return (
            f"holds no function: {name!r} can be no function's name in Python, so decorate one with "
            f'@function(name="{name}"), rename the file, {helper}'
        )
    return f"holds no function: define a function or class named {name!r}, decorate one with @function, {helper}"


def _checked(declaration: Declaration, target: Any, file: Path, *, is_decorated: bool) -> LoadedFunction:
    line = _line_of(target)
    name = composed(declaration.name)
    takes_list = declaration.options.get("batch") is not None
    try:
        task = task_of(target, takes_list=takes_list) if is_decorated else None
    except UnsupportedAnnotation as error:
        raise ModuleError(str(file), line, f"{name!r} can't take arguments as a task: {error}") from error
    target = target.function if isinstance(target, Task) else target
    problem = _problem(target, name, takes_list=takes_list, is_task=task is not None)
    if problem:
        raise ModuleError(str(file), line, problem)
    # A blank breaks the text protocol, a TAB does not.
    if not name or " " in name or not name.replace("\t", "").isprintable():
        raise ModuleError(str(file), line, f"{name!r} can't be a function's name: it holds a blank, or is empty")
    options = dict(declaration.options)
    try:
        json.dumps(options)
    except (TypeError, ValueError) as error:
        raise ModuleError(str(file), line, f"the options of {name!r} must be plain values: {error}") from error
    return LoadedFunction(name, str(file), line, options, target, task, is_async(target))


def _problem(target: Any, name: str, *, takes_list: bool, is_task: bool) -> str:
    if isinstance(target, type):
        return problem_with_class(target, name, takes_list=takes_list, is_task=is_task)
    if not is_task:
        return problem_with_function(target, name, takes_list=takes_list)
    return (
        f"{name!r} is a task, and takes no list of jobs: leave out batch"
        if takes_list
        else problem_with_task(target, name)
    )


def _line_of(target: Any) -> int:
    code = getattr(inspect.unwrap(target), "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    try:
        return inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return 1
