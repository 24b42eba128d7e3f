"""The functions that discovery finds in a folder of modules, and its messages about broken modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from gearman_manager.modules.discovery import Discovery, content_hashes, load_all


@pytest.fixture
def discover(tmp_path: Path) -> Iterator[Callable[..., Discovery]]:
    """Write these files and load the folder; afterwards the interpreter is as before."""
    before = (sys.path[:], sys.path_hooks[:], set(sys.modules), sys.dont_write_bytecode)

    def load(**files: str) -> Discovery:
        for name, source in files.items():
            file = tmp_path / (name.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(source))
        return load_all([tmp_path])

    yield load
    sys.path[:], sys.path_hooks[:] = before[0], before[1]
    sys.dont_write_bytecode = before[3]
    sys.path_importer_cache.clear()
    for name in set(sys.modules) - before[2]:
        if name.startswith("gearman_workers") or name in ("shared_things",):
            del sys.modules[name]


def the_error(found: Discovery) -> str:
    (error,) = found.errors
    return str(error)


def test_the_function_with_the_name_of_its_file_is_found(discover: Callable[..., Discovery]) -> None:
    (function,) = discover(reverse="import os\n\ndef helper(): ...\n\ndef reverse(job): ...\n").functions
    assert (function.name, function.line) == ("reverse", 5)


def test_in_a_subfolder_the_name_of_the_file_counts(discover: Callable[..., Discovery]) -> None:
    assert [f.name for f in discover(a__b="def b(job): ...\n").functions] == ["b"]


def test_decorated_functions_and_classes_are_found_with_their_options(discover: Callable[..., Discovery]) -> None:
    found = discover(
        images="""
        from gearman_manager import function

        @function(timeout="30s", retries=3)
        def thumbnail(job): ...

        @function
        def crop(job): ...

        @function(name="images.rotate")
        class Rotate:
            def run(self, job): ...

        def images(job): ...
        """
    )
    assert found.errors == []
    assert {f.name: f.options for f in found.functions} == {
        "thumbnail": {"timeout": "30s", "retries": 3},
        "crop": {},
        "images.rotate": {},
    }


def test_files_and_folders_with_an_underscore_are_helpers_and_can_be_imported(
    discover: Callable[..., Discovery],
) -> None:
    found = discover(
        _internal__tools="def tools(job): ...\n",
        shared_things="from gearman_manager import function\nVALUE = 7\n@function\ndef shared(job): ...\n",
        user="import shared_things\nfrom shared_things import shared\ndef user(job): return shared_things.VALUE\n",
    )
    assert found.errors == []
    assert [f.name for f in found.functions] == ["shared", "user"]


def test_a_file_with_the_name_of_a_library_does_not_hide_the_library(discover: Callable[..., Discovery]) -> None:
    found = discover(email="def email(job):\n    import email.message\n    return email.message.Message\n")
    (function,) = found.functions
    assert function.target(None).__module__ == "email.message"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def other(job): ...\n", "broken.py:1: holds no function: define a function or class named 'broken'"),
        ("x = 1\n\ndef broken(job:\n", "broken.py:3: syntax error"),
        ("import os\nraise RuntimeError('no database')\n", "broken.py:2: RuntimeError: no database"),
        ("import does_not_exist_at_all\n", "broken.py:1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", "broken.py:2: SystemExit: 3"),
        ("raise KeyboardInterrupt\n", "broken.py:1: KeyboardInterrupt"),
        ("class broken: ...\n", "broken.py:1: the class broken serves 'broken' and needs a method run"),
        ("async def broken(job): ...\n", "broken.py:1: 'broken' is an async function"),
        ("x = '\0'\n", "broken.py:"),
        (
            "from gearman_manager import function\n@function(settings={1, 2})\ndef broken(job): ...\n",
            "broken.py:2: the options of 'broken' must be plain values",
        ),
    ],
)
def test_a_broken_module_is_named_with_its_line_and_does_not_stop_the_others(
    discover: Callable[..., Discovery], source: str, expected: str
) -> None:
    found = discover(broken=source, fine="def fine(job): ...\n")
    assert expected in the_error(found)
    assert [f.name for f in found.functions] == ["fine"]


def test_an_error_inside_a_library_is_reported_with_the_line_of_the_module(discover: Callable[..., Discovery]) -> None:
    assert "broken.py:3: " in the_error(discover(broken="import json\n\njson.loads('{')\n"))


def test_two_saves_within_a_second_are_both_seen(discover: Callable[..., Discovery], tmp_path: Path) -> None:
    """Neither the module nor a helper that it imports is taken from its bytecode."""
    program = """
import sys
from pathlib import Path
from gearman_manager.modules.discovery import load_all
(function,) = load_all([Path(sys.argv[1])]).functions
print(function.target(None))
"""
    answers = []
    for number in (1, 2):
        (tmp_path / "_part.py").write_text(f"VALUE = {number}\n")
        (tmp_path / "whole.py").write_text("import _part\ndef whole(job): return _part.VALUE\n")
        for file in ("_part.py", "whole.py"):
            os.utime(tmp_path / file, (1_000_000, 1_000_000))
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
        )
        answers.append(result.stdout.strip())
    assert answers == ["1", "2"]


def test_a_missing_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    before = sys.path[:], sys.path_hooks[:]
    found = load_all([tmp_path / "nowhere"])
    sys.path[:], sys.path_hooks[:] = before
    assert "nowhere" in the_error(found)
    assert "workers_dir" in the_error(found)


def test_hashes_change_with_the_content_of_helpers_too(tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("A = 1\n")
    (tmp_path / "notes.txt").write_text("ignored")
    before = content_hashes([tmp_path])
    (tmp_path / "_helper.py").write_text("A = 2\n")
    after = content_hashes([tmp_path])
    assert before.keys() == after.keys() == {str(tmp_path / "_helper.py")}
    assert before != after


def test_the_dependencies_of_a_module_are_known_without_libraries(tmp_path: Path) -> None:
    """Imports at the top and inside functions, computed imports, packages, and files outside the folder."""
    files = {
        "outside/project/__init__.py": "",
        "outside/project/models.py": "from . import fields\n",
        "outside/project/fields.py": "",
        "workers/_direct.py": "import _indirect\n",
        "workers/_indirect.py": "",
        "workers/_late.py": "",
        "workers/_computed.py": "",
        "workers/_called.py": "",
        "workers/one.py": """
            import json
            import click
            import _direct
            import project.models
            import importlib
            __import__("_computed")
            importlib.import_module("_called")
            def one(job):
                import _late
        """,
        "workers/two.py": "def two(job): ...\n",
    }
    for name, source in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))
    program = """
import json, sys
from pathlib import Path
from gearman_manager.modules.discovery import load_all
found = load_all([Path(sys.argv[1])])
assert not found.errors, found.errors
print(json.dumps([found.needs, sorted(found.hashes)]))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "workers")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "outside")},
    )
    needs, hashed = json.loads(result.stdout)
    assert set(needs[str(tmp_path / "workers/one.py")]) == {
        str(tmp_path / name) for name in files if name != "workers/two.py"
    }
    assert needs[str(tmp_path / "workers/two.py")] == [str(tmp_path / "workers/two.py")]
    assert set(hashed) == {str(tmp_path / name) for name in files}


FOUND = """
import json, sys
from pathlib import Path
from gearman_manager.modules.discovery import content_hashes, load_all
folder = Path(sys.argv[1])
found = load_all([folder])
print(json.dumps([[f.name for f in found.functions], list(map(str, found.errors)), sorted(content_hashes([folder]))]))
"""


def found_below(folder: Path) -> list[list[str]]:
    """Names, errors and hashed files, found in a process of its own, because only that can be ended if it hangs."""
    result = subprocess.run(
        [sys.executable, "-c", FOUND, str(folder)], capture_output=True, text=True, check=True, timeout=10
    )
    answer: list[list[str]] = json.loads(result.stdout)
    return answer


def test_a_file_that_is_not_regular_is_no_module_and_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def one(job): ...\n")
    (tmp_path / "link.py").symlink_to("link.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert found_below(tmp_path) == [["one"], [], [str(tmp_path / "one.py")]]


@pytest.mark.parametrize("target", [".", ".."])
def test_folders_linked_in_a_circle_are_read_once(tmp_path: Path, target: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "one.py").write_text("def one(job): ...\n")
    (inner / "loop").symlink_to(target)
    assert found_below(tmp_path) == [["one"], [], [str(inner / "one.py")]]
