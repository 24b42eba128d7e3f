"""The messages to a service manager, on a real notification socket, and the sockets that it passes to us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_process.service_manager import ServiceManager

DEADLINE_S = 20


class Told:
    """The systemd side of the socket, and the problems that were reported while messages were sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.unheard: list[tuple[str, str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(DEADLINE_S)

    def manager(self, **environ: str) -> ServiceManager:
        return ServiceManager(
            {"NOTIFY_SOCKET": self.address, **environ}, lambda state, reason: self.unheard.append((state, reason))
        )


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@gearman-process-test-{os.getpid()}"
    listening = Told(address)
    yield listening
    listening.socket.close()


def test_assignments_arrive_in_one_message(told: Told) -> None:
    manager = told.manager()
    assert manager.is_listening
    manager.tell(READY=1, STATUS="2 workers: all \udcff idle")
    assert told.socket.recv(1000).decode() == "READY=1\nSTATUS=2 workers: all \\udcff idle"
    before_us = time.monotonic_ns() // 1000
    manager.tell_reloading()
    reloading, moment = told.socket.recv(1000).decode().split("\n")
    assert reloading == "RELOADING=1"
    assert before_us <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert told.unheard == []


def test_a_service_manager_that_has_gone_is_reported_and_is_no_error(told: Told) -> None:
    manager = told.manager()
    told.socket.close()
    Path(told.address).unlink(missing_ok=True)
    manager.tell(READY=1, STATUS="up")
    [(state, reason)] = told.unheard
    assert state == "READY=1"
    assert reason in ("No such file or directory", "Connection refused")


def test_without_a_notification_socket_nothing_is_sent() -> None:
    manager = ServiceManager({}, lambda *said: pytest.fail(f"said {said}"))
    assert not manager.is_listening
    assert manager.patience_s is None
    manager.tell(READY=1)


def test_its_variables_are_removed_from_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environ, lambda *_: None)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "patience_s"),
    [
        ({"WATCHDOG_USEC": "400000"}, 0.4),
        ({"WATCHDOG_USEC": "400000", "WATCHDOG_PID": str(os.getpid())}, 0.4),
        ({"WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_on_only_when_its_variables_name_this_process(
    environ: dict[str, str], patience_s: float | None
) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/nowhere", **environ}, lambda *_: None).patience_s == patience_s


ACTIVATED = """
import os, sys
from gearman_process.activation import inherited_sockets
from gearman_process.errors import SocketError
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID", str(os.getpid()))
try:
    found = inherited_sockets(os.environ)
except SocketError as error:
    sys.exit(str(error))
print([(name, one.getsockname()[1], os.get_inheritable(one.fileno())) for name, one in found])
print([name for name in os.environ if name.startswith("LISTEN")])
"""


def activated(*handed_over: socket.socket, **environ: str) -> subprocess.CompletedProcess[str]:
    """A process with these sockets as its descriptors from 3 on."""
    numbers = [one.fileno() for one in handed_over]
    moves = "".join(f"os.dup2(os.dup({number}), {300 + index})\n" for index, number in enumerate(numbers))
    moves += "".join(f"os.dup2({300 + index}, {3 + index})\n" for index in range(len(numbers)))
    command = [sys.executable, "-c", f"import os\n{moves}{ACTIVATED}"]
    environment = {**os.environ, "LISTEN_FDS": str(len(numbers)), **environ}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, pass_fds=numbers, env=environment
    )


def test_sockets_come_with_their_names_and_are_not_inherited_further() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ran = activated(one, two, LISTEN_FDNAMES="metrics")
        ports = one.getsockname()[1], two.getsockname()[1]
    assert ran.stdout == f"[('metrics', {ports[0]}, False), ('', {ports[1]}, False)]\n[]\n", ran.stderr


def test_sockets_for_another_process_are_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert activated(one, LISTEN_PID="1").stdout == "[]\n[]\n"


def test_a_socket_that_is_no_listening_stream_socket_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        ran = activated(datagrams)
    assert ran.stderr == "LISTEN_FDS: descriptor 3 is no listening stream socket; use ListenStream=\n"


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    ran = activated(LISTEN_FDS="1000")
    assert ran.returncode == 1
    assert ran.stderr.startswith("LISTEN_FDS: descriptor 3 is no socket: ")
