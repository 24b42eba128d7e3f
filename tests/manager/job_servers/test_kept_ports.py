"""Which ports are kept between two processes of a bundled job server, and what a connection meets meanwhile."""

from __future__ import annotations

import os
import socket

import pytest

from gearman_manager.config.server_keys import Server
from gearman_manager.job_servers.kept_ports import KeptPorts


def ports_of(**section: object) -> KeptPorts:
    return KeptPorts(Server.model_validate({"listen": "127.0.0.1:4730", **section}))


def listening() -> tuple[int, tuple[str, int]]:
    """The descriptor of a listening socket, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return os.dup(server.fileno()), server.getsockname()


def test_the_port_of_a_single_server_is_kept_for_its_next_process() -> None:
    ports = ports_of()
    descriptor, address = listening()
    ports.keep(["jobs"], [descriptor])
    assert ports.options == ["--listening-fd", f"jobs={descriptor}"]
    assert ports.descriptors == [descriptor]
    assert not os.get_inheritable(descriptor)
    socket.create_connection(address).close()
    ports.release()
    assert ports.options == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize(
    "section",
    [{"instances": 2}, {"store": "postgresql+psycopg://queue", "cluster": {"name": "shop"}}],
    ids=["of several", "of a cluster"],
)
def test_the_port_of_a_server_with_others_refuses_once_it_is_gone(section: dict[str, object]) -> None:
    ports = ports_of(**section)
    descriptor, address = listening()
    ports.keep(["jobs"], [descriptor])
    assert ports.descriptors == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_no_port_is_kept_if_one_of_them_was_lost_on_the_way() -> None:
    ports = ports_of()
    descriptor, address = listening()
    ports.keep(["jobs", "jobs"], [descriptor])
    assert ports.options == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
