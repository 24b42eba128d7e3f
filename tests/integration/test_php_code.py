"""GearmanManager's PHP functions are changed, broken and mended in a manager that runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from .conftest import RunningManager, eventually
from .observing import pids, replaced
from .php_functions import NAP, SAMPLES, WHO

pytestmark = pytest.mark.usefixtures("php")


@pytest.fixture(scope="module")
def shared(php: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with the sample functions, `who`, and one in Python; each test leaves as many as it found."""
    manager = RunningManager(tmp_path_factory.mktemp("code"))
    shutil.copytree(SAMPLES, manager.workers_dir)
    manager.write_module("who.php", WHO)
    manager.write_module("greet.py", "def greet(job): return b'hello from Python'\n")
    try:
        yield manager.start("defaults: {min: 1, max: 1}\n")
    finally:
        manager.destroy()


def test_a_changed_file_restarts_only_its_own_pool(shared: RunningManager) -> None:
    others = pids(shared, "greet", "Invoice", "csv_columns")
    before = pids(shared, "slug")
    shared.write_module("slug.php", "<?php\nfunction slug($job) { return 'new'; }\n")
    replaced(shared, before, "slug")
    assert pids(shared, "greet", "Invoice", "csv_columns") == others
    with shared.client(timeout_s=20) as client:
        assert client.submit("slug", b"") == b"new"


def test_a_changed_include_restarts_the_pools_that_include_it(shared: RunningManager) -> None:
    others, before = pids(shared, "greet", "slug", "csv_columns"), pids(shared, "Invoice")
    money = shared.workers_dir / "lib" / "money.php"
    money.write_text(money.read_text().replace("'.', ''", "',', ''"))
    replaced(shared, before, "Invoice")
    assert pids(shared, "greet", "slug", "csv_columns") == others
    with shared.client(timeout_s=20) as client:
        assert json.loads(client.submit("Invoice", b'[{"pieces": 1, "price": "2.5"}]'))["total"] == "2,50"


def test_files_can_be_added_and_removed_while_the_manager_runs(shared: RunningManager) -> None:
    before = sorted(shared.status()["functions"])
    file = shared.write_module("nap.php", NAP)
    with shared.client(timeout_s=20) as client:
        assert client.submit("nap", b"0")
    file.unlink()
    eventually(lambda: sorted(shared.status()["functions"]) == before, "the function is gone")


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ("<?php\nfunction who($job) {\n    return 1 +;\n}\n", 3, "syntax error"),
        ("<?php\n$x = 'no function at all';\n", 1, "holds no function: define function who($job, &$log)"),
        ("<?php\n\nclass Who {}\n", 3, "needs a method run($job, &$log)"),
        (
            "<?php\n\nclass Net_Gearman_Job_who extends Net_Gearman_Job_Common\n{\n    function run($arg) {}\n}\n",
            3,
            "is written for PEAR's Net_Gearman",
        ),
    ],
)
def test_broken_code_is_reported_with_its_place_and_the_old_code_goes_on(
    shared: RunningManager, source: str, place: int, message: str
) -> None:
    before = pids(shared, "who")
    file = shared.write_module("who.php", source)
    try:
        (error,) = eventually(lambda: shared.status()["errors"], "the error is in the status")
        assert (error["file"], error["line"]) == (str(file), place)
        assert message in error["message"]
        assert pids(shared, "who") == before
        result = shared.command("check", check=False)
        assert result.returncode == 78
        assert f"{file}:{place}: " in result.stderr
    finally:
        shared.write_module("who.php", WHO)
    eventually(lambda: not shared.status()["errors"], "it is mended")
    assert pids(shared, "who") == before


def test_code_that_fails_when_it_is_loaded_leaves_the_old_workers_serving(shared: RunningManager) -> None:
    file = shared.write_module("who.php", "<?php\nfunction who($job) { return 'new'; }\nmissing_function();\n")
    eventually(
        lambda: "exit status 1" in shared.status()["pools"]["who"]["last_error"], "the pool says that no worker starts"
    )
    reason = f"{file}:3: the worker can't start: Error: Call to undefined function missing_function()"
    eventually(lambda: reason in shared.log(), "and the log why")
    with shared.client(timeout_s=20) as client:
        assert client.submit("who", b"").isdigit()
    before = pids(shared, "who")
    shared.write_module("who.php", WHO.replace("getmypid()", "'mended'"))
    replaced(shared, before, "who")
