"""The metrics port of the bundled job server: metrics, health, and results over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.request

import pytest

from .conftest import RunningManager, eventually

CONFIG = (
    "run_dir: run\n"
    "server:\n"
    "  listen: 127.0.0.1:0\n"
    "  metrics_listen: {metrics}\n"
    "pools: {{nap: {{functions: [nap], min: 1, max: 1}}}}\n"
    "functions: {{nap: {{keep_result: 1h}}}}\n"
)


@pytest.fixture
def measured(napping: RunningManager) -> RunningManager:
    """A running manager whose job server has a metrics port and keeps the results of `nap`."""
    napping.config_file.write_text(CONFIG.format(metrics="127.0.0.1:0"))
    napping.launch()
    eventually(napping.settled, "all workers registered")
    (napping.address,) = napping.status()["servers"]
    return napping


def get(manager: RunningManager, path: str) -> tuple[int, str]:
    """The answer of the metrics port; its address is in the log."""
    named = re.search(r"job server on \S+, metrics on (127\.0\.0\.1:\d+)", manager.log())
    assert named is not None
    with urllib.request.urlopen(f"http://{named[1]}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_metrics_health_and_results_are_served(measured: RunningManager) -> None:
    with measured.client() as client:
        handle = client.submit_background("nap", "0")
        worker = client.result(handle).decode()
    status, metrics = get(measured, "/metrics")
    assert status == 200
    assert '\ngearman_jobs_completed_total{function="nap",priority="normal"} 1.0\n' in metrics
    assert '\ngearman_workers{function="nap"} 1.0\n' in metrics
    assert get(measured, "/healthz") == (200, "ok\n")
    status, page = get(measured, f"/jobs/{handle}")
    assert (status, json.loads(page)["result"]) == (200, worker)


def test_the_port_stays_the_same_when_the_job_server_is_restarted(measured: RunningManager) -> None:
    killed = measured.pid_of("gearman-server")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(re.findall(r"gearman-server \S+ listens on", measured.log())) == 2, "it is back")
    assert get(measured, "/healthz") == (200, "ok\n")
    assert measured.pid_of("gearman-server") != killed


def test_a_taken_port_ends_the_start_and_the_message_names_its_line_of_the_file(napping: RunningManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        napping.config_file.write_text(CONFIG.format(metrics=port))
        refused = napping.command(check=False)
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert f"port {port} on 127.0.0.1 is taken by" in last
    assert "config.yaml:4: server.metrics_listen" in last
    assert "server.listen" not in last


def test_the_message_for_an_address_of_another_machine_names_its_key(napping: RunningManager) -> None:
    napping.config_file.write_text(CONFIG.format(metrics="192.0.2.1:4732"))
    refused = napping.command(check=False)
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert "can't listen on 192.0.2.1" in last
    assert "config.yaml:4: server.metrics_listen" in last


def test_a_changed_metrics_address_takes_effect_at_the_next_start(measured: RunningManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        other = probe.getsockname()[1]
    measured.config_file.write_text(CONFIG.format(metrics=other))
    measured.command("reload")
    eventually(lambda: "the section `server` changed: restart the manager" in measured.log(), "the warning")
    assert get(measured, "/healthz") == (200, "ok\n")
