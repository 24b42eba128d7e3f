"""Two job servers of one manager that share a database: restarts and deaths under load lose no job and fail no call."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gearman_client import Client, JobNotKnown, connect_admin

from ..server.stores.conftest import StoreDatabase, database_of
from .conftest import NAP, RunningManager, eventually
from .test_instances import free_ports, processes
from .test_restart_server import MODULE, Load

__all__ = ["database_of"]

CONFIG = """
run_dir: run
server:
  listen: 127.0.0.1:{port}
  instances: 2
  store: '{store}'
  cluster: {{name: shop, lease: 1.5s, announce: localhost}}
pools:
  nap: {{min: 6, max: 6}}
  note: {{min: 3, max: 3}}
functions: {{note: {{settings: {{journal: {journal}}}}}}}
"""


class Submitters:
    """Submit background jobs to both servers until the end of the `with`; `accepted` were acknowledged."""

    def __init__(self, servers: list[str]) -> None:
        self._over = threading.Event()
        self.accepted: list[str] = []
        orders = (servers, servers[::-1])
        self._threads = [threading.Thread(target=self._submit, args=each) for each in zip("ab", orders, strict=True)]

    def __enter__(self) -> Submitters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_more(self) -> None:
        """Wait until further jobs are accepted."""
        accepted = len(self.accepted)
        eventually(lambda: len(self.accepted) > accepted + 30, "jobs are accepted")

    def _submit(self, name: str, servers: list[str]) -> None:
        number = 0
        with Client(servers, timeout_s=30) as client:
            while not self._over.wait(0.015):
                number += 1
                workload = f"{name}{number}"
                with suppress(JobNotKnown):  # its server was killed before it answered
                    client.submit_background("note", workload)
                    self.accepted.append(workload)


@pytest.fixture(params=["postgresql", "mysql"])
def cluster(
    request: pytest.FixtureRequest, database_of: Callable[[str], StoreDatabase], manager: RunningManager
) -> Iterator[RunningManager]:
    """A running manager with two job servers on one database."""
    manager.write_module("nap.py", NAP)
    manager.write_module("note.py", MODULE)
    store = database_of(request.param).url.replace("$", "$$")
    manager.config_file.write_text(CONFIG.format(port=free_ports(2), store=store, journal=journal_of(manager)))
    manager.launch()
    eventually(manager.settled, "all workers registered")
    yield manager
    assert manager.stop() == 0


def journal_of(manager: RunningManager) -> Path:
    return manager.folder / "journal"


def ran(manager: RunningManager) -> Counter[str]:
    """How often each job has run."""
    return Counter(journal_of(manager).read_text().split())


def members(server: str) -> set[bytes]:
    """The addresses of the cluster's servers, as this one tells them."""
    with connect_admin(server) as admin:
        return {line.split(b"\t")[2] for line in admin.command("servers").splitlines() if b"\t" in line}


def test_no_call_fails_and_no_job_is_lost_while_servers_are_replaced_and_then_killed(cluster: RunningManager) -> None:
    first, second = before = processes(cluster)
    announced = {address.replace("127.0.0.1", "localhost").encode() for address in before}
    eventually(lambda: members(first) == announced, "one names both, as others reach them")
    with Load([first, second]) as load, Submitters([first, second]) as submitters:
        submitters.wait_for_more()
        done = cluster.command("restart-server")
        submitters.wait_for_more()
        assert done.stdout.count("replaced in") == 2
        assert not set(processes(cluster).values()) & set(before.values())
        accepted = set(submitters.accepted)
        eventually(lambda: set(ran(cluster)) >= accepted, "every accepted job has run")
        twice = [job for job, times in ran(cluster).items() if times > 1]
        assert twice == [], cluster.log()
        for victim in (second, first):
            killed = processes(cluster)[victim]
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: processes(cluster).get(victim, killed) != killed, "it is back")  # noqa: B023
            submitters.wait_for_more()
    assert load.errors == []
    eventually(lambda: set(ran(cluster)) >= set(submitters.accepted), "every accepted job has run")
