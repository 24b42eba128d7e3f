"""The commands of docs/cluster.md do what it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from .conftest import Until, run_all, submit, waiting

GUIDE = Path(__file__).parents[3] / "docs" / "cluster.md"


def commands_in(heading: str) -> list[list[str]]:
    """The commands of the first block of code below this heading; without one: of the page."""
    text = GUIDE.read_text()
    block = re.search(r"```(?:sh)?\n(gearman-server .*?)```", text[text.index(heading) :], re.S)
    assert block is not None
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


def test_the_first_commands_start_a_cluster(
    database_of: Callable[[str], StoreDatabase],
    start_server: Callable[..., ServerProcess],
    free_ports: Callable[[int], list[int]],
    until: Until,
) -> None:
    database = database_of("postgresql")
    commands = commands_in("")
    assert [command[0] for command in commands] == ["gearman-server"] * 2
    servers = []
    for command, port in zip(commands, free_ports(2), strict=True):
        options = command[1:]
        options[options.index("--port") + 1] = str(port)
        options[options.index("--store") + 1] = database.url
        servers.append(start_server(*options))
    submit(servers[0].peer(), 2)
    servers[0].process.kill()
    until(lambda: waiting(servers[1]) == 2)
    assert len(run_all(servers[1].peer(), 2)) == 2


def test_each_option_of_the_guide_is_one(run_command: Callable[..., object]) -> None:
    told = set(re.findall(r"^\| `(--[a-z]+) [A-Z]+` \|", GUIDE.read_text(), re.M))
    shown = run_command("--help")
    assert told == {"--cluster", "--lease", "--announce"}
    assert all(f"{option} " in shown.stdout for option in told)  # type: ignore[attr-defined]
