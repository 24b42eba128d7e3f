"""The bundled job server for the supervisor: its ports, and its messages when it can't start."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client import Address
from gearman_manager.config import Server
from gearman_manager.host.process import describe_status
from gearman_manager.job_servers.bundled import BundledServer
from gearman_manager.job_servers.bundled_process import ServerCanNotStart, ServerOptions, StartFailure
from gearman_manager.job_servers.policies_file import write_policies
from gearman_server import errors

LOCALHOST = "127.0.0.1"


def test_manager_and_server_use_the_same_words_for_a_failure() -> None:
    assert {failure.name: failure.value for failure in StartFailure} == {
        failure.name: failure.value for failure in errors.StartFailure
    }


@pytest.fixture
def bundled(tmp_path: Path) -> Iterator[Callable[..., BundledServer]]:
    """Makes servers that are stopped at the end."""
    servers: list[BundledServer] = []

    def make(**section: object) -> BundledServer:
        policies = tmp_path / "policies.yaml"
        write_policies(policies, {}, {})
        settings = Server.model_validate({"listen": f"{LOCALHOST}:0", **section})
        servers.append(BundledServer(ServerOptions(settings, "NOTICE", policies), lambda: None, describe_status))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def test_after_the_start_the_real_port_is_known(bundled: Callable[..., BundledServer]) -> None:
    server = bundled()
    server.start()
    assert server.pid is not None
    with socket.create_connection((LOCALHOST, server.listens.jobs[0].port)):
        pass


def test_a_taken_port_is_reported_with_the_option_that_chooses_another(bundled: Callable[..., BundledServer]) -> None:
    with socket.create_server((LOCALHOST, 0)) as taken:
        address = Address(LOCALHOST, taken.getsockname()[1])
        with pytest.raises(
            ServerCanNotStart, match=f"^port {address.port} on {LOCALHOST} is taken by [^;]*$"
        ) as caught:
            bundled(metrics_listen=str(address)).start()
    assert caught.value.failure is StartFailure.ADDRESS_TAKEN
    assert caught.value.option.startswith("--metrics-listen")


@pytest.mark.parametrize(
    ("section", "failure"),
    [
        ({"listen": "192.0.2.1:4730"}, StartFailure.CANT_LISTEN),
        ({"store": "sqlite:////dev/null/jobs.db"}, StartFailure.STORE),
    ],
)
def test_the_reason_of_a_failed_start_comes_as_a_code(
    bundled: Callable[..., BundledServer], section: dict[str, str], failure: StartFailure
) -> None:
    with pytest.raises(ServerCanNotStart) as caught:
        bundled(**section).start()
    assert caught.value.failure is failure


def test_an_unexpected_message_of_the_server_is_quoted(tmp_path: Path, bundled: Callable[..., BundledServer]) -> None:
    server = bundled()
    (tmp_path / "policies.yaml").write_text("no: such key")
    with pytest.raises(ServerCanNotStart, match="policies") as caught:
        server.start()
    assert caught.value.failure is StartFailure.OTHER
