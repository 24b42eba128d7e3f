"""TLS: on the job port or beside it, client certificates, handshakes that fail, certificates that are replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from ssl import TLSVersion

import gevent.socket
import pytest

from gearman_client.packet import PacketType, encode_request
from gearman_server import Server, ServerSettings
from gearman_server.edge.settings import ListenSettings, PortSettings, TlsSettings
from gearman_server.edge.tls import TlsContext, TlsStream

from ...certificates import Certificates
from ..key_updates import KeyUpdater
from ..server_process import ServerProcess
from ..stream_peer import StreamPeer

DEADLINE_S = 20
MIB = 1 << 20


def certificate_in_use(port: int) -> str:
    """The certificate that a new connection gets."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=DEADLINE_S)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_jobs_can_use_tls_on_the_main_port(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    connect_tls: Callable[..., StreamPeer],
    version: TLSVersion,
) -> None:
    server = start_server("--ssl", *tls_options)
    client, worker = connect_tls(server.port, version=version), connect_tls(server.port, version=version)
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, handle + b"\0f\0w")
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")


def test_a_plain_peer_of_a_tls_port_is_closed_and_others_are_served(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    server = start_server("--ssl", *tls_options, "-vv")
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as plain:
        plain.sendall(b"status\n")
        assert b"OK" not in plain.recv(100)
        assert "WRONG_VERSION_NUMBER" in server.wait_for_log("TLS handshake failed")
    assert connect_tls(server.port).text(b"getpid") == b"OK %d\n" % server.pid


def test_a_tls_port_can_be_opened_beside_the_plain_one(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    server = start_server("--ssl-port", "0", *tls_options)
    [address] = server.announced["tls"]
    assert connect_tls(int(address.rpartition(":")[2])).text(b"getpid") == server.text(b"getpid")


def test_a_unix_socket_stays_plain_when_the_port_speaks_tls(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    connect_unix: Callable[[str], StreamPeer],
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "socket")
    server = start_server("-L", "127.0.0.1", "-L", f"unix:{path}", "--ssl", *tls_options)
    assert connect_unix(path).text(b"getpid") == b"OK %d\n" % server.pid


def test_the_environment_wins_over_the_options(
    run_command: Callable[..., subprocess.CompletedProcess[str]], certificates: Certificates
) -> None:
    refused = run_command("-p", "0", "--ssl", "--ssl-certificate", "none", GEARMAND_SERVER_PEM=str(certificates.ca))
    assert f"--ssl-certificate {certificates.ca}" in refused.stderr


# --- client certificates


def test_a_verified_client_is_known_by_its_subject(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    certificates: Certificates,
    connect_tls: Callable[..., StreamPeer],
) -> None:
    server = start_server("--ssl", *tls_options, "--ssl-ca-file", str(certificates.ca), "--ssl-verify", "-vv")
    peer = connect_tls(server.port, certificate=certificates.client)
    assert peer.text(b"getpid") == b"OK %d\n" % server.pid


def test_the_subject_reaches_the_identity(certificates: Certificates) -> None:
    context = TlsContext(TlsSettings(*own(certificates), str(certificates.ca), True)).context
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = TlsStream(ours, context)
    client_context = ssl.create_default_context(cafile=str(certificates.ca))
    client_context.load_cert_chain(certificates.client, certificates.key(certificates.client))
    theirs.setblocking(False)
    client = client_context.wrap_socket(theirs, server_hostname="localhost", do_handshake_on_connect=False)
    is_complete = False
    while not is_complete:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        is_complete = stream.shake_hands()
    assert stream.subject == "O=Example,CN=worker 1"
    client.close()
    stream.close()


def own(certificates: Certificates) -> tuple[str, str]:
    """The server's certificate and key."""
    return str(certificates.server), str(certificates.key(certificates.server))


@pytest.mark.parametrize("shown", [None, "stranger"])
def test_ssl_verify_refuses_clients_without_a_certificate_of_the_ca(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    certificates: Certificates,
    connect_tls: Callable[..., StreamPeer],
    shown: str | None,
) -> None:
    server = start_server("--ssl", *tls_options, "--ssl-ca-file", str(certificates.ca), "--ssl-verify")
    certificate = getattr(certificates, shown) if shown else None
    # With TLS 1.3 the client learns of the refusal only at its first read after the handshake.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect_tls(server.port, certificate=certificate).receive()


def test_without_ssl_verify_a_client_needs_no_certificate(
    start_server: Callable[..., ServerProcess],
    tls_options: list[str],
    certificates: Certificates,
    connect_tls: Callable[..., StreamPeer],
) -> None:
    server = start_server("--ssl", *tls_options, "--ssl-ca-file", str(certificates.ca))
    assert connect_tls(server.port).text(b"getpid") == b"OK %d\n" % server.pid


# --- streams


def test_a_result_of_many_megabytes_crosses_tls_whole(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    result = os.urandom(MIB) * 24
    server = start_server("--ssl", *tls_options)
    client, worker = connect_tls(server.port), connect_tls(server.port)
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, handle, result)
    packet_type, body = client.receive()
    assert packet_type == PacketType.WORK_COMPLETE
    assert body == handle + b"\0" + result


def test_many_pipelined_requests_with_long_answers_cross_tls_in_order(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    server = start_server("--ssl", *tls_options)
    peer = connect_tls(server.port)
    peer.socket.sendall(b"".join(encode_request(PacketType.ECHO_REQ, b"%d " % n * 2000) for n in range(500)))
    for number in range(500):
        assert peer.receive() == (PacketType.ECHO_RES, b"%d " % number * 2000)


def test_a_reader_that_pauses_gets_everything_in_order(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    server = start_server("--ssl", *tls_options)
    reader, other = connect_tls(server.port), connect_tls(server.port)
    for number in range(40):
        reader.send(PacketType.ECHO_REQ, bytes([number]) * MIB)
        other.ask(PacketType.ECHO_REQ, b"others are served")
    for number in range(40):
        assert reader.receive() == (PacketType.ECHO_RES, bytes([number]) * MIB)


def test_a_request_sent_together_with_the_end_of_tls_is_answered_and_the_connection_closed(
    start_server: Callable[..., ServerProcess], tls_options: list[str], certificates: Certificates
) -> None:
    server = start_server("--ssl-port", "0", *tls_options)
    port = int(server.announced["tls"][0].rpartition(":")[2])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(certificates.ca))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as peer:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.sendall(outgoing.read())
                incoming.write(peer.recv(65536))
        # The end of the handshake, a request and the end of TLS in one write.
        tls.write(encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w"))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        peer.sendall(outgoing.read())
        while data := peer.recv(65536):
            incoming.write(data)
        assert b"\0RES\0\0\0\x08" in tls.read(1000)
    assert server.text(b"prioritystatus") == b"f\t0\t1\t0\t0\n.\n"


# --- handshakes that go wrong


def test_silent_and_garbled_handshakes_block_nobody(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    server = start_server("--ssl", *tls_options)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) for _ in range(50)]
    for stream in silent[:25]:
        stream.sendall(b"\x16\x03\x01\x02\x00\x01")  # the start of a hello that never goes on
    assert connect_tls(server.port).text(b"getpid") == b"OK %d\n" % server.pid
    for stream in silent:
        stream.close()


def test_a_handshake_that_never_ends_is_closed(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearman_server.edge.tls_handshake.HANDSHAKE_TIMEOUT_S", 0.05)
    jobs = ListenSettings(["127.0.0.1"], 0)
    with (
        Server(settings=ServerSettings(PortSettings(jobs), TlsSettings(*own(certificates)))) as server,
        gevent.socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as silent,
    ):
        assert silent.recv(1) == b""


def test_an_unfinished_handshake_does_not_keep_the_server_from_ending(
    start_server: Callable[..., ServerProcess], tls_options: list[str]
) -> None:
    server = start_server("--ssl", *tls_options)
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S):
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


# --- files


def test_sighup_reloads_the_certificates_and_keeps_the_old_ones_when_the_new_are_bad(
    start_server: Callable[..., ServerProcess], certificates: Certificates, tmp_path: Path
) -> None:
    live, key = tmp_path / "live.pem", tmp_path / "live.key"
    shutil.copy(certificates.server, live)
    shutil.copy(certificates.key(certificates.server), key)
    server = start_server("--ssl", "--ssl-certificate", str(live), "--ssl-key", str(key), "-v")
    assert certificate_in_use(server.port) == certificates.server.read_text()
    shutil.copy(certificates.stranger, live)
    server.signal(signal.SIGHUP)
    assert "KEY_VALUES_MISMATCH" in server.wait_for_log("old TLS certificates stay in use")
    assert certificate_in_use(server.port) == certificates.server.read_text()
    shutil.copy(certificates.key(certificates.stranger), key)
    server.signal(signal.SIGHUP)
    server.wait_for_log("were read again")
    assert certificate_in_use(server.port) == certificates.stranger.read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--ssl"], "--ssl-certificate /etc/ssl/certs/gearmand.pem can't be read: No such file"),
        (["--ssl", "--ssl-certificate", "/nonexistent.pem"], "--ssl-certificate /nonexistent.pem"),
        (["--ssl", "--ssl-certificate", "/dev/null"], "PEM"),
        (["--ssl", "--ssl-certificate", "SERVER", "--ssl-key", "/nonexistent.key"], "--ssl-key /nonexistent.key"),
        (["--ssl", "--ssl-certificate", "SERVER", "--ssl-key", "STRANGER"], "KEY_VALUES_MISMATCH"),
        (["--ssl", "--ssl-certificate", "SERVER", "--ssl-verify"], "--ssl-ca-file FILE"),
        (["--ssl-port", "0", "--ssl-certificate", "SERVER", "--ssl-ca-file", "/nonexistent"], "--ssl-ca-file"),
        (["--ssl-certificate", "SERVER"], "without --ssl"),
    ],
)
def test_certificates_that_cannot_be_used_give_one_line_and_exit_code_1(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    certificates: Certificates,
    options: list[str],
    named: str,
) -> None:
    files = {"SERVER": certificates.server, "STRANGER": certificates.key(certificates.stranger)}
    refused = run_command("-p", "0", *(str(files.get(option, option)) for option in options))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert named in refused.stderr


def test_a_key_with_a_password_is_refused_without_a_prompt(
    run_command: Callable[..., subprocess.CompletedProcess[str]], certificates: Certificates, tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.key"
    os.system(f"openssl ec -aes128 -passout pass:secret -in {own(certificates)[1]} -out {encrypted} 2>/dev/null")
    refused = run_command("-p", "0", "--ssl", "--ssl-certificate", own(certificates)[0], "--ssl-key", str(encrypted))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "without a password" in refused.stderr


@pytest.mark.parametrize("wants_answer", [False, True])
def test_a_peer_that_sends_nothing_but_key_updates_is_closed(
    start_server: Callable[..., ServerProcess], tls_options: list[str], wants_answer: bool
) -> None:
    server = start_server("--ssl", *tls_options, "-vv")
    flooder = KeyUpdater(socket.create_connection(("127.0.0.1", server.port)))
    try:
        assert not all(flooder.send(wants_answer=wants_answer) for _ in range(200_000))
    finally:
        flooder.close()
    assert "without any data" in server.wait_for_log("lost")


def test_a_large_request_may_come_in_the_smallest_of_records(
    start_server: Callable[..., ServerProcess], tls_options: list[str], connect_tls: Callable[..., StreamPeer]
) -> None:
    peer = connect_tls(start_server("--ssl", *tls_options).port)
    for byte in encode_request(PacketType.ECHO_REQ, b"x" * 5000):
        peer.socket.sendall(bytes([byte]))
    assert peer.receive() == (PacketType.ECHO_RES, b"x" * 5000)
