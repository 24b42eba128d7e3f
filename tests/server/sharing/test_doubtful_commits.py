"""A commit whose answer is lost, and then attempts that fail for sure: what became of the first is still unknown."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gearman_client.packet import PacketType

from ..stores.proxy import Proxy
from .conftest import Cluster

INSERT = b"INSERT INTO gearman_jobs"


class Forgetful(Proxy):
    """Loses the answer to the next commit of a statement, and then each connection that would repeat it."""

    def __init__(self, port: int, statement: bytes = INSERT) -> None:
        super().__init__(port)
        self._statement = statement
        self.is_lossy = False
        self.has_lost = threading.Event()
        self._answerless: set[socket.socket] = set()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        is_client = self._sockets.index(source) % 2 == 0
        has_begun = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client and self.is_lossy:
                    has_begun |= self._statement in data
                    if self._statement in data and self.has_lost.is_set():
                        break
                    if b"COMMIT" in data and has_begun:
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


@pytest.mark.parametrize("cluster", ["postgresql", "mysql"], indirect=True)
def test_the_log_names_who_paused_a_schedule_also_if_the_answer_to_the_commit_is_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text('schedules: {yearly: {cron: "0 0 1 1 *", function: f}}')
    url = make_url(cluster.database.url)
    assert url.port is not None
    proxy = Forgetful(url.port, b"UPDATE gearman_schedules")
    through = url.set(port=proxy.port).render_as_string(hide_password=False)
    server = cluster.start("--policies", str(policies), url=through)
    assert server.text(b"schedules list").startswith(b"yearly\t")
    for word, told in ((b"pause", "has paused"), (b"resume", "has resumed")):
        proxy.has_lost.clear()
        proxy.is_lossy = True
        operator = server.peer()
        operator.socket.sendall(b"schedules %s yearly\n" % word)
        assert proxy.has_lost.wait(10)
        proxy.is_lossy = False
        operator.socket.makefile("rb").readline()
        assert server.text(b"schedules %s yearly" % word) == b"OK\r\n"  # once it is written, which changes nothing
        assert f":{operator.socket.getsockname()[1]}: {told}" in server.wait_for_log(f"{told} schedule yearly")
    assert not [line for line in server.passed if " schedule yearly" in line]
    proxy.close()
