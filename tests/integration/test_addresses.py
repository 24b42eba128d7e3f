"""A bundled job server that listens on several addresses."""

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
    """A second address of this machine, with a free port."""
    with socket.create_server(("127.0.0.2", 0)) as probe:
        return f"127.0.0.2:{probe.getsockname()[1]}"


@pytest.fixture
def reachable_twice(napping: RunningManager, second: str) -> RunningManager:
    """A running manager whose job server also listens on the second address."""
    napping.config_file.write_text(CONFIG.format(second=second))
    napping.launch()
    eventually(napping.settled, "all workers registered")
    (napping.address,) = napping.status()["servers"]
    return napping


def nap_at(address: str) -> str:
    with Client([address]) as client:
        return client.submit("nap", "0").decode()


def test_clients_reach_the_server_at_each_address_and_the_workers_use_the_first(
    reachable_twice: RunningManager, second: str
) -> None:
    (worker,) = reachable_twice.workers("nap")
    assert reachable_twice.address.startswith("127.0.0.1:")
    assert nap_at(reachable_twice.address) == nap_at(second) == str(worker["pid"])
    assert f"job server on {reachable_twice.address}, {second}\n" in reachable_twice.log()


def test_a_restarted_job_server_listens_on_the_same_addresses(reachable_twice: RunningManager, second: str) -> None:
    os.kill(reachable_twice.pid_of("gearman-server"), signal.SIGKILL)
    eventually(lambda: reachable_twice.log().count(" listens on ") == 2, "it is back")
    assert nap_at(reachable_twice.address) == nap_at(second)


def test_a_taken_address_ends_the_start_and_the_message_names_its_line_of_the_file(napping: RunningManager) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        napping.config_file.write_text(CONFIG.format(second=f"127.0.0.2:{port}"))
        refused = napping.command(check=False)
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert f"port {port} on 127.0.0.2 is taken by" in last
    assert "config.yaml:3: server.listen" in last


def test_the_second_address_is_recognised_as_our_own_job_server(napping: RunningManager, second: str) -> None:
    napping.config_file.write_text(CONFIG.format(second=second) + f"servers: [{second}]\n")
    checked = napping.command("check")
    assert checked.stderr == ""
    napping.launch()
    eventually(napping.settled, "the workers use that one")
    assert list(napping.status()["servers"]) == [second]
