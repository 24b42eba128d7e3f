"""A commit whose answer is lost, and then attempts that fail for sure: what became of the first is still unknown."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from sqlalchemy import make_url

from gearman_client.packet import PacketType

from ..stores.proxy import Proxy
from .conftest import Cluster

INSERT = b"INSERT INTO gearman_jobs"


class Forgetful(Proxy):
    """Loses the answer to the next commit of a job, and then each connection that would insert it again."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.is_lossy = False
        self.has_lost = threading.Event()
        self._answerless: set[socket.socket] = set()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        is_client = self._sockets.index(source) % 2 == 0
        has_inserted = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and self.is_lossy:
                    has_inserted |= INSERT in data
                    if INSERT in data and self.has_lost.is_set():
                        break
                    if b"COMMIT" in data and has_inserted:
                        self._answerless.add(sink)
                if source in self._answerless:
                    self.has_lost.set()
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("cluster", ["postgresql", "mysql"], indirect=True)
def test_a_job_that_may_be_stored_is_not_refused_because_later_attempts_fail_for_sure(cluster: Cluster) -> None:
    url = make_url(cluster.database.url)
    assert url.port is not None
    proxy = Forgetful(url.port)
    server = cluster.start(url=url.set(port=proxy.port).render_as_string(hide_password=False))
    client = server.peer()
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"before")[0] == PacketType.JOB_CREATED
    proxy.is_lossy = True
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert proxy.has_lost.wait(10)
    assert len(cluster.database.rows("id")) == 2
    server.wait_for_log(" fails: ")
    proxy.is_lossy = False
    assert client.receive()[0] == PacketType.JOB_CREATED
    assert len(cluster.database.rows("id")) == 2
    proxy.close()
