"""What every worker of a pool is told, and the version by which a running worker is known to be out of date.

The version is a digest of all that needs a restart: code, settings, servers, a program's command line. What does not
(`min`, `max`, `scale`, the limits) is not in it, so changing it touches no running worker. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gearman_client import Address
from gearman_manager.bridge.order import COMMAND, is_php_file
from gearman_manager.config import Layout, ResolvedPool
from gearman_manager.worker.server_order import to_order

#: The share of `max_lifetime` over which the workers of a pool are spread, so that no two go together.
LIFETIME_SPREAD: Final = 0.2
_GOLDEN_RATIO: Final = 0.6180339887498949  # its multiples are spread most evenly, however many there are
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """What is known of source files: their contents as hashes, and which a function's file depends on."""

    hashes: Mapping[str, str]
    needs: Mapping[str, Sequence[str]]

    def of(self, files: Sequence[str]) -> dict[str, str]:
        """The contents that these modules depend on.

        A file of the workers folders that no module is known to need might be anybody's: it counts for all of its
        language.
        """
        attributed = {needed for needs in self.needs.values() for needed in needs}
        mine = {needed for file in files for needed in self.needs.get(file, [file])}
        languages = {is_php_file(file) for file in files}
        anybodys = {file for file in self.hashes.keys() - attributed if is_php_file(file) in languages}
        return {file: self.hashes.get(file, "") for file in sorted(mine | anybodys)}


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """How the workers of one pool are to be run."""

    pool: ResolvedPool
    functions: tuple[Message, ...]  # for the worker: where each function is found, its limits and settings
    servers: tuple[Address, ...]
    version: str
    folders: tuple[str, ...] = ()  # the workers folders, for workers that load the code themselves
    log_level: str = "INFO"

    @property
    def is_concurrent(self) -> bool:
        """Its workers run several jobs at once."""
        return self.pool.concurrency > 1

    @property
    def registered(self) -> list[str]:
        """The functions' names towards Gearman."""
        return list(self.pool.functions)

    def expiry(self, name: str, now: float) -> float | None:
        """When the lifetime of worker POOL/N ends: up to a fifth early, each of a pool at a moment of its own."""
        lifetime_s = self.pool.max_lifetime_s
        if lifetime_s is None:
            return None
        serial = int(name.rpartition("/")[2])
        return now + lifetime_s * (1 - LIFETIME_SPREAD * (serial * _GOLDEN_RATIO % 1))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all pools."""

    servers: Sequence[Address]
    folders: Sequence[str]
    log_level: str


def pool_order(pool: ResolvedPool, layout: Layout, around: Surroundings, code: CodeFiles) -> PoolOrder:
    """The order for a pool; `code` holds, beside the modules' files, those that its `watch` names."""
    functions = tuple(_function(layout, name) for name in pool.functions) if pool.command is None else ()
    contents = code.of([function["file"] for function in functions]) if functions else {}
    if functions and all(is_php_file(function["file"]) for function in functions):
        pool = replace(pool, command=COMMAND, concurrency=1)
    restarting = [
        functions,
        [to_order(server) for server in around.servers],
        contents,
        {file: code.hashes.get(file, "") for file in pool.watch},
        (pool.command, dict(pool.env), pool.cwd, pool.user, pool.nice, pool.preload, pool.concurrency),
    ]
    version = hashlib.blake2b(json.dumps(restarting, sort_keys=True).encode(), digest_size=12).hexdigest()
    return PoolOrder(pool, functions, tuple(around.servers), version, tuple(around.folders), around.log_level)


def _function(layout: Layout, name: str) -> Message:
    function = layout.functions[name]
    return {
        "registered": name,
        "name": function.module_name,
        "file": function.file,
        "timeout_s": function.timeout_s,
        "settings": dict(function.settings),
    }
