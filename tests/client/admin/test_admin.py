"""The administration client against Debian's gearmand, and against a scripted server that gives broken answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from gevent import socket as gevent_socket

from gearman_client import (
    AdminClient,
    AdminError,
    ArgumentError,
    Client,
    ConnectedWorker,
    ConnectionLost,
    CouldNotConnect,
    FunctionStatus,
    PriorityStatus,
    ShownJob,
    Timeout,
    Worker,
    WorkerSettings,
    connect_admin,
)
from gearman_client.admin.tables import parse_connected_worker

from ...gearmand import Gearmand


@pytest.fixture
def admin(gearmand: Gearmand) -> Iterator[AdminClient]:
    """An administration connection to a gearmand."""
    with connect_admin(gearmand.address) as admin:
        yield admin


@pytest.fixture
def scripted() -> Iterator[tuple[AdminClient, socket.socket]]:
    """An administration client and the other end of its socket."""
    ours, theirs = socket.socketpair()
    admin = AdminClient(ours, timeout_s=0.3, max_response_bytes=10_000)
    yield admin, theirs
    admin.close()
    theirs.close()


def test_the_tables_of_a_busy_server_are_parsed(admin: AdminClient, gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client, Worker(gearmand.address, WorkerSettings(client_id="gm:m/p/1")) as worker:
        handle = client.submit_background("f", b"", unique="u", priority="high")
        client.submit_background("f", b"", unique="", priority="low")
        worker.register("f")
        worker.register("g")
        job = worker.grab(10)
        assert job is not None
        assert sorted(admin.status(), key=lambda row: row.function) == [
            FunctionStatus("f", total=2, running=1, workers=1),
            FunctionStatus("g", total=0, running=0, workers=1),
        ]
        assert PriorityStatus("f", high=0, normal=0, low=1, workers=1) in admin.priority_status()
        assert ShownJob(str(handle), retries=0, ignored=False, queued=True) in admin.show_jobs()
        assert sorted(admin.show_unique_jobs()) == ["", "u"]
        (row,) = [row for row in admin.workers() if row.client_id == "gm:m/p/1"]
        assert (row.address, set(row.functions)) == ("127.0.0.1", {"f", "g"})
        job.complete()


def test_an_empty_server_has_empty_tables(admin: AdminClient) -> None:
    assert admin.status() == admin.priority_status() == admin.show_jobs() == []
    assert admin.show_unique_jobs() == []


def test_version_log_level_and_pid_of_a_server_are_read(admin: AdminClient, gearmand: Gearmand) -> None:
    assert admin.version()[0].isdigit()
    assert admin.verbose() == "ERROR"
    assert admin.getpid() == gearmand.pid


def test_a_function_is_created_limited_and_dropped(admin: AdminClient, gearmand: Gearmand) -> None:
    admin.create_function("abcdef")
    assert [row.function for row in admin.status()] == ["abcdef"]
    admin.max_queue("abcdef", 1)
    admin.max_queue("abcdef", 3, 2, 1)
    admin.max_queue("abcdef")
    admin.drop_function("abcdef")
    assert admin.status() == []
    with pytest.raises(AdminError, match="function not found"):
        admin.drop_function("abcdef")


def test_a_cancelled_job_is_gone_and_an_unknown_one_is_an_error(admin: AdminClient, gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client:
        admin.cancel_job(client.submit_background("f", b""))
    with pytest.raises(AdminError) as refusal:
        admin.cancel_job("H:x:99")
    assert refusal.value.code == "UNKNOWN_JOB"
    assert admin.getpid() == gearmand.pid  # the connection is in step


def test_a_named_connection_shows_its_name(admin: AdminClient) -> None:
    admin.set_client_id("gm:manager one")
    assert "gm:manager one" in [row.client_id for row in admin.workers()]


def test_an_unknown_command_is_refused_with_code_and_readable_text(admin: AdminClient) -> None:
    assert admin.command("nonsense").startswith(b"ERR UNKNOWN_COMMAND Unknown+server+command")
    with pytest.raises(AdminError, match="UNKNOWN_COMMAND Unknown server command"):
        admin.fail_job("H:x:1", "timeout")


def test_an_answer_may_arrive_in_pieces(
    scripted: tuple[AdminClient, socket.socket], in_thread: Callable[..., Future[Any]]
) -> None:
    admin, peer = scripted
    table = b"f\t1\t2\t3\n.g\t4\t5\t6\n.\n"
    for cut in range(1, len(table)):
        asked = in_thread(admin.status)
        assert peer.recv(100) == b"status\n"
        peer.sendall(table[:cut])
        peer.sendall(table[cut:])
        assert asked.result(10) == [FunctionStatus("f", 1, 2, 3), FunctionStatus(".g", 4, 5, 6)]


@pytest.mark.parametrize("line", [b"f\t1\t2\n", b"f\t1\t2\tx\n", b"f 1 2 3\n", b"f\t1\t2\t-3\n"])
def test_a_line_that_is_no_table_row_is_an_error_that_shows_it(
    scripted: tuple[AdminClient, socket.socket], line: bytes
) -> None:
    admin, peer = scripted
    peer.sendall(line + b".\n")
    with pytest.raises(AdminError, match="MALFORMED_LINE"):
        admin.status()


def test_an_answer_without_end_is_cut_off_at_the_limit(scripted: tuple[AdminClient, socket.socket]) -> None:
    admin, peer = scripted
    peer.sendall(b"f\t1\t2\t3\n" * 2000)
    with pytest.raises(AdminError, match="more than 10000 bytes"):
        admin.status()
    with pytest.raises(ConnectionLost, match="closed"):
        admin.status()


def test_a_server_that_does_not_finish_its_answer_is_a_timeout(scripted: tuple[AdminClient, socket.socket]) -> None:
    admin, peer = scripted
    peer.sendall(b"f\t1\t2\t3\n")
    with pytest.raises(Timeout, match=r"0\.3 s"):
        admin.status()


def test_a_connection_that_closes_in_the_middle_of_an_answer_is_lost(
    scripted: tuple[AdminClient, socket.socket],
) -> None:
    admin, peer = scripted
    peer.sendall(b"f\t1\t2\t3\n")
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost, match="closed by the job server"):
        admin.status()


@pytest.mark.parametrize("answer", [b"\0RES\0\0\0\x13\0\0\0\0", b"HTTP/1.1 400 Bad Request\r\n"])
def test_an_answer_of_another_kind_is_an_error(scripted: tuple[AdminClient, socket.socket], answer: bytes) -> None:
    admin, peer = scripted
    peer.sendall(answer)
    with pytest.raises(AdminError, match="UNEXPECTED_ANSWER"):
        admin.version()


def test_a_unique_id_that_looks_like_an_error_is_a_unique_id(scripted: tuple[AdminClient, socket.socket]) -> None:
    admin, peer = scripted
    peer.sendall(b"ERR or\nu\n.\n")
    assert admin.show_unique_jobs() == ["ERR or", "u"]


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\0b"])
def test_arguments_that_a_text_command_cannot_carry_are_refused(
    scripted: tuple[AdminClient, socket.socket], name: str
) -> None:
    admin, _ = scripted
    with pytest.raises(ArgumentError):
        admin.drop_function(name)


def test_a_functions_name_may_hold_a_tab(gearmand: Gearmand) -> None:
    with connect_admin(gearmand.address) as admin:
        admin.create_function("shop\tmail")
        admin.max_queue("shop\tmail", 1)
        assert [row.function for row in admin.status()] == ["shop\tmail"]
        assert [row.function for row in admin.priority_status()] == ["shop\tmail"]
        admin.drop_function("shop\tmail")
        assert admin.status() == []


@pytest.mark.parametrize("line", ["", "a\nb", "\0RES", "x" * 9000])
def test_a_command_is_one_line(scripted: tuple[AdminClient, socket.socket], line: str) -> None:
    admin, _ = scripted
    with pytest.raises(ArgumentError, match="one line"):
        admin.command(line)


def test_max_queue_takes_no_number_or_one_or_three(scripted: tuple[AdminClient, socket.socket]) -> None:
    admin, _ = scripted
    with pytest.raises(ArgumentError, match="no number, one, or three"):
        admin.max_queue("f", 1, 2)
    with pytest.raises(ArgumentError, match="all whole"):
        admin.max_queue("f", "10")  # type: ignore[arg-type]


def test_values_of_a_wrong_type_are_refused_by_their_name(scripted: tuple[AdminClient, socket.socket]) -> None:
    admin, sock = scripted
    for call in (admin.drop_function, admin.cancel_job, admin.command):
        with pytest.raises(ArgumentError, match=r"None.*text \(str\)"):
            call(None)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="client id 5"):
        admin.set_client_id(5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="timeout_s '5'"):
        AdminClient(sock, timeout_s="5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"37 127.0.0.1 worker one : fb fa", ConnectedWorker(37, "127.0.0.1", "worker one", ("fb", "fa"))),
        (b"38 127.0.0.1 - :", ConnectedWorker(38, "127.0.0.1", "-", ())),
        (b"38 ::1  :", ConnectedWorker(38, "::1", "", ())),
        (b"38 ::1  : f", ConnectedWorker(38, "::1", "", ("f",))),
        (b"5 10.0.0.1 - : shop\tmail f", ConnectedWorker(5, "10.0.0.1", "-", ("shop\tmail", "f"))),
        (b"5 10.0.0.1 gm:m/pool/1 : f", ConnectedWorker(5, "10.0.0.1", "gm:m/pool/1", ("f",))),
    ],
)
def test_client_ids_may_hold_blanks_and_be_empty(line: bytes, row: ConnectedWorker) -> None:
    assert parse_connected_worker(line) == row


def test_the_error_for_an_unreachable_server_names_it(gearmand: Gearmand) -> None:
    gearmand.kill()
    with pytest.raises(CouldNotConnect, match=str(gearmand.port)):
        connect_admin(f"127.0.0.1:{gearmand.port}", 1)


def test_a_gevent_socket_can_be_used(gearmand: Gearmand) -> None:
    sock = gevent_socket.create_connection(("127.0.0.1", gearmand.port))
    with AdminClient(sock) as admin:
        assert admin.getpid() == gearmand.pid
