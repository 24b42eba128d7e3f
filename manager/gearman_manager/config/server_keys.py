"""The section `server`: the bundled job server, and the addresses of each of its instances. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, PlainValidator

from gearman_client.address import Address
from gearman_manager.config import values as v
from gearman_manager.config.address import neighbour, parse_address, parse_host
from gearman_manager.config.section import Section, shown_default
from gearman_process.values import durations
from gearman_process.values.quoting import shown

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
#: A job server shows a sign of life every half second, and half a second before the end it does not trust itself.
MIN_LEASE_S: Final = 1.5
MAX_LEASE_S: Final = 60.0


def _cluster_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_NAME, value):
        raise ValueError(f"at most 63 letters, digits, dots, dashes and underscores are expected, not {shown(value)}")
    return value


def _lease(value: object) -> float:
    seconds = durations.parse_duration_s(value)
    if not MIN_LEASE_S <= seconds <= MAX_LEASE_S:
        raise ValueError(f"a duration from {MIN_LEASE_S:g}s to {MAX_LEASE_S:g}s is expected, not {shown(value)}")
    return seconds


Host = Annotated[str, PlainValidator(parse_host), v.schema("host", {"type": "string"})]
ClusterName = Annotated[
    str, PlainValidator(_cluster_name), v.schema("name", {"type": "string", "pattern": f"^{_NAME}$"})
]
Lease = Annotated[float, PlainValidator(_lease), v.schema("duration", {"type": "string", "pattern": durations.PATTERN})]


class DeadLetters(Section):
    """The number and age of the background jobs that failed for good and that the bundled job server keeps."""

    max_count: v.Natural = Field(
        default=10_000,
        description="Keep only this many, the newest; 0: keep none.",
        json_schema_extra=shown_default("`10000`"),
    )
    max_size: v.Size = Field(
        default=64 << 20,
        description="Keep at most about this much of them in memory.",
        json_schema_extra=shown_default("`64MiB`"),
    )
    max_age: v.PositiveDuration = Field(
        default=7 * 86400.0, description="Keep them for this long.", json_schema_extra=shown_default("`7d`")
    )


class KeptResults(Section):
    """The results of background jobs that the bundled job server keeps, for functions with `keep_result`."""

    max_count: v.Natural = Field(
        default=100_000,
        description="Keep only this many, the newest; 0: keep none.",
        json_schema_extra=shown_default("`100000`"),
    )
    max_size: v.Size = Field(
        default=64 << 20,
        description="Keep at most about this much of them in memory.",
        json_schema_extra=shown_default("`64MiB`"),
    )
    max_data: v.Size = Field(
        default=1 << 20,
        description="Keep at most this much of the data and warnings that one job reports while it runs.",
        json_schema_extra=shown_default("`1MiB`"),
    )


class Cluster(Section):
    """Several job servers on one database, of this manager and of others: each takes over the jobs of one that dies."""

    name: ClusterName = Field(
        description="The cluster's name: the same for all job servers that share a database.", examples=["shop"]
    )
    lease: Lease = Field(
        default=2.5,
        description="A job server that has shown no sign of life for this long counts as dead, and the others take its "
        "jobs over.",
        json_schema_extra=shown_default("`2.5s`"),
    )
    announce: Host | None = Field(
        default=None,
        description="The host at which the job servers of other machines reach ours; each of ours adds its own port.",
        examples=["jobs1.example.com"],
        json_schema_extra=shown_default("that of the first `listen` address; this machine's name for `0.0.0.0`"),
    )


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses on which one job server listens: as configured, or with the real ports once it is ready."""

    jobs: tuple[Address, ...]
    metrics: Address | None


class Server(Section):
    """The bundled job server, or several instances of it."""

    listen: Annotated[tuple[v.ListenAddress, ...], v.at_least_one] = Field(
        default=(parse_address("127.0.0.1:4730"),),
        description=(
            "The addresses for clients and workers. Our own workers use the first address, whose port can be 0: any "
            "free port."
        ),
        examples=[["127.0.0.1:4730", "10.0.0.5:4730"]],
        json_schema_extra={"default": "127.0.0.1:4730"},  # as people write it, not as its parts
    )
    metrics_listen: v.MetricsAddress | None = Field(
        default=None,
        description=(
            "Serve metrics for Prometheus, `/healthz` and "
            "[results of background jobs](job-server.md#results-of-background-jobs) by HTTP on this address. The "
            "metrics cost about half a microsecond for each job."
        ),
        examples=["127.0.0.1:4732"],
    )
    store: v.Store = Field(
        default="memory",
        description=(
            "The store of background jobs: `memory`, which is lost when the job server ends, or a database: "
            "`sqlite:///FILE`, `postgresql+psycopg://…` or `mysql+pymysql://…`. See "
            "[durable jobs](job-server.md#durable-jobs)."
        ),
    )
    instances: v.Instances = Field(
        default=1,
        description=(
            "Run so many job servers, on neighbouring ports: each further one has the next port of every address. With "
            "a durable store they need `cluster`. See [several job servers](operations.md#several-job-servers)."
        ),
    )
    cluster: Annotated[Cluster | None, v.is_mapping] = Field(
        default=None,
        description="Share the database of `store`, PostgreSQL or MariaDB/MySQL, with other job servers.",
        examples=[{"name": "shop"}],
    )
    dead_letters: Annotated[DeadLetters, v.is_mapping] = Field(
        default=DeadLetters(),
        description="Limits for the background jobs that failed for good and are kept.",
    )
    results: Annotated[KeptResults, v.is_mapping] = Field(
        default=KeptResults(),
        description="Limits for the kept results of background jobs, for functions with `keep_result`.",
    )

    @property
    def listening(self) -> tuple[Listening, ...]:
        """The addresses of each instance, the first one first."""
        return tuple(map(self._listening, range(self.instances)))

    @property
    def are_independent(self) -> bool:
        """Whether there are several instances that know nothing of each other."""
        return self.instances > 1 and self.cluster is None

    def _listening(self, offset: int) -> Listening:
        metrics = self.metrics_listen
        return Listening(
            tuple(neighbour(address, offset) for address in self.listen),
            None if metrics is None else neighbour(metrics, offset),
        )
