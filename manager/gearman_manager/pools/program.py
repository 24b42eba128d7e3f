"""Starts workers that are programs in any language: a wrapper execs them, and their environment names the servers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from gearman_manager.bridge.order import COMMAND, MISSING, ORDER_VARIABLE, bridge_order
from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.pools import exec_wrapper
from gearman_manager.worker.order import CLIENT_ID_VARIABLE, Order

_WRAPPER: Final = str(Path(exec_wrapper.__file__).resolve())


def environment(pool: ResolvedPool, order: Order) -> Mapping[str, str]:
    """Our own variables, the pool's `env`, and the program's order.

    libgearman reads `GEARMAN_SERVERS` by itself; programs for one server can use the host and the port alone. The
    commands that are installed beside the manager are found after all others, as in `command: gearman-manager outbox`.
    """
    first = order.servers[0]
    return {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}",
        "GEARMAN_SERVERS": ",".join(map(str, order.servers)),
        "GEARMAN_HOST": first.host,
        "GEARMAN_PORT": str(first.port),
        "GEARMAN_FUNCTIONS": ",".join(pool.functions),
        "GEARMAN_WORKER": order.name,
        CLIENT_ID_VARIABLE: order.client_id,
        **pool.env,
        **_for_the_bridge(order),
    }


def _for_the_bridge(order: Order) -> Mapping[str, str]:
    """The rest of the order, for a worker of PHP functions. Limits stand only here: their change restarts no worker."""
    if not order.functions:
        return {}
    worker = {
        "worker": order.name,
        "client_id": order.client_id,
        "servers": list(map(str, order.servers)),
        "max_jobs": order.max_jobs,
        "max_memory_bytes": order.max_memory_bytes,
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
    }
    return {ORDER_VARIABLE: bridge_order(list(map(asdict, order.functions)), worker)}


def start_program(pool: ResolvedPool, order: Order, output: int) -> process.Child:
    """Start one worker of a command pool.

    Raises:
        StartError: the wrapper can't be started. It reports errors of the program itself on the program's output.
    """
    if pool.command is None:
        raise StartError(f"the pool {pool.name} has no command")
    if pool.command == COMMAND and shutil.which(COMMAND[0]) is None:
        raise StartError(MISSING)
    options = ["--parent", str(os.getpid()), "--stop-signal", pool.stop_signal, "--nice", str(pool.nice)]
    if pool.user is not None:
        options += ["--user", pool.user, "--own", ",".join(pool.env)]
    if pool.cwd is not None:
        options += ["--cwd", pool.cwd]
    # -I and -S: the wrapper needs the standard library alone, and starts in a fraction of the time.
    arguments = [sys.executable, "-I", "-S", _WRAPPER, *options, "--", *pool.command]
    try:
        return process.start(arguments, (), output, environment(pool, order))
    except OSError as error:
        raise StartError(f"can't start {pool.command[0]}: {error.strerror}") from error
