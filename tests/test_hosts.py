"""Hosts of a test can be cut off, in both ways that there are."""

from __future__ import annotations

import socket
import threading

import pytest

from .hosts import Maker, hosts, loopback_hosts


@pytest.mark.parametrize("make", [hosts, loopback_hosts])
def test_what_is_cut_off_hears_nothing_and_has_all_once_it_is_healed(make: Maker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database, make(2, database.getsockname()[1]) as (one, other):
        for host in (one, other):
            with host.entered():
                address, port = host.options[1], int(host.options[3])
                listening = socket.create_server((address, port))
            threading.Thread(target=_echo, args=(listening,), daemon=True).start()
        with one.connect() as cut, other.connect() as whole:
            for connection in (cut, whole):
                assert _answer(connection) == b"x"
            one.cut("workers", "database")
            assert _answer(whole) == b"x"
            with pytest.raises(TimeoutError):
                _answer(cut, patience_s=0.1)
            one.heal()
            cut.settimeout(20)
            assert cut.recv(1) == b"x"


def _answer(connection: socket.socket, patience_s: float = 20.0) -> bytes:
    connection.settimeout(patience_s)
    connection.sendall(b"x")
    return connection.recv(1)


def _echo(listening: socket.socket) -> None:
    with listening, listening.accept()[0] as connection:
        while data := connection.recv(1):
            connection.sendall(data)
