"""`make compiled`: has mypyc and a C compiler make the extension modules, of copies of the sources."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gearman_server.compiled.choosing import FOLDER, GROUP, MANIFEST, PACKAGE, SUFFIX, client_package, digest

#: What each job passes through, and what that calls most. The others would take longer to compile, and nobody would
#: notice. `options.timing` can't be: it has a dataclass with a type that is imported only for the type checker.
MODULES: Final = (
    "gearman_client.packet",
    "gearman_server.broker",
    # Not for speed: compiled code takes no queue for one if its class is not among those that were compiled with it.
    "gearman_server.cluster.lapsed_queue",
    "gearman_server.edge.connection",
    "gearman_server.edge.listener",
    *(
        f"gearman_server.jobs.{name}"
        for name in (
            *("access", "agenda", "durability", "endings", "events", "function", "functions", "job", "job_counts"),
            *("job_life", "job_table", "policies", "replies", "result_keeping", "session", "store", "throttle"),
            *("timeouts", "wake_up"),
        )
    ),
    "gearman_server.ending.attempts",
    *(f"gearman_server.keys.{name}" for name in ("key_table", "key_throttle", "keyed_queue", "line")),
    *(
        f"gearman_server.requests.{name}"
        for name in (
            *("abilities", "assignments", "held_jobs", "plain_jobs", "refusals", "sets", "submissions", "work_packets"),
        )
    ),
)
#: mypyc believes mypy, which believes that an attribute found to be None stays so, whatever is called meanwhile.
_BELIEVED_NONE: Final = re.compile(r"^def (.*)$|= borrow self\.(\w+)\n +\w+ = unbox\(None", re.MULTILINE)


#: The methods of which mypyc makes one slot; a class in C that fills it, and not that of the hash, is unhashable.
_COMPARISONS: Final = frozenset(("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"))


class CantCompile(Exception):
    """The core can't be compiled; the message is for the operator."""


def build(folder: Path = FOLDER, modules: Sequence[str] = MODULES) -> None:
    """Compile these modules into the folder, in place of what it holds.

    Raises:
        CantCompile: mypyc or a C compiler is missing, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="gearman-server-core-") as place:
        work = Path(place)
        copies = [work / package.name for package in (PACKAGE, client_package())]
        for package, copy in zip((PACKAGE, client_package()), copies, strict=True):
            shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        before = Path.cwd()
        os.chdir(work)  # mypyc names modules by their paths from here
        try:
            _compile(work, modules)
        finally:
            os.chdir(before)
        manifest = {"sources": digest(*copies), "suffix": SUFFIX, "modules": list(modules)}
        (work / "out" / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _put_in_place(work / "out", folder)


def _compile(work: Path, modules: Sequence[str]) -> None:
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
        from setuptools.errors import BaseError
    except ImportError as error:
        raise CantCompile(f"{error.name} is missing: pip install 'gearman-manager[compiled]'") from error
    sources = [name.replace(".", "/") + ".py" for name in modules]
    for source in sources:
        refuse_unhashable((work / source).read_text())
        refuse_tuples_of_floats((work / source).read_text())
    options = ["--config-file=", "--strict", "--explicit-package-bases", "--ignore-missing-imports"]
    os.environ["MYPYPATH"] = str(work)
    try:
        extensions = mypycify(
            [*options, *sources],
            opt_level="2",
            debug_level="0",
            multi_file=True,  # in one, the C compiler takes several times as long
            target_dir=str(work / "build"),
            group_name=GROUP.removesuffix("__mypyc"),
        )
    except SystemExit as error:  # it has said why
        raise CantCompile("mypyc refuses the sources") from error
    _refuse_broken_beliefs((work / "build" / "ops.txt").read_text())
    distribution = Distribution({"name": "gearman-server-core", "ext_modules": extensions})
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "objects")
    command.ensure_finalized()
    try:
        command.run()
    except (BaseError, OSError) as error:
        raise CantCompile(f"the C compiler fails: {error}") from error
    (work / "out").mkdir()
    for name in (*modules, GROUP):
        shutil.move(work / "lib" / (name.replace(".", "/") + SUFFIX), work / "out" / (name + SUFFIX))


def refuse_unhashable(source: str) -> None:
    """Refuse a class whose objects could be keys and members of sets in Python, but not once it is compiled.

    Raises:
        CantCompile: there is one.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and not node.decorator_list:
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            if methods & _COMPARISONS and "__hash__" not in methods:
                raise CantCompile(f"{node.name} compares, but has no __hash__: give it one")


def refuse_tuples_of_floats(source: str) -> None:
    """Refuse a constant that is a tuple of floats of known length: each function that reads it would raise NameError.

    Raises:
        CantCompile: there is one.
    """
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(ast.Name(name), ast.Name("Final"), ast.Tuple([ast.Constant(float()), *_])):
                raise CantCompile(f"{name} is a tuple of floats: declare it Final[tuple[float, ...]]")


def _refuse_broken_beliefs(operations: str) -> None:
    function = ""
    for found in _BELIEVED_NONE.finditer(operations):
        function = found[1] or function
        if found[2]:
            raise CantCompile(f"{function} reads self.{found[2]}, which mypy takes for None; read it another way")


def _put_in_place(new: Path, folder: Path) -> None:
    """Servers that have loaded the old one go on: its files are unlinked, never written to."""
    staged = folder.with_name(folder.name + ".new")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(new, staged)
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)


def main() -> None:
    """Compile the core; exit 1 if that can't be done."""
    began = time.monotonic()
    try:
        build()
    except CantCompile as error:
        sys.exit(f"gearman-server: the core can't be compiled: {error}")
    print(f"compiled {len(MODULES)} modules into {FOLDER} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
