"""Job servers are killed while a manager's workers run their jobs: each job runs once, with a cluster and with a single
server."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from gearman_client import Client, GearmanError, connect_admin

from ..server.stores.conftest import StoreDatabase, database_of
from .conftest import RunningManager, eventually
from .test_instances import free_ports, processes

__all__ = ["database_of"]

#: So many kills. The long form, with which `ORPHANED_JOBS=1000` jobs are in the hands of workers when their server is
#: killed, tells the numbers, and kills a single server on PostgreSQL too.
KILLS = 3
IN_HAND = int(os.environ.get("ORPHANED_JOBS", "0"))
NOTERS, LONGEST_S = (40, 0.5) if IN_HAND else (6, 0.1)
#: Jobs of each function every tenth of a second: nearly what the workers can do.
BURST = 14
MODULE = """
    import asyncio
    import os
    import random
    import time

    from gearman_manager import function

    def begun(job, text=""):
        with open(job.settings["journal"], "ab", buffering=0) as file:
            file.write(b"%b %b\\n" % (job.handle.encode(), text.encode() or job.workload.replace(b" ", b"")))

    @function
    def note(job):
        begun(job)
        time.sleep(random.random() * job.settings["longest_s"])

    @function
    def sets(job):
        begun(job)
        time.sleep(random.random() / 100)

    @function
    def wait(job):
        begun(job)
        while not os.path.exists(job.settings["go_on"]):
            time.sleep(0.02)
        return "done"

    greenlet = function(name="greenlet")(lambda job: wait(job))

    @function
    async def doze(job):
        begun(job)
        while not os.path.exists(job.settings["go_on"]):
            await asyncio.sleep(0.02)
        return "done"

    @function
    def stopped(job):
        begun(job)
        try:
            time.sleep(60)
        finally:
            begun(job, "was stopped")
    """
CONFIG = """
run_dir: run
server:
  listen: 127.0.0.1:{port}
  store: '{store}'
{several}defaults:
  keep_result: 1h
  settings: {{journal: '{folder}/journal', go_on: '{folder}/go-on', longest_s: {longest_s}}}
pools:
  note: {{functions: [note], min: {noters}, max: {noters}}}
  sets: {{functions: [sets], min: 2, max: 2, prefetch: 8}}
  wait: {{functions: [wait, stopped], min: 3, max: 3}}
  greenlet: {{functions: [greenlet], min: 1, max: 1, concurrency: 4}}
  doze: {{functions: [doze], min: 1, max: 1, concurrency: 4}}
"""


SEVERAL = """\
  instances: 2
  cluster: {name: shop, lease: 1.5s}
"""


@pytest.fixture(params=["cluster", "sqlite", *(["postgresql"] if IN_HAND else [])])
def served(
    request: pytest.FixtureRequest, database_of: Callable[[str], StoreDatabase], manager: RunningManager
) -> Iterator[RunningManager]:
    """A running manager with two job servers on one database, or with one."""
    manager.write_module("jobs.py", MODULE)
    several = request.param == "cluster"
    store = database_of("postgresql" if several else request.param).url.replace("$", "$$")
    config = CONFIG.format(
        port=free_ports(2 if several else 1),
        store=store,
        several=SEVERAL if several else "",
        folder=manager.folder,
        noters=NOTERS,
        longest_s=LONGEST_S,
    )
    manager.config_file.write_text(config)
    (manager.folder / "journal").touch()
    manager.launch()
    eventually(manager.settled, "all workers registered")
    yield manager
    (manager.folder / "go-on").touch()
    assert manager.stop() == 0


def begun(manager: RunningManager) -> Counter[str]:
    """How often each job was begun: its handle and its workload, without blanks."""
    return Counter((manager.folder / "journal").read_text().splitlines())


def workloads(manager: RunningManager) -> set[str]:
    """The workloads of the jobs that were begun."""
    return {job.rpartition(" ")[2] for job in begun(manager)}


def workers(manager: RunningManager, pool: str) -> list[dict[str, Any]]:
    """The workers of a pool, as `status` shows them."""
    report = manager.try_status()
    assert report is not None
    found: list[dict[str, Any]] = report["pools"][pool]["workers"]
    return found


def kill(manager: RunningManager, server: str) -> None:
    """Kill this job server, and wait until another one runs in its place."""
    killed = processes(manager)[server]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: processes(manager).get(server, killed) != killed, "it is back")


def test_long_jobs_go_on_and_can_be_stopped_and_only_a_lost_worker_repeats_one(served: RunningManager) -> None:
    first, *others = processes(served)
    names = ["wait", "wait", "greenlet", "greenlet", "doze", "doze"]
    with Client([first]) as client:
        handles = [client.submit_background(name, f"{name} {number}") for number, name in enumerate(names)]
        stopped = client.submit_background("stopped", "stopped")
    eventually(lambda: len(begun(served)) == 7, "all run")
    kill(served, first)
    time.sleep(3)  # whatever is in doubt is decided
    with Client([*others, first]) as client:
        assert client.status(stopped).running
        client.stop(stopped)
        eventually(lambda: begun(served)[f"{stopped} was stopped"] == 1, "the job is stopped")
        (victim,) = [
            each for each in workers(served, "wait") if each["jobs"] and each["jobs"][0]["handle"] == handles[1]
        ]
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: begun(served)[f"{handles[1]} wait1"] == 2, "the lost worker's job runs again")
        (served.folder / "go-on").touch()
        assert [client.result(handle, timeout_s=20) for handle in handles] == [b"done"] * 6
    times = begun(served)
    assert {job for job, number in times.items() if number != 1} == {f"{handles[1]} wait1"}, served.log()


@pytest.mark.parametrize("served", ["cluster"], indirect=True)
def test_jobs_of_a_server_that_stands_still_go_on_and_run_once(served: RunningManager) -> None:
    first, second = processes(served)
    still = processes(served)[first]
    with Client([first]) as client:
        handles = [client.submit_background(name, name) for name in ("wait", "greenlet", "doze")]
    eventually(lambda: len(begun(served)) == 3, "all run")
    os.kill(still, signal.SIGSTOP)
    try:
        eventually(lambda: running(second) == 3, "the other one has them")
        time.sleep(2)  # whatever is in doubt is decided
    finally:
        os.kill(still, signal.SIGCONT)
    eventually(lambda: "comes back as a new one" in served.log(), "it is back")
    (served.folder / "go-on").touch()
    with Client([second, first]) as client:
        assert [client.result(handle, timeout_s=20) for handle in handles] == [b"done"] * 3
    assert set(begun(served).values()) == {1}, served.log()


class Load:
    """Submits numbered jobs without a pause, to both servers; those in `accepted` were acknowledged."""

    def __init__(self, servers: list[str]) -> None:
        self._over = threading.Event()
        self._servers = servers
        self.accepted: set[str] = set()
        self._threads = [threading.Thread(target=self._submit, args=(function,)) for function in ("note", "sets")]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _submit(self, function: str) -> None:
        number = 0
        clients = [Client([server], timeout_s=5) for server in self._servers]
        while not self._over.wait(0.1):
            workloads = [f"{function}{each}" for each in range(number, number + BURST)]
            number += BURST
            with suppress(GearmanError):  # its server is down, or was killed before it answered
                random.choice(clients).submit_background_many(function, workloads)
                self.accepted.update(workloads)
        for client in clients:
            client.close()


def running(server: str) -> int:
    """How many jobs of this server workers have."""
    with connect_admin(server) as admin:
        return sum(function.running for function in admin.status())


def test_no_job_runs_twice_because_its_server_was_killed(served: RunningManager) -> None:
    servers = list(processes(served))
    in_hand = kills = 0
    with Load(servers) as load:
        while kills < KILLS or in_hand < max(1, IN_HAND):
            accepted = len(load.accepted)
            eventually(lambda: len(load.accepted) > accepted + 100, "jobs are accepted")  # noqa: B023
            victim = random.choice(servers)
            in_hand += running(victim)
            kills += 1
            kill(served, victim)
    eventually(lambda: workloads(served) >= load.accepted, "every accepted job has run", 60)
    time.sleep(2)  # time for a second run
    twice = [job for job, times in begun(served).items() if times > 1]
    print(f"{kills} kills, {in_hand} jobs in hand, {len(load.accepted)} jobs, {len(twice)} twice: {twice}")
    assert twice == [], served.log()
