"""One peer with much work for the server stops nobody, and costs no more memory than its own bound."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from ..stream_peer import DEADLINE_S, StreamPeer

FUNCTIONS = 10_000
#: Requests of another connection that are answered meanwhile, at least. If a whole read were carried out in one pass,
#: it would be one for each read.
OTHERS = 20
RSS_BYTES = 64_000_000


def resident_bytes(server: ServerProcess) -> int:
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.fixture
def crowded(server: ServerProcess) -> ServerProcess:
    """A server with a worker of very many functions."""
    worker = server.peer()
    worker.socket.sendall(b"".join(encode_request(PacketType.CAN_DO, b"f%d" % n) for n in range(FUNCTIONS)))
    worker.sync()
    return server


def read_tables(peer: StreamPeer, count: int) -> None:
    tail = b"\n"
    while count > 0:
        data = tail + peer.socket.recv(1 << 20)
        assert data != tail
        count -= data.count(b"\n.\n")
        tail = data[-2:]


def echoes_while(server: ServerProcess, work: Callable[[], None]) -> int:
    """How many requests another connection has answered, one after another, while `work` is done."""
    other, is_over = server.peer(), threading.Event()

    def do() -> None:
        try:
            work()
        finally:
            is_over.set()

    thread = threading.Thread(target=do)
    thread.start()
    count = 0
    while not is_over.is_set():
        other.sync()
        count += 1
    thread.join()
    return count


@pytest.mark.parametrize("command", [b"status\n", b"prioritystatus\n", b"workers\n"])
def test_others_are_answered_while_one_peer_reads_long_tables(crowded: ServerProcess, command: bytes) -> None:
    peer = crowded.peer()

    def flood() -> None:
        peer.socket.sendall(command * 50)
        read_tables(peer, 50)

    assert echoes_while(crowded, flood) >= OTHERS


def test_others_are_answered_while_the_metrics_of_very_many_functions_are_read(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--metrics-listen", "127.0.0.1:0")
    port = int(server.announced["metrics"][0].rpartition(":")[2])
    client = server.peer()
    for number in range(2000):
        assert client.ask(PacketType.SUBMIT_JOB_BG, b"f%d" % number, b"", b"w")[0] == PacketType.JOB_CREATED
    texts: list[str] = []

    def scrape() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as answer:
            texts.append(answer.read().decode())

    assert echoes_while(server, scrape) >= OTHERS
    families = {family.name: family for family in text_string_to_metric_families(texts[0])}
    assert len(families) == texts[0].count("# TYPE ")
    submitted = {sample.labels["function"] for sample in families["gearman_jobs_submitted"].samples}
    assert submitted == {f"f{number}" for number in range(2000)}
    assert len(families["gearman_job_waited_seconds"].samples) > 2000
    assert families["gearman_connections"].samples[0].value >= 1


def test_peers_that_do_not_read_their_tables_cost_little_memory(crowded: ServerProcess) -> None:
    before = resident_bytes(crowded)
    peers = [crowded.peer() for _ in range(15)]
    for peer in peers:
        peer.socket.sendall(b"status\n" * 30)
    other = crowded.peer()
    for _ in range(300):  # by then every peer has had its turns
        other.sync()
    assert resident_bytes(crowded) - before < RSS_BYTES
    read_tables(peers[0], 30)  # and they still get everything


def test_very_many_lines_in_one_write_are_all_answered_in_order(server: ServerProcess) -> None:
    peer = server.peer()
    answer = peer.text(b"version")
    peer.socket.sendall(b"version\n" * 2000 + encode_request(PacketType.ECHO_REQ, b"x") + b"version\n" * 2000)
    peer.socket.sendall(b"\0bad" + b"x" * 20)
    told = peer.read_to_end()
    assert told.startswith(answer * 2000 + b"\0RES\0\0\0\x11\0\0\0\x01x" + answer * 2000 + b"\0RES\0\0\0\x13")


def test_answers_that_nobody_reads_cost_little_memory_and_are_all_there_later(server: ServerProcess) -> None:
    before, count = resident_bytes(server), 150
    peer, body = server.peer(), bytes(1_000_000)

    def send() -> None:
        for _ in range(count):
            peer.send(PacketType.ECHO_REQ, body)

    sender = threading.Thread(target=send)
    sender.start()
    other, seen = server.peer(), 0
    for _ in range(500):
        other.sync()
        seen = max(seen, resident_bytes(server) - before)
    for _ in range(count):
        assert peer.receive() == (PacketType.ECHO_RES, body)
    sender.join()
    peer.sync()
    assert seen < RSS_BYTES


@pytest.mark.parametrize(
    "requests",
    [
        encode_request(PacketType.GET_STATUS, b"H:x:1") * 128,
        b"jobs list function=none\n" * 2,
        encode_request(PacketType.OPTION_REQ, b"exceptions") * 100 + b"jobs list function=none\n",
    ],
    ids=["packets", "lines", "both"],
)
def test_others_are_answered_while_a_crowd_asks_for_much(server: ServerProcess, requests: bytes) -> None:
    client = server.peer()
    client.socket.sendall(encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w") * 4000)
    for _ in range(4000):
        client.receive()
    other, crowd = server.peer(), [server.peer() for _ in range(400)]
    other.sync()
    server.signal(signal.SIGSTOP)  # so that all of it is there at once
    for peer in crowd:
        peer.socket.sendall(requests)
    other.send(PacketType.ECHO_REQ, b"x")
    server.signal(signal.SIGCONT)
    for _ in range(2):  # one pass for each, at least
        assert other.receive() == (PacketType.ECHO_RES, b"x")
        other.send(PacketType.ECHO_REQ, b"x")
    waiting = select.select([peer.socket for peer in crowd], [], [], 0)[0]
    assert len(waiting) < len(crowd)  # the second answer did not wait for all of the crowd
    for peer in crowd:
        assert peer.socket.recv(1)


def client_hello() -> bytes:
    """The first message of a TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def test_others_are_answered_between_the_handshakes_of_very_many_peers(
    start_server: Callable[..., ServerProcess], tls_options: list[str]
) -> None:
    server = start_server("--ssl-port", "0", *tls_options)
    port = int(server.announced["tls"][0].rpartition(":")[2])
    other, hello = server.peer(), client_hello()
    other.sync()
    peers = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) for _ in range(300)]
    server.signal(signal.SIGSTOP)  # so that all messages are there at once
    for peer in peers:
        peer.sendall(hello)
    other.send(PacketType.ECHO_REQ, b"x")
    server.signal(signal.SIGCONT)
    assert other.receive() == (PacketType.ECHO_RES, b"x")
    waiting = select.select(peers, [], [], 0)[0]
    assert len(waiting) < len(peers)  # the answer did not wait for all handshakes
    for peer in peers:
        assert peer.recv(1)
        peer.close()
