"""The command `dashboard` tells where the pages are, and how to switch them on; with --open a browser gets there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .conftest import BIN, RunningManager, eventually

POOLS = "pools: {nap: {functions: [nap], min: 1, max: 1}}\n"


def test_the_address_is_printed_and_opened(napping: RunningManager) -> None:
    (napping.folder / "token").write_text("0123456789abcdef")
    napping.start(POOLS + "control: {listen: 0.0.0.0:0, token_file: token, prefix: /gearman}\n")
    url = napping.command("dashboard").stdout
    port = re.findall(r"control API on 0.0.0.0:(\d+) too", napping.log())[0]
    assert url == f"http://127.0.0.1:{port}/gearman/\n"
    opened = napping.folder / "opened"
    browser = napping.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    command: list[str | Path] = [BIN / "gearman-manager", "-c", napping.config_file, "dashboard", "--open"]
    subprocess.run(command, env=os.environ | {"BROWSER": str(browser)}, timeout=60, check=True, capture_output=True)
    eventually(opened.exists, "the browser was started")
    assert opened.read_text() == url


def test_without_an_address_it_says_how_to_switch_it_on(napping: RunningManager) -> None:
    napping.start(POOLS)
    refused = napping.command("dashboard", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "\n    listen: 127.0.0.1:4731\n" in refused.stderr
    assert str(napping.config_file) in refused.stderr


def test_without_a_manager_it_says_that_none_runs(napping: RunningManager) -> None:
    napping.config_file.write_text("run_dir: run\nserver: {}\n")
    refused = napping.command("dashboard", check=False)
    assert (refused.returncode, "no manager runs" in refused.stderr) == (1, True)
