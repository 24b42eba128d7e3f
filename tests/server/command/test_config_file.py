"""The configuration file: options of the command line, by their long names."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess


def test_the_configuration_file_holds_options_and_the_command_line_wins(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    config = tmp_path / "gearmand.conf"
    config.write_text("# --verbose is explained\n--job-handle-prefix F:x\n-j 1 --listen=::1\nstray words\n-vv\n")
    server = start_server("--config-file", str(config), "-L", "127.0.0.1", "--job-handle-prefix", "C:y")
    assert server.announced["listening"] == [f"127.0.0.1:{server.port}"]
    assert server.peer().ask(PacketType.SUBMIT_JOB, b"f", b"", b"")[1].startswith(b"C:y:")
    server.wait_for_log(" INFO connection")


@pytest.mark.parametrize(
    ("text", "named"),
    [("--nonsense", "--nonsense"), ("-p many", "--port"), ("\udcff", "no text"), (None, "can't be read")],
)
def test_a_bad_configuration_file_gives_one_line_that_names_it(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, text: str | None, named: str
) -> None:
    config = tmp_path / "gearmand.conf"
    if text is not None:
        config.write_text(text, errors="surrogateescape")
    refused = run_command("--check-args", "--config-file", str(config))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert named in refused.stderr
    assert str(config) in refused.stderr


def test_an_empty_name_means_no_configuration_file(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert run_command("--check-args", "--config-file", "").returncode == 0
