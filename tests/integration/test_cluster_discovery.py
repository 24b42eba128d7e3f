"""A manager that knows one server of a cluster follows all of them, and so do its workers, without a restart."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearman_client import Client, parse_address
from gearman_manager.control.server_jobs import ServerJobs

from ..server.server_process import ServerProcess
from ..server.stores.conftest import StoreDatabase, database_of
from .conftest import NAP, RunningManager, eventually
from .test_budgets import counted

__all__ = ["database_of"]

POLICIES = "schedules: {tick: {every: 1h, function: nap}}\n"
#: `nap` in a process for each job, `doze` in greenlets, `rest` on an event loop.
MODULES = {
    "nap.py": NAP,
    "doze.py": "import os\ndef doze(job):\n    return str(os.getpid())\n",
    "rest.py": "import os\nasync def rest(job):\n    return str(os.getpid())\n",
    "fails.py": "def fails(job):\n    raise ValueError('no')\n",
    "stuck.py": "import signal\ndef stuck(job):\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
    "    while True:\n        pass\n",
}
CONFIG = """
run_dir: run
servers: ['{server}']
defaults: {{min: 1, max: 1}}
pools:
  nap: {{functions: [nap], max: 9, max_everywhere: 5, scale: {{backlog_per_worker: 1, cooldown: 0s}}}}
  doze: {{functions: [doze], concurrency: 3}}
functions:
  stuck: {{timeout: 500ms, retries: 0}}
"""


class Shop:
    """Servers that share a database, and a manager that was given the first."""

    def __init__(self, database: StoreDatabase, policies: str) -> None:
        self._options = ("--store", database.url, "--cluster", "shop", "--lease", "3", "--policies", policies)
        self.servers: list[ServerProcess] = []

    def start(self) -> ServerProcess:
        self.servers.append(ServerProcess(*self._options))
        return self.servers[-1]


@pytest.fixture
def shop(database_of: Callable[[str], StoreDatabase], manager: RunningManager) -> Iterator[Shop]:
    policies = manager.folder / "policies.yaml"
    policies.write_text(POLICIES)
    shop = Shop(database_of("postgresql"), str(policies))
    first = shop.start()
    shop.start()
    launch(manager, first.address)
    eventually(lambda: manager.settled() and known(manager) == addresses(shop), "both servers are followed")
    yield shop
    assert manager.stop() == 0
    for server in shop.servers:
        with contextlib.suppress(ProcessLookupError):
            server.signal(signal.SIGKILL)


def launch(manager: RunningManager, server: str) -> None:
    for name, source in MODULES.items():
        manager.write_module(name, source)
    manager.config_file.write_text(CONFIG.format(server=server))
    manager.launch()


def addresses(shop: Shop) -> dict[str, bool]:
    """All servers, and whether they live."""
    return {server.address: server.process.poll() is None for server in shop.servers}


def known(manager: RunningManager) -> dict[str, bool]:
    return {address: server["up"] for address, server in manager.status()["servers"].items()}


def answer(server: ServerProcess, function: str) -> bytes:
    """The number of the process that has run a job of this server."""
    with Client(server.address, discover=False, timeout_s=30) as client:
        result: bytes = client.submit(function, b"0")
        return result


def test_workers_serve_servers_that_join_and_go_on_when_the_given_one_dies(shop: Shop, manager: RunningManager) -> None:
    first, second = shop.servers
    before = {function: answer(first, function) for function in ("nap", "doze", "rest")}
    assert {function: answer(second, function) for function in before} == before
    third = shop.start()
    assert {function: answer(third, function) for function in before} == before
    eventually(lambda: known(manager) == addresses(shop), "the third one is followed")
    first.signal(signal.SIGKILL)
    first.wait()
    assert {function: answer(third, function) for function in before} == before
    eventually(lambda: known(manager) == addresses(shop), "the first one is down")
    # Demand is the sum over all servers, also over those that the configuration does not name.
    with Client(second.address, discover=False) as client, Client(third.address, discover=False) as other:
        for each in (client, other):
            each.submit_background_many("nap", [b"3"] * 4)
    eventually(lambda: manager.status()["pools"]["nap"]["target"] == 5, "the pool has grown")
    assert {row["server"] for row in listed(manager, "jobs", "list")} == {second.address, third.address}


def test_a_job_of_a_server_that_the_configuration_does_not_name_is_ended_at_its_limit(
    shop: Shop, manager: RunningManager
) -> None:
    _, second = shop.servers
    with Client(second.address, discover=False, timeout_s=30) as client, pytest.raises(Exception, match="timeout"):
        client.submit("stuck", b"")


def test_managers_that_were_given_different_servers_share_a_maximum_while_one_dies(
    shop: Shop, manager: RunningManager, second: RunningManager
) -> None:
    survivor = shop.servers[1]
    launch(second, survivor.address)
    both = (manager, second)
    eventually(lambda: second.settled() and known(second) == addresses(shop), "both servers are followed")
    with counted(*both) as census, Client(survivor.address, discover=False) as client:
        client.submit_background_many("nap", [b"0.5"] * 500)
        eventually(lambda: shares(both) == [2, 3], "each has its part")
        shop.servers[0].signal(signal.SIGKILL)
        eventually(lambda: all(known(each) == addresses(shop) for each in both), "both know of the death")
        eventually(lambda: shares(both) == [2, 3], "each has its part")
    assert census.most("nap") == 5


def shares(managers: tuple[RunningManager, ...]) -> list[int]:
    return sorted(len(each.workers("nap")) for each in managers)


def test_dead_letters_batches_and_schedules_are_listed_once_and_jobs_of_every_server(
    shop: Shop, manager: RunningManager
) -> None:
    for server in shop.servers:
        with Client(server.address, discover=False, timeout_s=30) as client:
            client.submit_background("fails", b"")
            client.submit_background("waits", b"", delay=3600)
            client.batch(id="shared")
    assert [row["batch"] for row in listed(manager, "jobs", "batches")] == ["shared"]
    eventually(lambda: len(listed(manager, "dead", "list")) == 2, "both have failed for good, and are listed once")
    assert {row["server"] for row in listed(manager, "jobs", "list")} == set(addresses(shop))
    assert [row["schedule"] for row in json.loads(manager.command("schedules", "--json").stdout)] == ["tick"]
    assert manager.command("dead", "retry", "--all").stdout == "2 queued again\n"
    eventually(lambda: len(listed(manager, "dead", "list")) == 2, "they have failed again")


def test_what_changes_jobs_counts_those_of_all_servers_once(shop: Shop, manager: RunningManager) -> None:
    with Client(shop.servers[1].address, discover=False, timeout_s=30) as client:
        waiting = client.submit_background("waits", b"", delay=3600)
        running = client.submit_background("nap", b"600")
        batch = client.batch(id="shared")
        batch.background_many("waits", [b""] * 3, delay=3600)
        eventually(lambda: client.status(running).running, "the job runs")
    assert manager.command("jobs", "stop", str(running), str(waiting)).stdout == "2 stopped\n"
    assert manager.command("jobs", "batch", "shared", "cancel").stdout == "3 cancelled\n"
    assert manager.command("schedules", "trigger", "tick").stdout
    # The next page may be asked for at another server than the one before.
    addresses = [parse_address(server.address) for server in shop.servers]
    jobs = ServerJobs(lambda: addresses, lambda: [addresses])
    for address in addresses:
        page = jobs.page("jobs/batches", {"server": str(address)})
        assert ([row["batch"] for row in page["jobs"]], page["next"]) == (["shared"], None)


def listed(manager: RunningManager, *command: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(manager.command(*command, "--json").stdout)
    return rows
