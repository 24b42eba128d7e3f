"""A user's mistakes: each message names the place and the remedy, the exit code is fixed, and no traceback appears."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .. import warm
from .conftest import BIN, RunningManager, eventually

MISTAKES = """\
server: {listen: "127.0.0.1:0"}
wrokers_dir: workers
defaults: {timeout: 30}
pools:
  a: {functions: [nap], min: 5, max: 2}
  a: {functions: [nap]}
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run("gearman_manager", arguments, 60, folder)


def configured(folder: Path, text: str, **modules: str) -> Path:
    (folder / "workers").mkdir()
    for name, source in modules.items():
        (folder / "workers" / f"{name}.py").write_text(source)
    (folder / "config.yaml").write_text(text)
    return folder


def assert_message(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize("command", [(), ("check",)])
def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    configured(tmp_path, MISTAKES, nap="def nap(job): ...\n")
    result = run(tmp_path, *command)
    places = ("config.yaml:2: wrokers_dir: ", "config.yaml:3: ", "config.yaml:5: ", "config.yaml:6: ")
    assert_message(result, 78, *places, "workers_dir", "30s")


@pytest.mark.parametrize("command", [(), ("check",)])
def test_missing_functions_are_reported_together_with_the_files_own_mistakes(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    text = "server: {listen: '127.0.0.1:0'}\ndefaults: {timeout: 30}\npools:\n  x: {functions: [nosuch]}\n"
    configured(tmp_path, text + "  y: {functions: 7}\n", nap="def nap(job): ...\n")
    result = run(tmp_path, *command)
    assert_message(result, 78, "config.yaml:2: defaults.timeout", "config.yaml:4: pools.x.functions", "nosuch")
    assert len(result.stderr.splitlines()) == 3, result.stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pools: {a: {functions: [nope]}}\n", ("config.yaml:1: pools.a.functions", "nope", "nap")),
        (
            "pools: {a: {functions: [nap]}, b: {functions: [nap]}}\n",
            ("pools.b.functions", "nap is in the pool a already"),
        ),
        ("workers_dir: missing\n", ("missing", "workers_dir")),
    ],
)
@pytest.mark.parametrize("command", [(), ("check",)])
def test_settings_that_do_not_fit_the_modules_are_refused(
    tmp_path: Path, command: tuple[str, ...], text: str, parts: tuple[str, ...]
) -> None:
    configured(tmp_path, "server: {listen: '127.0.0.1:0'}\n" + text, nap="def nap(job): ...\n")
    text_parts = tuple(part.replace("config.yaml:1", "config.yaml:2") for part in parts)
    assert_message(run(tmp_path, *command), 78, *text_parts)


def test_two_files_that_define_one_function_are_both_named(tmp_path: Path) -> None:
    decorated = "from gearman_manager import function\n@function(name='nap')\ndef other(job): ...\n"
    configured(tmp_path, "server: {listen: '127.0.0.1:0'}\n", nap="def nap(job): ...\n", other=decorated)
    assert_message(run(tmp_path, "check"), 78, "nap.py", "other.py")


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    assert_message(run(tmp_path), 78, "config.yaml")
    assert_message(run(tmp_path, "-c", "other.yaml", "check"), 78, "other.yaml")


def test_a_broken_module_does_not_stop_the_others_and_check_exits_with_78(manager: RunningManager) -> None:
    manager.write_module("broken.py", "\nraise RuntimeError('not today')\n")
    manager.write_module("fine.py", "def fine(job): return b'ok'\n")
    manager.start("")
    with manager.client() as client:
        assert client.submit("fine", b"") == b"ok"
    (error,) = manager.status()["errors"]
    assert (error["line"], error["message"]) == (2, "RuntimeError: not today")
    checked = manager.command("check", check=False)
    assert_message(checked, 78, "broken.py:2: RuntimeError: not today")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not read the folder")
def test_an_unreadable_workers_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = configured(tmp_path, "server: {listen: '127.0.0.1:0'}\nrun_dir: run\n", nap="def nap(job): ...\n")
    (folder / "workers").chmod(0o700)
    nobody = pwd.getpwnam("nobody")
    program = (
        "import os, sys; from pathlib import Path; from gearman_manager.modules.discovery import load_all;"
        "os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[2]));"
        "print(load_all([Path('workers')]).errors[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(nobody.pw_gid), str(nobody.pw_uid)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "can't be read: Permission denied; make the folder readable" in result.stdout, result.stderr


def test_the_message_for_a_taken_port_names_its_user_and_the_way_to_choose_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configured(tmp_path, f"run_dir: run\nserver:\n  listen: 127.0.0.1:{port}\n", nap="def nap(job): ...\n")
        result = run(tmp_path)
    place = "config.yaml:3: server.listen"
    assert_message(result, 1, f"port {port} on 127.0.0.1 is taken by", f"pid {os.getpid()}", place)
    assert "-p PORT" not in result.stderr.splitlines()[-1]


def test_the_message_for_a_privileged_port_names_its_key(tmp_path: Path) -> None:
    configured(tmp_path, "run_dir: run\nserver:\n  listen: 1\n", nap="def nap(job): ...\n")
    without_the_right = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    command: list[str | Path] = [*(without_the_right if os.geteuid() == 0 else []), BIN / "gearman-manager"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert_message(result, 1, "port 1 on 127.0.0.1 needs more rights", "config.yaml:3: server.listen")


def test_a_second_manager_in_the_same_run_folder_names_the_first(napping: RunningManager) -> None:
    manager = napping.start("")
    assert manager.process is not None
    second = manager.command(check=False)
    assert_message(second, 1, f"another manager (pid {manager.process.pid}) holds")


def test_unknown_commands_and_options_are_usage_errors(tmp_path: Path) -> None:
    assert_message(run(tmp_path, "fly"), 2, "No such command")
    assert_message(run(tmp_path, "--fly"), 2, "No such option")


def test_garbage_costs_its_sender_the_connection_and_disturbs_no_other_peer(napping: RunningManager) -> None:
    manager = napping.start("")
    host, _, port = manager.address.rpartition(":")
    with manager.client() as client, socket.create_connection((host, int(port)), timeout=10) as garbage:
        garbage.sendall(b"\0garbage and more of it, for as long as it takes" * 100)
        try:
            while garbage.recv(4096):
                pass
        except ConnectionResetError:
            pass
        assert client.submit("nap", "0")


def test_init_writes_through_no_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.yaml"
    (tmp_path / "config.yaml").symlink_to(target)
    assert_message(run(tmp_path, "init"), 1, "config.yaml can't be written: File exists")
    assert not target.exists()


def test_init_makes_a_folder_in_which_the_manager_runs_at_once(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = run(tmp_path, "init", "new")
    assert result.returncode == 0, result.stderr
    again = run(tmp_path, "init", "new")
    assert_message(again, 1, "exists already")
    manager = RunningManager(tmp_path / "new")
    os.environ["GEARMAN_PORT"] = str(port)
    try:
        manager.launch()
        eventually(manager.settled, "all workers registered")
        (manager.address,) = manager.status()["servers"]
        with manager.client() as client:
            assert client.submit("hello", "you") == b"Hello, you!"
        assert manager.stop(signal.SIGINT) == 0
    finally:
        del os.environ["GEARMAN_PORT"]
        manager.destroy()


def test_check_and_functions_list_the_pools_and_functions(tmp_path: Path) -> None:
    decorated = "from gearman_manager import function\n@function(timeout='5s')\ndef b(job): ...\n"
    configured(
        tmp_path, "server: {}\npools: {one: {functions: [a, b], min: 2, max: 3}}\n", a="def a(job): ...\n", b=decorated
    )
    checked = run(tmp_path, "check")
    assert checked.returncode == 0, checked.stderr
    assert "2..3" in checked.stdout
    assert "2 functions in 1 pool" in checked.stdout
    listed = run(tmp_path, "functions")
    assert "timeout: 5s" in listed.stdout
    assert shutil.which("gearman-manager") is None or listed.returncode == 0
