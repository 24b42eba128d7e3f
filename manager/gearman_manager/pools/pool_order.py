"""The order for all workers of a pool, and the version that tells whether a running worker is out of date.

The version is a digest of everything whose change needs a restart: code, settings, servers, a program's command line.
It leaves out `min`, `max`, `scale` and the limits, so a change of these touches no running worker. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from gearman_client.address import Address
from gearman_manager.bridge.order import COMMAND, is_php_file
from gearman_manager.config.layout import Layout
from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.worker.order import Order, OrderedFunction, learned_number

#: The share of `max_lifetime` over which the ends of a pool's workers are spread, so that no two end together.
LIFETIME_SPREAD: Final = 0.2
#: The fractions of its multiples are spread most evenly, whatever their number.
_GOLDEN_RATIO: Final = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """The known source files: hashes of their contents, and the files that each module depends on."""

    hashes: Mapping[str, str]
    needs: Mapping[str, Sequence[str]]

    def of(self, files: Sequence[str]) -> dict[str, str]:
        """The hashes of the files on which these modules depend.

        A file of the workers folders that no module is known to need might belong to any: it counts for all modules in
        its language.
        """
        attributed = {needed for needs in self.needs.values() for needed in needs}
        own = {needed for file in files for needed in self.needs.get(file, [file])}
        languages = {is_php_file(file) for file in files}
        unattributed = {file for file in self.hashes.keys() - attributed if is_php_file(file) in languages}
        return {file: self.hashes.get(file, "") for file in sorted(own | unattributed)}


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """The order for the workers of one pool."""

    pool: ResolvedPool
    functions: tuple[OrderedFunction, ...]  #: none for a program, which has its own
    servers: tuple[Address, ...]
    version: str
    folders: tuple[str, ...] = ()  #: the workers folders, for workers that load the code themselves
    log_level: str = "INFO"
    spans: str = ""  #: the socket to which the spans of jobs go; empty: none are wanted

    @property
    def is_concurrent(self) -> bool:
        """Whether a worker has a slot for each of its jobs: in greenlets, or on an asyncio loop."""
        return self.pool.concurrency > 1 or self.pool.is_async

    @property
    def is_forked(self) -> bool:
        """Whether a zygote forks the workers; greenlets and programs need a process of their own."""
        return self.pool.command is None and (self.pool.concurrency == 1 or self.pool.is_async)

    @property
    def registered(self) -> list[str]:
        """The functions' names, as they are registered with Gearman."""
        return list(self.pool.functions)

    def number_of(self, server: Address) -> int:
        """The number by which a worker's report names a job server."""
        return self.servers.index(server) if server in self.servers else learned_number(server)

    def for_worker(self, name: str, slots: Sequence[int], client_id: str) -> Order:
        """The order for the worker POOL/N; the first slot is its own, the others are for its jobs."""
        pool = self.pool
        return Order(
            name=name,
            client_id=client_id,
            slot=slots[0],
            servers=self.servers,
            functions=self.functions,
            max_jobs=pool.max_jobs,
            max_memory_bytes=pool.max_memory_bytes,
            nice=pool.nice,
            prefetch=pool.prefetch,
            is_async=pool.is_async,
            job_slots=tuple(slots[1:]),
            folders=self.folders,
            log_level=self.log_level,
            spans=self.spans,
        )

    def expiry(self, name: str, now: float) -> float | None:
        """The time at which the lifetime of worker POOL/N ends: up to a fifth early, and different for each worker."""
        lifetime_s = self.pool.max_lifetime_s
        if lifetime_s is None:
            return None
        serial = int(name.rpartition("/")[2])
        return now + lifetime_s * (1 - LIFETIME_SPREAD * (serial * _GOLDEN_RATIO % 1))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The values that are the same for all pools."""

    servers: Sequence[Address]
    folders: Sequence[str]
    log_level: str
    #: Of the servers, those that the configuration does not name, but that are in the clusters of the others.
    learned: Sequence[Address] = ()
    #: The socket to which the spans of jobs go; empty: none are wanted.
    spans: str = ""


def pool_order(pool: ResolvedPool, layout: Layout, around: Surroundings, code: CodeFiles) -> PoolOrder:
    """The order for a pool; `code` holds the files of its modules and of its `watch`."""
    functions = tuple(_function(layout, name) for name in pool.functions) if pool.command is None else ()
    contents = code.of([function.file for function in functions]) if functions else {}
    if functions and all(is_php_file(function.file) for function in functions):
        pool = replace(pool, command=COMMAND, concurrency=1, prefetch=1)
    # Workers of ours learn of them too. But who fetches jobs ahead needs us to know each of its servers by number.
    servers = around.servers if pool.prefetch > 1 else [each for each in around.servers if each not in around.learned]
    restarting = [
        [asdict(function) for function in functions],
        [asdict(server) for server in servers],
        contents,
        {file: code.hashes.get(file, "") for file in pool.watch},
        (pool.command, dict(pool.env), pool.cwd, pool.user, pool.nice, pool.preload, pool.concurrency, pool.prefetch),
    ]
    spans = around.spans if functions else ""
    if spans:
        restarting.append([spans])
    version = hashlib.blake2b(json.dumps(restarting, sort_keys=True).encode(), digest_size=12).hexdigest()
    return PoolOrder(pool, functions, tuple(around.servers), version, tuple(around.folders), around.log_level, spans)


def _function(layout: Layout, name: str) -> OrderedFunction:
    function = layout.functions[name]
    return OrderedFunction(
        name,
        function.module_name,
        function.file,
        function.timeout_s,
        dict(function.settings),
        function.batch,
        function.linger_s,
        function.privacy.redact,
        tuple(sorted(function.privacy.redacted_places)),
        function.privacy.shows_workloads,
    )
