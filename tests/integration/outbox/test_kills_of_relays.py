"""Kills under load: relays, job servers and connections to the database end at any moment, and each row is one job."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client import Worker, WorkerJob, outbox
from gearman_client.client.server_choice import hash_of

from ...databases import pooled_by
from ..conftest import eventually
from .conftest import OutboxServer, RelayProcess, Shop, pause

ROUNDS = int(os.environ.get("GEARMAN_KILL_ROUNDS", "6"))
#: On a slow machine there are more rounds until so many rows are there.
LEAST = 50
KEYS = "abcdefgh"


def home_of_key(servers: list[OutboxServer], key: str) -> str:
    """The address of the server that a `Client` would choose for this key."""
    return servers[hash_of(key.encode()) % len(servers)].address


class Program:
    """A program that writes jobs all the time, some with keys, in transactions of which some are rolled back."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._ends = threading.Event()
        #: The workloads that were committed.
        self.committed: list[str] = []
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        numbers = random.Random(1)
        count = 0
        while not self._ends.wait(0.03):
            count += 1
            key = numbers.choice([*KEYS, None])
            workloads = [f"{key}-{count}-{part}" for part in range(numbers.randint(1, 5))]
            with self._shop.database.connect() as connection, connection.begin() as transaction:
                for workload in workloads:
                    outbox.background(connection, "f", workload, key=key)
                if numbers.random() < 0.1:
                    transaction.rollback()
                    continue
            self.committed += workloads

    def end(self) -> None:
        self._ends.set()
        self._thread.join()


@pytest.mark.timeout(3600 if "GEARMAN_KILL_ROUNDS" in os.environ else 120)
def test_each_row_is_one_job_in_the_order_of_its_key_whatever_is_killed(
    shop: Shop, start_server: Callable[..., OutboxServer], start_relay: Callable[..., RelayProcess]
) -> None:
    servers = [start_server(), start_server()]
    relays = [start_relay(shop, *servers), start_relay(shop, *servers)]
    for relay in relays:
        relay.wait_for_log("answers")
    program, chance = Program(shop), random.Random(ROUNDS)
    try:
        for number in itertools.count():
            if number >= ROUNDS and len(program.committed) > LEAST:
                break
            pause(chance.uniform(0.05, 0.4))
            at = number % 2
            if number % 4 < 2:
                relays[at].kill()
                relays[at] = start_relay(shop, *servers)
            else:
                servers[at].kill()
                pause(chance.uniform(0.0, 0.3))
                servers[at].start()
    finally:
        program.end()
    shop.until_empty(60)
    taken = [server.jobs() for server in servers]
    counts = Counter(workload for jobs in taken for workload in jobs)
    assert {workload: count for workload, count in counts.items() if count > 1} == {}
    assert counts.keys() == set(program.committed)
    for key in KEYS:
        order = {workload: at for at, workload in enumerate(program.committed)}
        for jobs in taken:
            places = [order[job] for job in jobs if job.startswith(key)]
            assert places == sorted(places)


def test_connections_to_the_database_that_end_cost_nothing_but_time(
    shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    relay = start_relay(shop, server)
    relay.wait_for_log("answers")
    for number in range(6):
        shop.add(*(f"k-{number}-{part}" for part in range(50)), key="k")
        if shop.database.kind != "sqlite":
            shop.database.terminate_others()
        pause(0.02 * number)
    shop.until_empty()
    assert server.jobs() == [f"k-{number}-{part}" for number in range(6) for part in range(50)]
    assert relay.stop() == 0


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
def test_behind_a_pooler_that_gives_each_transaction_another_session(
    shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path / "pgbouncer.log"
    with pooled_by(shop.database, port, "transaction", log, lambda found: eventually(found, "it runs")) as url:
        relays = [start_relay(url, server), start_relay(url, server)]
        for relay in relays:
            relay.wait_for_log("answers")
        expected = [f"k-{number}" for number in range(100)]
        for at in range(0, 100, 10):
            shop.add(*expected[at : at + 10], key="k")
        shop.until_empty()
        assert [relay.stop() for relay in relays] == [0, 0]
    assert server.jobs() == expected


def test_rows_wait_for_a_job_server_and_leave_when_it_is_back(
    small_shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    relay = start_relay(small_shop, server)
    relay.wait_for_log("answers")
    server.kill()
    small_shop.add("1", "2", "3")
    relay.wait_for_log("could not connect")
    assert len(small_shop.rows()) == 3
    server.start()
    small_shop.until_empty()
    assert server.jobs() == ["1", "2", "3"]


def test_a_job_server_that_hangs_holds_only_the_rows_that_it_may_have(
    small_shop: Shop, start_server: Callable[..., OutboxServer], start_relay: Callable[..., RelayProcess]
) -> None:
    servers = [start_server(), start_server()]
    relay = start_relay(small_shop, *servers)
    eventually(lambda: relay.log().count("answers") == 2, "both answer")
    [hanging] = [server for server in servers if server.address == home_of_key(servers, "k")]
    [other] = [server for server in servers if server is not hanging]
    assert hanging.process is not None
    hanging.process.signal(signal.SIGSTOP)
    small_shop.add("k-1", "k-2", key="k")
    eventually(lambda: small_shop.rows("server") == [(hanging.address,)] * 2, "they are sent")
    small_shop.add(*(f"any-{number}" for number in range(50)))
    eventually(lambda: len(other.jobs()) == 50, "the other server gets the others")
    pause(3.5)  # the first lease is over by then, and renewed
    assert small_shop.rows("server") == [(hanging.address,)] * 2
    hanging.process.signal(signal.SIGCONT)
    small_shop.until_empty()
    assert hanging.jobs() == ["k-1", "k-2"]


@pytest.mark.parametrize("shop", ["postgresql", "mysql"], indirect=True)  # SQLite's file has one lock for all
def test_a_relay_that_is_stopped_and_goes_on_makes_no_second_job(
    shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    first, second = start_relay(shop, server), start_relay(shop, server)
    for relay in (first, second):
        relay.wait_for_log("answers")
    expected = []
    for number in range(3):
        workloads = [f"k-{number}-{part}" for part in range(40)]
        shop.add(*workloads, key="k")
        expected += workloads
        pause(0.01 * number)
        stopped = (first, second)[number % 2]
        stopped.process.send_signal(signal.SIGSTOP)
        shop.until_empty()
        stopped.process.send_signal(signal.SIGCONT)
    assert server.jobs() == expected
    assert (first.stop(), second.stop()) == (0, 0)
    assert server.jobs() == expected


def test_under_load_a_job_runs_soon_after_the_commit(
    shop: Shop, start_server: Callable[..., OutboxServer], start_relay: Callable[..., RelayProcess]
) -> None:
    server = start_server()
    start_relay(shop, server).wait_for_log("answers")
    committed: dict[str, float] = {}
    begun: dict[str, float] = {}

    def run(job: WorkerJob) -> None:
        begun[job.workload.decode()] = time.monotonic()

    with Worker(server.address) as worker:
        worker.register("f", run)
        thread = threading.Thread(target=worker.work)
        thread.start()
        with shop.database.connect() as connection:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                with connection.begin():
                    names = outbox.background_many(connection, "f", (str(len(committed) + at) for at in range(5)))
                now = time.monotonic()
                committed.update((str(len(committed)), now) for _ in names)
                pause(0.02)
        eventually(lambda: len(begun) == len(committed), "all jobs have run")
        worker.stop()
        thread.join()
    delays = sorted(begun[name] - committed[name] for name in committed)
    p50, p99 = (delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99))
    print(f"{shop.database.kind}: {len(delays)} jobs, commit to run: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    assert p99 < 2000
