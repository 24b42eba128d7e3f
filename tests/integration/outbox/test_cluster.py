"""A relay that was given one server of a cluster knows the others, and goes on when one of them dies."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest

from gearman_client import outbox

from ...server.server_process import ServerProcess
from ...server.stores.conftest import StoreDatabase, database_of
from ..conftest import eventually
from .conftest import RelayProcess, Shop, pause

__all__ = ["database_of"]

KEYS = "abcdefghijklmnop"


class Cluster:
    """Servers that share a database."""

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self.servers = [self._start(), self._start()]

    def _start(self) -> ServerProcess:
        return ServerProcess("--store", self._database.url, "--cluster", "shop", "--lease", "3")

    def jobs(self) -> list[str]:
        """The workloads of all jobs, in the order in which they were numbered."""
        return [bytes(workload).decode() for (workload,) in self._database.rows("workload")]


@pytest.fixture(params=["postgresql", "mysql"])
def cluster(request: pytest.FixtureRequest, database_of: Callable[[str], StoreDatabase]) -> Iterator[Cluster]:
    cluster = Cluster(database_of(request.param))
    yield cluster
    for server in cluster.servers:
        with contextlib.suppress(ProcessLookupError):
            server.signal(signal.SIGKILL)


@pytest.fixture
def start(start_relay: Callable[..., RelayProcess], small_shop: Shop) -> Callable[[ServerProcess], RelayProcess]:
    """Starts a relay that is given one server, and waits until it has learned the other."""

    def start(server: ServerProcess) -> RelayProcess:
        relay = start_relay(small_shop, server)
        eventually(lambda: relay.log().count("answers") == 2, "both answer")
        return relay

    return start


def test_the_server_that_was_given_dies_under_load(
    cluster: Cluster, small_shop: Shop, start: Callable[[ServerProcess], RelayProcess]
) -> None:
    first, _ = cluster.servers
    relay = start(first)
    expected = [f"{key}-{number}" for number in range(30) for key in KEYS]
    for at in range(0, len(expected), 48):
        small_shop.add(*expected[at : at + 48])
        small_shop.add(*(f"k-{at}-{number}" for number in range(3)), key="k")
        if at == 192:
            first.signal(signal.SIGKILL)
        pause(0.01)
    small_shop.until_empty()
    relay.wait_for_log(f"job server {first.address}: ")
    of_key = [f"k-{at}-{number}" for at in range(0, len(expected), 48) for number in range(3)]
    assert sorted(cluster.jobs()) == sorted(expected + of_key)


def test_rows_that_a_dead_server_may_have_go_to_another_one(
    cluster: Cluster,
    small_shop: Shop,
    start: Callable[[ServerProcess], RelayProcess],
    start_relay: Callable[..., RelayProcess],
) -> None:
    first, second = cluster.servers
    relay = start(first)
    second.signal(signal.SIGSTOP)
    with small_shop.database.connect() as connection, connection.begin():
        for key in KEYS:
            outbox.background_many(connection, "f", [f"{key}-1", f"{key}-2"], key=key)
    eventually(lambda: small_shop.database.rows("id", "gearman_outbox WHERE sent_ms IS NULL") == [], "all are sent")
    left = len(cluster.jobs())
    relay.kill()
    second.signal(signal.SIGKILL)
    assert left < 2 * len(KEYS)
    # The next relay has never heard of the second one.
    start_relay(small_shop, first)
    small_shop.until_empty()
    jobs = cluster.jobs()
    assert sorted(jobs) == [f"{key}-{number}" for key in KEYS for number in (1, 2)]
    assert all(jobs.index(f"{key}-1") < jobs.index(f"{key}-2") for key in KEYS)
