"""The command `check` names what a run would not do: modules that it passes over, and what could not be called."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import warm
from .conftest import BIN, RunningManager, eventually


def checked(manager: RunningManager, config: str = "server: {listen: 127.0.0.1:0}\n") -> tuple[int, str]:
    """The exit code and the output of `check`."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(config)
    done = manager.command("check", check=False)
    return done.returncode, done.stdout + done.stderr


def test_check_says_what_it_passed_over(manager: RunningManager) -> None:
    for name in ("venv/pyvenv.cfg", "setup.py", "test_one.py", "node_modules/gyp/gyp.py", "one.py"):
        file = manager.workers_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def one(job): ...\n" if name == "one.py" else "raise RuntimeError\n")
    status, output = checked(manager)
    assert status == 0
    expected = (
        f"{manager.workers_dir}: passed over node_modules (installed packages), setup.py (a build script), "
        "test_one.py (tests), venv (a virtual environment)\n"
    )
    assert expected in output
    assert "fine, 1 function in 1 pool" in output
    manager.start("")
    manager.write_module("one.py", "def one(job): return 'new'\n")
    eventually(lambda: "generation 2" in manager.log(), "the new code")
    assert manager.log().count(expected) == 1


def test_check_names_the_helper_that_is_broken(manager: RunningManager) -> None:
    manager.write_module("_shop.py", "x = 1\nx.nothing\n")
    for name in ("a", "b"):
        manager.write_module(f"{name}.py", f"import os\n\nfrom ._shop import x\n\n\ndef {name}(job): ...\n")
    status, output = checked(manager)
    assert status == 78
    error = "AttributeError: 'int' object has no attribute 'nothing'"
    assert f"{manager.workers_dir}/_shop.py:2: {error} (imported by a.py:3, b.py:3)\n" in output


def test_hooks_that_a_change_breaks_are_not_taken_over(manager: RunningManager) -> None:
    manager.write_module("_hooks.py", "def job_start(job):\n    job.warning(b'hooked')\n")
    manager.write_module("one.py", "def one(job): ...\n")
    manager.start("")
    manager.write_module("_hooks.py", "def job_start(job):\n    job.warning(b'hooked'\n")
    manager.command("reload", check=False)
    eventually(lambda: "the new code is not used" in manager.log(), "the refusal")
    warnings: list[bytes] = []
    with manager.client() as client:
        client.submit("one", b"", on_warning=warnings.append)
    assert warnings == [b"hooked"]


WRONG = [
    ("user: nobody-at-all", "config.yaml:2: user: there is no user nobody-at-all"),
    ("group: no-such-group", "config.yaml:2: group: there is no group no-such-group"),
    (
        "control: {listen: 4799, token_file: short}",
        "control.token_file: no token in the file: 16 to 512",
    ),
    ("pools: {p: {command: no-such-program --x}}", "pools.p.command: the program no-such-program is not on the PATH"),
    ("pools: {p: {command: ./gone.sh}}", "pools.p.command: there is no program"),
    (
        "pools: {p: {command: python3 gone.py --x, cwd: .}}",
        "pools.p.command: python3 is to run {}/gone.py, which does not exist",
    ),
    ("pools: {p: {command: short, cwd: .}}", "pools.p.command: the program short is not on the PATH"),
    ("pools: {p: {command: ./short, cwd: .}}", "short is no program: make it executable (chmod +x)"),
    ("pools: {p: {command: ./script, cwd: .}}", "script is run by /usr/bin/no-such-interpreter, which does not exist"),
    ("pools: {p: {command: /bin/cat, user: nobody-at-all}}", "pools.p.user: there is no user nobody-at-all"),
    ("log: {file: workers}", "log.file: {}/workers is a folder: name a file"),
    ("log: {file: pipe}", "log.file: {}/pipe is a named pipe: name a file"),
    ("run_dir: short/run", "run_dir: {}/short is no folder: name another"),
    (f"run_dir: {'x' * 100}", "run_dir: the run folder"),
    (f"prefix: {'p' * 254}", "the name has more than 255 bytes"),
    ("include: pipe", "config.yaml:2: include: the file {}/pipe can't be read: it is a named pipe, not a file"),
    (
        "control: {listen: 4799, token_file: pipe}",
        "control.token_file: the file {}/pipe can't be read: it is a named pipe, not a file",
    ),
    (
        "servers: [{address: 'a:1', ca_file: pipe}]",
        "servers.ca_file: the file {}/pipe can't be read: it is a named pipe, not a file",
    ),
    ("include: [short, /dev/zero]", "include: the file /dev/zero can't be read: it is a device, not a file"),
]


@pytest.fixture
def prepared(manager: RunningManager) -> RunningManager:
    """Beside the configuration: a file that is too short for a token, a named pipe, and a script without program."""
    manager.write_module("one.py", "def one(job): ...\n")
    (manager.folder / "short").write_text("abc: 1")
    (manager.folder / "script").write_text("#!/usr/bin/no-such-interpreter\n")
    (manager.folder / "script").chmod(0o755)
    os.mkfifo(manager.folder / "pipe")
    return manager


@pytest.mark.parametrize(("line", "expected"), WRONG)
def test_check_finds_what_would_keep_the_manager_from_starting(
    prepared: RunningManager, line: str, expected: str
) -> None:
    status, output = checked(prepared, f"server: {{listen: 127.0.0.1:0}}\n{line}\n")
    assert status == 78, output
    assert expected.format(prepared.folder) in output


def test_check_names_a_store_that_is_no_database(prepared: RunningManager) -> None:
    status, output = checked(prepared, "server: {listen: 127.0.0.1:0, store: 'sqlite:///short'}\n")
    assert (status, "server.store: " in output, "short is no SQLite database" in output) == (78, True, True), output
    (prepared.folder / "short").write_bytes(b"")
    assert checked(prepared, "server: {listen: 127.0.0.1:0, store: 'sqlite:///short'}\n")[0] == 0


def test_check_names_an_address_that_is_not_of_this_machine(prepared: RunningManager) -> None:
    status, output = checked(prepared, "server: {listen: 192.0.2.7:4730}\n")
    assert status == 78
    assert "config.yaml:1: server.listen: nothing can listen on 192.0.2.7:4730: " in output


def test_check_warns_of_a_port_that_is_taken_now(prepared: RunningManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        status, output = checked(prepared, f"server: {{listen: '{address}'}}\n")
    assert status == 0  # it may be the manager itself that listens
    assert f"config.yaml:1: server.listen: a program listens on {address} already" in output


def test_check_beside_the_running_manager_does_not_warn_of_its_port(prepared: RunningManager) -> None:
    prepared.start("")
    prepared.config_file.write_text(f"run_dir: run\nserver: {{listen: '{prepared.address}'}}\n")
    assert prepared.command("check").stderr == ""


def test_check_warns_of_a_database_that_does_not_answer_now(prepared: RunningManager) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        at = f"127.0.0.1:{closed.getsockname()[1]}"
        url = f"postgresql+psycopg://u:secret@{at}/jobs"
        status, output = checked(prepared, f"server: {{listen: 127.0.0.1:0, store: '{url}'}}\n")
    assert status == 0
    assert f"config.yaml:1: server.store: no database answers at {at} now (connection refused)" in output
    assert "secret" not in output


def test_check_looks_at_the_pid_file_too(prepared: RunningManager) -> None:
    prepared.config_file.write_text("server: {listen: 127.0.0.1:0}\n")
    done = prepared.command("-P", f"{prepared.folder}/short/x.pid", "check", check=False)
    assert (done.returncode, done.stderr) == (78, f"-P: {prepared.folder}/short is no folder: name another\n")


def test_a_run_ends_as_check_says(prepared: RunningManager) -> None:
    prepared.config_file.write_text("server: {listen: 127.0.0.1:0}\nuser: nobody-at-all\n")
    done = prepared.command(check=False)
    assert (done.returncode, done.stderr) == (
        78,
        f"{prepared.config_file}:2: user: there is no user nobody-at-all: create it, or correct the name\n",
    )


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("workers_dir: gone\n", ["-w", "workers"]),
        ("log: {file: gone/x.log}\n", ["-l", "x.log"]),
        ("user: nobody-at-all\n", ["-u", "root"]),
        ("servers: [{address: 'a b', ca_file: gone}]\n", ["--servers", "127.0.0.1:4999"]),
    ],
)
def test_an_option_stands_in_for_a_value_that_is_wrong_in_the_file(
    prepared: RunningManager, file: str, arguments: list[str]
) -> None:
    prepared.config_file.write_text(f"server: {{listen: 127.0.0.1:0}}\n{file}")
    done = warm.run("gearman_manager", ["-c", prepared.config_file, *arguments, "check"], 60, prepared.folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("seconds", ["30", "30s", "0.5m"])
def test_a_time_on_the_command_line_may_have_a_unit(prepared: RunningManager, seconds: str) -> None:
    prepared.config_file.write_text("server: {listen: 127.0.0.1:0}\n")
    assert "timeout: 30s" in prepared.command("-t", seconds, "-x", seconds, "-Z").stdout


@pytest.mark.parametrize(
    ("name", "text", "arguments", "expected"),
    [
        (
            "config.ini",
            "; ours\n[GearmanManager]\nworker_dir=./workers\n",
            ["-c", "{file}", "check"],
            "{file}:1: this is an ini file, and our configuration is YAML: `gearman-manager import-ini {file} > "
            "config.yaml` turns GearmanManager's into ours\n",
        ),
        (
            "config.yaml",
            "workers_dir: workers\n",
            ["import-ini", "{file}"],
            "{file}: this is YAML, not an ini file: run it with `gearman-manager -c {file}`\n",
        ),
        ("pipe", None, ["import-ini", "{file}"], "{file}: can't be read: it is a named pipe, not a file\n"),
        ("pipe", None, ["-c", "{file}", "check"], "{file}: the file can't be read: it is a named pipe, not a file\n"),
    ],
)
def test_a_file_for_another_command_names_that_command(
    tmp_path: Path, name: str, text: str | None, arguments: list[str], expected: str
) -> None:
    file = tmp_path / name
    make: Callable[[], object] = (lambda: os.mkfifo(file)) if text is None else (lambda: file.write_text(text or ""))
    make()
    words = [word.format(file=file) for word in arguments]
    done = warm.run("gearman_manager", words, 20)
    assert (done.returncode, done.stderr) == (78, expected.format(file=file))


def test_a_configuration_may_come_through_a_pipe_of_the_shell(prepared: RunningManager) -> None:
    line = f"{BIN}/gearman-manager -c <(echo 'server: {{listen: 0}}'; echo 'workers_dir: {prepared.workers_dir}') check"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
