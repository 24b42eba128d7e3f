"""Checks of the job servers' TLS before the start: whether its files load, and which pools can't use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gearman_client.connection.tls_stream import load_context
from gearman_manager.bridge.order import is_php_file
from gearman_manager.config import Config, Layout, Problem

_PROGRAM: Final = (
    "the program is told the addresses of the job servers alone: that {server} speaks TLS, and the certificates, "
    "it must know by itself"
)
_PHP: Final = "PHP functions can't be served from a job server with TLS, which {server} is: rewrite them in Python"


def tls_problems(config: Config) -> list[Problem]:
    """A fatal problem for each job server whose files can't be used."""
    problems = []
    for index, server in enumerate(config.servers):
        tls = server.reached_by.tls
        if tls is None:
            continue
        try:
            load_context(tls)
        except ValueError as error:
            problems.append(config.places.problem(f"servers[{index}]", str(error)))
    return problems


def pools_without_tls(config: Config, layout: Layout) -> Iterator[Problem]:
    """A problem, not fatal, for each pool whose workers are not ours and can't be told of the TLS."""
    server = next((server.address for server in config.servers if server.uses_tls), None)
    if server is None:
        return
    for name, pool in layout.pools.items():
        if pool.command is not None:
            yield config.places.problem(f"pools.{name}.command", _PROGRAM.format(server=server), is_fatal=False)
        elif any(is_php_file(layout.functions[function].file) for function in pool.functions):
            yield config.places.problem(f"pools.{name}", _PHP.format(server=server), is_fatal=False)
