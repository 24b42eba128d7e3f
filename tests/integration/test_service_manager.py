"""The messages to a service manager such as systemd, on a real notification socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import RunningManager, eventually

WATCHDOG_S = 0.6


class ServiceManager:
    """The systemd side of the socket: receives messages, each as a mapping of its assignments."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(30)
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}

    def hear(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def hear_but(self, *ignored: str) -> dict[str, str]:
        """The next message that is about something else."""
        while True:
            message = self.hear()
            if not message.keys() <= set(ignored):
                return message

    def hear_nothing_for(self, duration_s: float) -> bool:
        """Whether no message comes for this long."""
        self.socket.settimeout(duration_s)
        try:
            self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(30)
        return False


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """A service manager that listens at a path."""
    told = ServiceManager(str(tmp_path / "notify"))
    yield told
    told.socket.close()


def test_it_gets_messages_about_the_workers_the_loop_a_reload_and_the_end(
    napping: RunningManager, service_manager: ServiceManager
) -> None:
    napping.environment = service_manager.environment
    napping.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\npools: {nap: {min: 2, max: 2}}\n")
    napping.launch()
    assert napping.process is not None
    ready = service_manager.hear_but("WATCHDOG")
    assert ready == {"READY": "1", "STATUS": "2 workers in 1 pool, 0 busy"}
    assert [worker["state"] for worker in napping.workers("nap")] == ["idle", "idle"]
    assert service_manager.hear() == {"WATCHDOG": "1"}
    for child in psutil.Process(napping.process.pid).children(recursive=True):
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert not re.search(rb"NOTIFY_SOCKET|WATCHDOG", environment), "it could speak in the manager's name"

    before_us = time.monotonic_ns() // 1000
    napping.process.send_signal(signal.SIGHUP)
    reloading = service_manager.hear_but("WATCHDOG")
    assert reloading["RELOADING"] == "1"
    assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert service_manager.hear_but("WATCHDOG") == {"READY": "1"}

    napping.process.send_signal(signal.SIGSTOP)  # a loop that hangs
    while not service_manager.hear_nothing_for(WATCHDOG_S):
        pass
    napping.process.send_signal(signal.SIGCONT)
    assert service_manager.hear() == {"WATCHDOG": "1"}

    napping.process.send_signal(signal.SIGTERM)
    stopping = service_manager.hear_but("WATCHDOG")
    assert stopping["STOPPING"] == "1"
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 30_000_000  # the pool's stop_timeout, and some time for the rest
    assert napping.process.wait(30) == 0


def test_a_failing_pool_is_not_waited_for_and_the_status_names_it(napping: RunningManager) -> None:
    """The messages go to an abstract address, which has no file."""
    service_manager = ServiceManager(f"@gearman-manager-test-{os.getpid()}")
    napping.environment = {"NOTIFY_SOCKET": service_manager.environment["NOTIFY_SOCKET"]}
    napping.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0}\npools: {nap: {min: 1}, bad: {command: /bin/false, min: 1}}\n"
    )
    napping.launch()
    ready = service_manager.hear()
    assert ready["READY"] == "1"
    eventually(lambda: napping.status()["pools"]["bad"]["failing"], "the pool is failing")
    while "failing: bad" not in ready["STATUS"]:
        ready |= service_manager.hear()  # a later message with the change
    assert "1 worker in 2 pools" in ready["STATUS"]
    service_manager.socket.close()
