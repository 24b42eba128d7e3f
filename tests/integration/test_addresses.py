"""A job server of the manager's that listens on several addresses."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from gearman_client import Client

from .conftest import RunningManager, eventually

CONFIG = (
    "run_dir: run\nserver:\n  listen:\n  - 127.0.0.1:0\n  - {second}\npools: {{nap: {{functions: [nap], max: 1}}}}\n"
)


@pytest.fixture
def second() -> str:
    """A second address of this machine with a port that is free."""
    with socket.create_server(("127.0.0.2", 0)) as probe:
        return f"127.0.0.2:{probe.getsockname()[1]}"


@pytest.fixture
def reachable_twice(napping: RunningManager, second: str) -> RunningManager:
    """A running manager whose job server listens there too."""
    napping.config_file.write_text(CONFIG.format(second=second))
    napping.launch()
    eventually(napping.settled, "all workers registered")
    (napping.address,) = napping.status()["servers"]
    return napping


def nap_at(address: str) -> str:
    with Client([address]) as client:
        return client.submit("nap", "0").decode()


def test_clients_reach_it_under_each_and_the_workers_use_the_first(
    reachable_twice: RunningManager, second: str
) -> None:
    (worker,) = reachable_twice.workers("nap")
    assert reachable_twice.address.startswith("127.0.0.1:")
    assert nap_at(reachable_twice.address) == nap_at(second) == str(worker["pid"])
    assert f"job server on {reachable_twice.address}, {second}\n" in reachable_twice.log()


def test_a_job_server_that_is_started_again_is_reached_under_the_same(
    reachable_twice: RunningManager, second: str
) -> None:
    os.kill(reachable_twice.pid_of("gearman-server"), signal.SIGKILL)
    eventually(lambda: reachable_twice.log().count(" listens on ") == 2, "it is back")
    assert nap_at(reachable_twice.address) == nap_at(second)


def test_one_that_is_taken_ends_the_start_and_says_where_it_is_written(napping: RunningManager) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        napping.config_file.write_text(CONFIG.format(second=f"127.0.0.2:{port}"))
        refused = napping.command(check=False)
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert f"port {port} on 127.0.0.2 is taken by" in last
    assert "config.yaml:3: server.listen" in last


def test_the_second_one_is_not_taken_for_a_job_server_of_others(napping: RunningManager, second: str) -> None:
    napping.config_file.write_text(CONFIG.format(second=second) + f"servers: [{second}]\n")
    checked = napping.command("check")
    assert checked.stderr == ""
    napping.launch()
    eventually(napping.settled, "the workers use that one")
    assert list(napping.status()["servers"]) == [second]
