"""The command line: options and their values, gearmand's among them, and the messages for bad ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from gearman_server.command.parameter_types import Port


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_is_printed(run_command: Callable[..., subprocess.CompletedProcess[str]], flag: str) -> None:
    shown = run_command(flag)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("gearman-server 0.")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_options_except_the_hidden_ones(
    run_command: Callable[..., subprocess.CompletedProcess[str]], flag: str
) -> None:
    shown = run_command(flag)
    assert shown.returncode == 0
    assert "--job-retries" in shown.stdout
    assert "supervised" not in shown.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["-p", "many"], "--port"),
        (["-p", "65536"], "--port"),
        (["-p", "no-such-service"], "neither a port number nor a service"),
        (["-t", "many"], "'many' is not a valid whole number"),
        (["-j", "-2"], "--job-retries"),
        (["--verbose", "loud"], "--verbose"),
        (["--log-format", "xml"], "--log-format"),
        (["--job-handle-prefix", "H:my box"], "--job-handle-prefix': 'H:my box' holds a blank"),
        (["import", "--from", "sqlite:///q", "--job-handle-prefix", "H:my box"], "'H:my box' holds a blank"),
        (["--store", "sqlite://"], "--store"),
        (["--store-url-file", "/nonexistent/url"], "--store-url-file"),
        (["--max-packet-size", "0"], "--max-packet-size"),
        (["-L", "no.such.host.invalid"], "-L"),
        (["-p", "0", "-P", "/nonexistent/pid"], "-P"),
        (["-p"], "-p"),
        (["-p", "0", "--supervised-fd", "99"], "--supervised-fd"),
    ],
)
def test_a_bad_option_gives_one_line_that_names_it_and_exit_code_1(
    run_command: Callable[..., subprocess.CompletedProcess[str]], options: list[str], named: str
) -> None:
    refused = run_command(*options)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("gearman-server: ")
    assert named in refused.stderr
    assert refused.stdout == ""


def test_a_port_can_be_given_as_a_service_name() -> None:
    assert Port().convert("http-alt", None, None) == 8080


def test_check_args_starts_nothing(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert run_command("--check-args", "-L", "-p", "4730", "-t", "4", "-R", "-vvv").returncode == 0
    assert run_command("--check-args", "-p", "x").returncode == 1


def test_the_port_comes_from_the_environment_unless_an_option_gives_it(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert run_command("--check-args", GEARMAND_PORT="nonsense").returncode == 1
    assert run_command("--check-args", "-p", "4731", GEARMAND_PORT="nonsense").returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-q", "builtin", "-t", "4", "-b", "64", "-R", "--coredump", "--hashtable-buckets", "991"],
        ["--keepalive", "--keepalive-idle", "30", "--keepalive-interval=5", "--keepalive-count", "-1"],
        [
            "--protocol=http",
            "--http-port",
            "8081",
            "--syslog",
            "-d",
            "-u",
            "root",
            "--ssl-port=0",
            "--ssl-certificate=x",
        ],
    ],
)
def test_options_of_gearmand_are_accepted(
    run_command: Callable[..., subprocess.CompletedProcess[str]], options: str
) -> None:
    checked = run_command("--check-args", *options)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_another_queue_type_is_refused_with_the_remedy(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    refused = run_command("--check-args", "-q", "libmemcached")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--store" in refused.stderr
