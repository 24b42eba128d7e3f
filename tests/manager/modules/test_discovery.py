"""The functions that discovery finds in a folder of modules, and its messages about broken modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from gearman_manager.modules import importing
from gearman_manager.modules.discovery import Discovery, load_all
from gearman_manager.modules.source_files import content_hashes


@pytest.fixture
def discover(tmp_path: Path) -> Callable[..., Discovery]:
    """Write these files and load the folder. In a name two underscores stand for a slash, one before a letter stays."""

    def load(**files: str) -> Discovery:
        for name, source in files.items():
            file = tmp_path / (name.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(source))
        return load_all([tmp_path])

    return load


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
        ("async def broken(job):\n    yield 1\n", "broken.py:1: 'broken' is an async generator"),
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
    found = load_all([tmp_path / "nowhere"])
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
from gearman_manager.modules.discovery import load_all
from gearman_manager.modules.source_files import content_hashes
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
    os.mkfifo(tmp_path / "pipe.py")
    assert found_below(tmp_path) == [["one"], [], [str(tmp_path / "one.py")]]


@pytest.mark.parametrize(("name", "target"), [("link.py", "link.py"), ("link.py", "gone.py"), ("link", "gone/reports")])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "one.py").write_text("def one(job): ...\n")
    (tmp_path / "data.csv").symlink_to("/nowhere/at/all")  # no module, so no matter
    (tmp_path / ".#one.py").symlink_to("editor@host.1")
    (tmp_path / name).symlink_to(target)
    error = f"{tmp_path / name}: the link leads nowhere, to {target}: correct it, or remove it"
    assert found_below(tmp_path) == [["one"], [error], [str(tmp_path / "one.py")]]


@pytest.mark.parametrize("target", [".", ".."])
def test_folders_linked_in_a_circle_are_read_once(tmp_path: Path, target: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "one.py").write_text("def one(job): ...\n")
    (inner / "loop").symlink_to(target)
    assert found_below(tmp_path) == [["one"], [], [str(inner / "one.py")]]


def write(folder: Path, **files: str) -> None:
    """Write modules; `__in__` in a name stands for a slash."""
    for name, source in files.items():
        file = folder / (name.replace("__in__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))


def names(found: Discovery) -> list[str]:
    assert found.errors == []
    return [function.name for function in found.functions]


@pytest.mark.parametrize(
    "files",
    [
        {"pkg__in____init__": "def pkg(job): ...\n"},
        {"pkg__in____init__": "from .core import pkg\n", "pkg__in__core": "def pkg(job): ...\n"},
        {"pkg__in____init__": "from .pkg import pkg\n", "pkg__in__pkg": "def pkg(job): ...\n"},
        {"pkg__in____init__": "from . import pkg\n", "pkg__in__pkg": "def pkg(job): ...\n"},
        {
            "pkg__in____init__": "from .core import pkg\n",
            "pkg__in__core": "from gearman_manager import function\n@function\ndef pkg(job): ...\n",
        },
        {"pkg__in____init__": "from gearman_manager import function\n@function(name='pkg')\ndef f(job): ...\n"},
        {"pkg__in____init__": "class pkg:\n    def run(self, job): ...\n"},
        {"outer__in__pkg__in____init__": "def pkg(job): ...\n"},
    ],
)
def test_a_package_serves_the_function_of_its_name(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, **files)
    assert names(load_all([tmp_path])) == ["pkg"]


def test_a_package_without_a_function_only_holds_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        __init__="RATE = 2\n",
        reports__in____init__="from .. import RATE\n",
        reports__in__daily="from . import RATE\nfrom .weekly import weekly\ndef daily(job): return RATE\n",
        reports__in__weekly="def weekly(job): ...\n",
    )
    found = load_all([tmp_path])
    assert names(found) == ["daily", "weekly"]


def test_a_module_and_a_folder_of_its_name_hide_nothing_of_each_other(tmp_path: Path) -> None:
    write(tmp_path, mail="def mail(job): ...\n", mail__in__queue="from ..mail import mail as m\ndef queue(job): ...\n")
    found = load_all([tmp_path])
    assert names(found) == ["queue", "mail"]
    assert [f.target.__module__ for f in found.functions] == [
        "gearman_workers.folder0.mail.queue",
        "gearman_workers.folder0.mail",
    ]


def test_a_module_is_run_once_although_others_import_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="from .b import RUNS\ndef a(job): ...\n",
        b="import builtins\nRUNS = builtins.runs = getattr(builtins, 'runs', 0) + 1\ndef b(job): return RUNS\n",
    )
    found = load_all([tmp_path])
    assert names(found) == ["a", "b"]
    assert found.functions[1].target(None) == 1
    assert found.needs[str(tmp_path / "a.py")] == [str(tmp_path / "a.py"), str(tmp_path / "b.py")]


def test_relative_imports_inside_functions_are_dependencies_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        reports__in____init__="",
        reports__in__daily="def daily(job):\n    from ._figures import total\n    from .. import _shared\n",
        reports__in___figures="total = 1\n",
        _shared="",
    )
    found = load_all([tmp_path])
    needed = {"reports/daily.py", "reports/__init__.py", "reports/_figures.py", "_shared.py"}
    assert set(found.needs[str(tmp_path / "reports/daily.py")]) == {str(tmp_path / name) for name in needed}


def test_a_broken_package_of_the_folder_itself_stops_no_module(tmp_path: Path) -> None:
    write(tmp_path, __init__="\nraise RuntimeError('early')\n", fine="def fine(job): ...\n")
    found = load_all([tmp_path])
    assert the_error(found) == f"{tmp_path}/__init__.py:2: RuntimeError: early"
    assert [f.name for f in found.functions] == ["fine"]


@pytest.mark.parametrize(
    ("helper", "expected"),
    [
        ("x = 1\nraise RuntimeError('no database')\n", "_helper.py:2: RuntimeError: no database (imported by {})"),
        ("x = 1\n\ndef f(:\n", "_helper.py:3: syntax error: invalid syntax (imported by {})"),
        ("import json\njson.loads('{')\n", "_helper.py:2: JSONDecodeError: "),
    ],
)
def test_an_error_in_a_helper_is_reported_once_where_it_is(tmp_path: Path, helper: str, expected: str) -> None:
    write(
        tmp_path,
        _helper=helper,
        a="import json\nimport _helper\ndef a(job): ...\n",
        b="import _helper\ndef b(job): ...\n",
        fine="def fine(job): ...\n",
    )
    found = load_all([tmp_path])
    assert the_error(found).startswith(f"{tmp_path}/{expected.format('a.py:2, b.py:1')}")
    assert found.errors[0].modules == [str(tmp_path / name) for name in ("_helper.py", "a.py", "b.py")]
    assert [f.name for f in found.functions] == ["fine"]


def test_a_name_that_a_helper_lacks_is_the_importers_error(tmp_path: Path) -> None:
    write(tmp_path, _helper="", a="\nfrom _helper import nothing\ndef a(job): ...\n")
    assert the_error(load_all([tmp_path])).startswith(f"{tmp_path}/a.py:2: ImportError: cannot import name 'nothing'")


NO_FUNCTIONS = {
    "venv/pyvenv.cfg": "home = /usr/bin\n",
    "venv/lib/python3/site-packages/library.py": "",
    "vendor/site-packages/library.py": "",
    "node_modules/gyp/gyp.py": "",
    "build/lib/one.py": "def one(job): ...\n",
    "dist/one.py": "",
    "one.egg-info/one.py": "",
    "tests/helpers.py": "",
    ".git/hooks/hook.py": "",
    ".venv/pyvenv.cfg": "",
    ".hidden.py": "",
    "setup.py": "",
    "conftest.py": "",
    "test_one.py": "def test_one(job): ...\n",
    "one_test.py": "def one_test(job): ...\n",
}


def test_files_of_other_tools_are_neither_run_nor_published(tmp_path: Path) -> None:
    write(tmp_path, one="def one(job): ...\n", testing="def testing(job): ...\n", build="def build(job): ...\n")
    for name, source in NO_FUNCTIONS.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise RuntimeError\n" if name.endswith(".py") and not source else source)
    found = load_all([tmp_path])
    assert names(found) == ["build", "one", "testing"]
    assert {str(Path(path).relative_to(tmp_path)): why for path, why in found.passed_over.items()} == {
        "venv": "a virtual environment",
        "vendor/site-packages": "installed packages",
        "node_modules": "installed packages",
        "build": "made by a build",
        "dist": "made by a build",
        "one.egg-info": "made by a build",
        "tests": "tests",
        ".git": "hidden",
        ".venv": "hidden",
        ".hidden.py": "hidden",
        "setup.py": "a build script",
        "conftest.py": "tests",
        "test_one.py": "tests",
        "one_test.py": "tests",
    }
    assert content_hashes([tmp_path]).keys() == {str(tmp_path / f"{name}.py") for name in ("build", "one", "testing")}


def test_a_file_name_in_decomposed_form_is_the_same_name(tmp_path: Path) -> None:
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    write(
        tmp_path,
        **{
            decomposed: f"from ._{composed} import VALUE\ndef {decomposed}(job): return VALUE\n",
            f"_{decomposed}": "VALUE = 7\n",
            f"{decomposed}s__in__sum": f"import _{composed}\ndef sum(job): return _{composed}.VALUE\n",
            "named": f"from gearman_manager import function\n@function(name='{decomposed}.x')\ndef f(job): return 7\n",
        },
    )
    found = load_all([tmp_path])
    assert names(found) == [composed, "sum", f"{composed}.x"]
    assert [f.target(None) for f in found.functions] == [7, 7, 7]


@pytest.mark.parametrize("name", ["send-mail", "class", "2fa", "v1.2"])
def test_a_file_whose_name_is_no_identifier_is_told_how_to_name_the_function(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: "def send_mail(job): ...\n"})
    assert f'decorate one with @function(name="{name}"), rename the file, or' in the_error(load_all([tmp_path]))
    write(tmp_path, **{name: f"from gearman_manager import function\n@function(name={name!r})\ndef f(job): ...\n"})
    importing._folders.clear()  # for a new import
    assert names(load_all([tmp_path])) == [name]


LISTS = "from gearman_manager import function\n@function(batch=10)\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", "'f' is called with one argument, the job, as in def f(job): too many"),
        ("def f(job, database): ...", "'f' is called with one argument, the job, as in def f(job): missing"),
        ("def f(job):\n    yield 1", "'f' is a generator function"),
        ("async def f(job):\n    yield 1", "'f' is an async generator function, which does nothing"),
        (
            "from gearman_manager import function\n@function(batch=3)\nasync def f(jobs): ...",
            "'f' is an async function",
        ),
        ("class f:\n    def run(self): ...", "f.run, which serves 'f', is called with the job, as in"),
        (LISTS + "def f(a, b): ...", "'f' is called with one argument, the list of jobs, as in def f(jobs): missing"),
        (LISTS + "def f(jobs):\n    yield", "'f' is a generator function"),
        (LISTS + "class f:\n    def run(self): ...", "is called with the list of jobs, as in def run(self, jobs): too"),
        (LISTS + "class f: ...", "the class f serves 'f' and needs a method run(self, jobs)"),
        ("class f:\n    def run(self, job):\n        yield", "f.run, which serves 'f', is a generator function"),
        (
            "class f:\n    def setup(self): ...\n    def run(self, job): ...",
            "f.setup, which serves 'f', is called with",
        ),
        (
            "class f:\n    async def setup(self, s): ...\n    def run(self, job): ...",
            "f.setup, which serves 'f', is an",
        ),
        ("class f:\n    def teardown(self, x): ...\n    def run(self, job): ...", "f.teardown, which serves 'f', is"),
        (
            "class f:\n    def __init__(self, database): ...\n    def run(self, job): ...",
            "an object of f is made without",
        ),
        (
            "import abc\nclass f(abc.ABC):\n  def run(self, job): ...\n  @abc.abstractmethod\n  def part(self): ...",
            "the class f serves 'f' and is abstract: define part",
        ),
    ],
)
def test_what_a_worker_could_not_call_is_an_error(tmp_path: Path, source: str, expected: str) -> None:
    write(tmp_path, f=source + "\n")
    assert expected in the_error(load_all([tmp_path]))


@pytest.mark.parametrize(
    "source",
    [
        "def f(*arguments): ...",
        "def f(job, retries=3): ...",
        "f = lambda job: None",
        "import functools\ndef g(rate, job): ...\nf = functools.partial(g, 2)\nf.__module__ = __name__",
        "class f:\n    @staticmethod\n    def run(job): ...",
        "class f:\n    @classmethod\n    def run(cls, job): ...\n    def setup(self, *all): ...",
        "class g:\n    def __call__(self, job): ...\nf = g()",
        "import functools\ndef with_database(wrapped):\n    @functools.wraps(wrapped)\n"
        "    def call(*arguments):\n        return wrapped(*arguments, 'database')\n    return call\n"
        "@with_database\ndef f(job, database): ...",
    ],
)
def test_what_may_be_called_is_served(tmp_path: Path, source: str) -> None:
    write(tmp_path, f=source + "\n")
    assert names(load_all([tmp_path])) == ["f"]


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ("\ndef job_started(job): ...", "_hooks.py:2: job_started is no hook, did you mean job_start?"),
        ("def workerstart(): ...", "_hooks.py:1: workerstart is no hook, did you mean worker_start?"),
        ("def job_end(job): ...", "_hooks.py:1: job_end is called as job_end(job, error): too many positional"),
        ("def worker_start(worker): ...", "_hooks.py:1: worker_start is called as worker_start(): missing a required"),
        ("async def job_start(job): ...", "_hooks.py:1: job_start is an async function"),
        ("job_start = 3", "_hooks.py:1: job_start must be a function"),
    ],
)
def test_a_hook_that_would_not_be_called_or_fail_is_an_error(tmp_path: Path, hooks: str, expected: str) -> None:
    write(tmp_path, _hooks=hooks + "\n\ndef worker_stop(): ...\n", fine="def fine(job): ...\n")
    found = load_all([tmp_path])
    assert f"{tmp_path}/{expected}" in the_error(found)
    assert "worker_stop" in found.hooks.found[0]  # the others are called all the same
    assert [f.name for f in found.functions] == ["fine"]


def test_a_helper_of_the_hooks_may_be_named_like_a_hook_that_is_there(tmp_path: Path) -> None:
    write(tmp_path, _hooks="def job_started(job): ...\ndef job_start(job): ...\n", fine="def fine(job): ...\n")
    assert names(load_all([tmp_path])) == ["fine"]


@pytest.mark.parametrize(
    ("source", "is_async"),
    [
        ("async def f(job): ...", True),
        ("class f:\n    async def setup(self, settings): ...\n    async def run(self, job): ...", True),
        ("class F:\n    async def __call__(self, job): ...\nf = F()\nf.__module__ = __name__", True),
        ("from gearman_manager import function\n@function\nasync def f(number: int): ...", True),
        ("def f(job): ...", False),
        ("class f:\n    def run(self, job): ...", False),
    ],
)
def test_an_async_function_is_known_as_one(tmp_path: Path, source: str, *, is_async: bool) -> None:
    write(tmp_path, f=source + "\n")
    (function,) = load_all([tmp_path]).functions
    assert function.is_async is is_async
