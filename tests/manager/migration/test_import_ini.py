"""GearmanManager's ini files become YAML that loads; keys without an equivalent become comments; letters override."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gearman_manager.command.import_ini import read_ini
from gearman_manager.config import Config, ConfigError, FoundFunction, lay_out, load
from gearman_manager.migration.config_dump import dump
from gearman_manager.migration.import_ini import import_ini
from gearman_manager.migration.overrides import Overrides

COMMAND = Path(sys.executable).parent / "gearman-manager"

# The form of the sample that GearmanManager ships.
ADVANCED = """
; workers of three functions
[GearmanManager]
worker_dir=./pecl-workers,./pecl-worker-classes
include=*
count=10
dedicated_count=1
max_worker_lifetime=3600
auto_update=1
timeout = 300 ; seconds

[shop1.example.com:GearmanManager]
count=5

[reverse_string]
count = 3

[Sum]
dedicated_count=5
dedicated_only=1

[fetch_url]
count=15
timeout = 30
priority = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the imported file, with the folders that the samples name."""
    for name in ("workers", "pecl-workers", "pecl-worker-classes"):
        (tmp_path / name).mkdir()
    return tmp_path


def loaded(folder: Path, text: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(import_ini(text, "config.ini"))
    return load(file, {})


def sizes(config: Config, *functions: str) -> dict[str, tuple[tuple[str, ...], int, int]]:
    found = [FoundFunction(name, f"/w/{name}.php", 1) for name in functions]
    layout = lay_out(config, found, cores=2)
    assert not layout.problems
    return {name: (pool.functions, pool.min, pool.max) for name, pool in layout.pools.items()}


def test_the_sample_file_loads_and_keeps_the_numbers_of_processes(folder: Path) -> None:
    config = loaded(folder, ADVANCED)
    assert config.workers_dir == (str(folder / "pecl-workers"), str(folder / "pecl-worker-classes"))
    assert [str(server.address) for server in config.servers] == ["127.0.0.1:4730"]
    assert sizes(config, "reverse_string", "Sum", "fetch_url", "other") == {
        "all": (("other", "reverse_string"), 10, 10),
        "Sum": (("Sum",), 5, 5),
        "fetch_url": (("fetch_url",), 5, 15),
    }
    assert (config.defaults.timeout, config.defaults.max_lifetime, config.defaults.stop_timeout) == (300, 3600, 60)
    assert config.functions["fetch_url"].timeout == 30


def test_a_key_without_an_equivalent_becomes_a_comment_with_its_line() -> None:
    text = import_ini(ADVANCED, "config.ini")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    for expected in (
        "[GearmanManager] auto_update = 1 (line 9): changed files are always noticed",
        "[shop1.example.com:GearmanManager] (line 12) is for one machine alone: write count = 5",
        "[fetch_url] priority = 3 (line 25): ",
        "dedicated_count = 1: a function belongs to one pool",
    ):
        assert any(expected in comment for comment in comments), expected


def test_without_counts_every_function_gets_one_worker(folder: Path) -> None:
    config = loaded(folder, "[GearmanManager]\n")
    assert sizes(config, "a", "b") == {"a": (("a",), 1, 1), "b": (("b",), 1, 1)}
    assert config.workers_dir == (str(folder / "workers"),)


def test_without_workers_for_all_a_function_has_the_larger_of_its_counts(folder: Path) -> None:
    config = loaded(
        folder,
        "[GearmanManager]\ndedicated_count=2\n[a]\ncount=7\n[b]\ndedicated_count=3\n[c]\ntimeout=9\n",
    )
    assert sizes(config, "a", "b", "c", "d") == {
        "a": (("a",), 7, 7),
        "b": (("b",), 3, 3),
        "c": (("c",), 2, 2),
        "d": (("d",), 2, 2),
    }


def test_every_other_key_is_translated(folder: Path) -> None:
    config = loaded(
        folder,
        "[GearmanManager]\n"
        'host="10.0.0.1:4731, jobs.example.com,10.0.0.1:4731"\n'
        "exclude=Old,Older\ninclude[]=New\ninclude[]=Newer\n"
        "max_runs_per_worker = 500\nuser = www-data\nlog_file = gm$.log\nverbose = vvvv\n"
        "graceful_shutdown_wait_time = 90\n"
        "prefix = App\\Workers\\\npid_file = /run/gm.pid\ndaemon = on\nworker_restart_splay=10\nfancy = yes\n"
        "[Old]\ncount=3\n[Absent]\ncount=2\n",
    )
    assert [str(server.address) for server in config.servers] == ["10.0.0.1:4731", "jobs.example.com:4730"]
    assert (config.include_functions, config.exclude_functions) == (("New", "Newer"), ("Old", "Older"))
    assert (config.defaults.max_jobs, config.defaults.stop_timeout, config.user) == (500, 90, "www-data")
    assert (config.log.file, config.log.level) == (str(folder / "gm$.log"), "debug")
    assert not config.pools
    text = (folder / "config.yaml").read_text()
    for name in ("prefix", "pid_file", "daemon", "worker_restart_splay", "fancy", "[Old]", "[Absent]"):
        assert any(name in line for line in text.splitlines() if line.startswith("#")), name


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[GearmanManager]\ncount = many\n", ["x.ini:2: GearmanManager.count: a whole number is expected, not 'many'"]),
        ("[GearmanManager]\nnonsense\n\n'a", ["x.ini:2: this is no line", "x.ini:4: this is no line"]),
        ('[GearmanManager]\nhost = "10.0.0.1\n', ["x.ini:2: the quotation mark is not closed"]),
        ("count=3\n", ["x.ini:1: a key outside of any section"]),
        ("[Sum]\ncount=3\n", ["x.ini: the section [GearmanManager] is missing"]),
        ("", ["x.ini: the section [GearmanManager] is missing"]),
        ("[GearmanManager]\n[a]\ndedicated_only=1\n", ["x.ini:3: a.dedicated_only: needs a dedicated_count"]),
    ],
)
def test_the_message_for_a_mistake_names_its_line(text: str, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as failure:
        import_ini(text, "x.ini")
    problems = [str(problem) for problem in failure.value.problems]
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert problem.startswith(message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.ini", None, "No such file or directory"),
        ("latin.ini", b"[GearmanManager]\nuser = J\xf6rg\n", "latin.ini:2: the text is not UTF-8"),
        ("large.ini", b";" * (1 << 20) + b"\n", "more than 1 MiB"),
        ("config.php", b"<?php $gearman_config = [];", "a PHP file can't be imported"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_ini(tmp_path / name)


def test_the_command_prints_the_yaml_or_ends_with_78(folder: Path) -> None:
    (folder / "gm.ini").write_text(ADVANCED)
    done = subprocess.run([COMMAND, "import-ini", folder / "gm.ini"], capture_output=True, text=True, check=True)
    assert done.stdout == import_ini(ADVANCED, str(folder / "gm.ini"))
    (folder / "bad.ini").write_text("[GearmanManager]\ncount=-1\n")
    refused = subprocess.run([COMMAND, "import-ini", folder / "bad.ini"], capture_output=True, text=True, check=False)
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"{folder / 'bad.ini'}:2: GearmanManager.count: ")


def printed(folder: Path, *letters: str) -> Config:
    """The output of `-Z` with these letters, loaded again."""
    done = subprocess.run(
        [COMMAND, "-c", folder / "config.yaml", *letters, "-Z"], capture_output=True, text=True, check=True, cwd=folder
    )
    assert done.stderr == ""
    (folder / "printed.yaml").write_text(done.stdout)
    return load(folder / "printed.yaml", {})


def test_the_letters_override_the_file(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "server: {listen: 127.0.0.1:0}\ndefaults: {timeout: 5m, max: 7}\n"
        "pools: {legacy: {functions: [Sum], max_jobs: 3}}\nfunctions: {Sum: {settings: {price: 3 $$, rate: 0.5}}}\n"
    )
    letters = "-w pecl-workers,pecl-worker-classes -l gm.log -vvvv -u 33 -t 30 -x 60 -r 500 -D 4 -a -p App -P gm.pid"
    config = printed(folder, *letters.split())
    assert config.workers_dir == (str(folder / "pecl-workers"), str(folder / "pecl-worker-classes"))
    assert (config.log.file, config.log.level, config.user) == (str(folder / "gm.log"), "debug", "33")
    defaults = config.defaults
    assert (defaults.timeout, defaults.max_lifetime, defaults.max_jobs, str(defaults.max)) == (30, 60, 500, "7")
    assert config.pools["legacy"].max_jobs == 3
    assert (config.pools["all"].functions, str(config.pools["all"].min)) == (("*",), "4")
    assert config.functions["Sum"].settings == {"price": "3 $", "rate": 0.5}


def test_without_letters_the_file_is_printed_unchanged(folder: Path) -> None:
    (folder / "config.yaml").write_text(import_ini(ADVANCED, "gm.ini"))
    assert dump(printed(folder)) == dump(load(folder / "config.yaml", {}))


def test_workers_for_all_resize_the_existing_pool_of_the_other_functions(folder: Path) -> None:
    config = loaded(folder, "[GearmanManager]\ncount=3\n")
    overridden = Overrides(all_workers=8).apply(config)
    assert sizes(overridden, "a") == {"all": (("a",), 8, 8)}
    assert "8" in dump(overridden)


def test_the_systems_log_stays_the_systems_log(folder: Path) -> None:
    assert loaded(folder, "[GearmanManager]\nlog_file = syslog\n").log.file == "syslog"


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        (["-w", "nowhere"], "the folder nowhere does not exist"),
        (["--servers", "127.0.0.1:http"], "127.0.0.1:http"),
        (["-D", "0"], "0 is not in the range"),
        (["-x", "soon"], "not 'soon'; a number without a unit counts seconds"),
    ],
)
def test_a_wrong_letter_is_a_usage_error(folder: Path, letters: list[str], message: str) -> None:
    done = subprocess.run([COMMAND, *letters], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr
