"""Other people's TLS: gear, from PyPI, as client and as worker, each with a certificate of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event

import gear
import pytest
from gear import Packet

from ..certificates import Certificates
from .server_process import ServerProcess

DEADLINE_S = 20
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gear")


class Client(gear.Client):
    """Reports the end of a job."""

    def __init__(self) -> None:
        super().__init__("client")
        self.ended = Event()

    def handleWorkComplete(self, packet: Packet) -> None:  # noqa: N802 (gear's name)
        super().handleWorkComplete(packet)
        self.ended.set()


@pytest.fixture
def connected(
    start_server: Callable[..., ServerProcess], tls_options: list[str], certificates: Certificates
) -> Iterator[tuple[Client, gear.Worker]]:
    """Both are connected to a server that verifies them; they verify it."""
    server = start_server("--ssl", *tls_options, "--ssl-ca-file", str(certificates.ca), "--ssl-verify")
    own = (str(certificates.key(certificates.client)), str(certificates.client), str(certificates.ca))
    with ExitStack() as stack:
        pair = Client(), gear.Worker("worker")
        for peer in pair:
            stack.callback(peer.shutdown)
            peer.addServer("localhost", server.port, *own)
            peer.waitForServer(DEADLINE_S)
        yield pair


def test_a_job_of_two_megabytes_travels_between_peers_of_gear(connected: tuple[Client, gear.Worker]) -> None:
    client, worker = connected
    worker.registerFunction("reverse")
    workload = bytes(range(256)) * 8192
    submitted = gear.Job("reverse", workload)
    client.submitJob(submitted)
    job = worker.getJob()
    job.sendWorkComplete(job.arguments[::-1])
    assert client.ended.wait(DEADLINE_S)
    assert b"".join(submitted.data) == workload[::-1]
