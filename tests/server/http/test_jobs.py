"""Jobs by HTTP: the meaning of a request, and the answer in every case."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from typing import Any

import pytest

from gearman_client.extensions import BATCH, CLOSE_BATCH, JOB_ASSIGN_WITH, JOB_STOPPING, OPEN_BATCH
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer

DEADLINE_S = 20
HANDLE = "X-Gearman-Job-Handle"
NAMES: dict[int, str] = {PacketType.WORK_FAIL: "WORK_FAIL", PacketType.WORK_EXCEPTION: "WORK_EXCEPTION"}


class Http:
    """One HTTP connection to the server's HTTP port."""

    def __init__(self, server: ServerProcess) -> None:
        self.port = int(server.announced["http"][0].rpartition(":")[2])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def answer(self) -> tuple[int, HTTPMessage, bytes]:
        """Status, the interesting headers, body."""
        response = self.connection.getresponse()
        body = response.read()
        return response.status, response.headers, body

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, HTTPMessage, bytes]:
        self.send(method, path, body, **headers)
        return self.answer()

    def raw(self, request: bytes) -> bytes:
        """All bytes that the server sends in answer to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as stream:
            stream.sendall(request)
            answer = b""
            while data := stream.recv(65536):
                answer += data
            return answer


@pytest.fixture
def web(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with an HTTP port."""
    return start_server("-r", "http", "--http-port", "0", "--max-packet-size", "1000000")


@pytest.fixture
def http_peer(web: ServerProcess) -> Iterator[Http]:
    """A connection to the HTTP port."""
    peer = Http(web)
    yield peer
    peer.connection.close()


@pytest.fixture
def worker(web: ServerProcess) -> StreamPeer:
    """A Gearman worker with the function `reverse`."""
    peer = web.peer()
    peer.send(PacketType.CAN_DO, b"reverse")
    peer.sync()
    return peer


def take_job(worker: StreamPeer) -> tuple[bytes, bytes, bytes]:
    """The worker's next job: handle, unique, workload."""
    worker.send(PacketType.PRE_SLEEP)
    assert worker.receive() == (PacketType.NOOP, b"")
    packet_type, body = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert packet_type == PacketType.JOB_ASSIGN_UNIQ
    handle, _function, unique, workload = body.split(b"\0", 3)
    return handle, unique, workload


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_posted_workload_is_answered_with_the_result(http_peer: Http, worker: StreamPeer, method: str) -> None:
    http_peer.send(method, "/reverse", b"ab\0cd")
    handle, unique, workload = take_job(worker)
    assert (unique, workload) == (b"-", b"ab\0cd")
    worker.send(PacketType.WORK_COMPLETE, handle, b"dc\0ba")
    status, headers, body = http_peer.answer()
    assert (status, body) == (200, b"dc\0ba")
    assert headers["X-Gearman-Job-Handle"] == handle.decode()
    assert headers["X-Gearman-Command"] == "WORK_COMPLETE"
    assert headers["Content-Type"] == "application/octet-stream"


def test_get_submits_an_empty_workload_and_the_path_is_decoded(web: ServerProcess, http_peer: Http) -> None:
    peer = web.peer()
    peer.send(PacketType.CAN_DO, "grüße/alle".encode())
    peer.sync()
    http_peer.send("GET", "//gr%C3%BC%C3%9Fe/alle?ignored=1")
    handle, _unique, workload = take_job(peer)
    assert workload == b""
    peer.send(PacketType.WORK_COMPLETE, handle, b"")
    status, headers, body = http_peer.answer()
    assert (status, headers["Content-Length"], body) == (200, "0", b"")


def test_head_is_answered_like_get_without_the_body(http_peer: Http, worker: StreamPeer) -> None:
    http_peer.send("HEAD", "/reverse")
    handle, _, _ = take_job(worker)
    worker.send(PacketType.WORK_COMPLETE, handle, b"result")
    status, headers, body = http_peer.answer()
    assert (status, headers["Content-Length"], body) == (200, "6", b"")
    assert headers["X-Gearman-Command"] == "WORK_COMPLETE"


def test_head_of_the_root_shows_that_the_server_is_up(http_peer: Http) -> None:
    assert http_peer.ask("HEAD", "/")[0] == 200


def test_several_requests_use_one_connection(http_peer: Http, worker: StreamPeer) -> None:
    for number in range(3):
        http_peer.send("POST", "/reverse", b"%d" % number)
        connected = http_peer.connection.sock
        handle, _, workload = take_job(worker)
        worker.send(PacketType.WORK_COMPLETE, handle, workload)
        assert http_peer.answer()[2] == b"%d" % number
        assert http_peer.connection.sock is connected


def test_data_comes_before_the_result_and_progress_is_left_out(http_peer: Http, worker: StreamPeer) -> None:
    http_peer.send("POST", "/reverse", b"w")
    handle, _, _ = take_job(worker)
    worker.send(PacketType.WORK_DATA, handle, b"one ")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"2")
    worker.send(PacketType.WORK_WARNING, handle, b"careful")
    worker.send(PacketType.WORK_DATA, handle, b"two ")
    worker.send(PacketType.WORK_COMPLETE, handle, b"three")
    status, headers, body = http_peer.answer()
    assert (status, headers["X-Gearman-Command"], body) == (200, "WORK_COMPLETE", b"one two three")


@pytest.mark.parametrize(
    ("packet_type", "arguments", "body"),
    [(PacketType.WORK_FAIL, (), b"the job failed\n"), (PacketType.WORK_EXCEPTION, (b"it broke",), b"it broke")],
)
def test_a_failed_job_is_502_with_the_kind_of_failure(
    http_peer: Http, worker: StreamPeer, packet_type: int, arguments: tuple[bytes], body: bytes
) -> None:
    http_peer.send("POST", "/reverse", b"w")
    handle, _, _ = take_job(worker)
    worker.send(packet_type, handle, *arguments)
    status, headers, answered = http_peer.answer()
    assert (status, answered) == (502, body)
    assert headers["X-Gearman-Command"] == NAMES[packet_type]
    assert headers["X-Gearman-Job-Handle"] == handle.decode()


def test_a_background_job_is_accepted_at_once_and_survives_the_connection(web: ServerProcess, http_peer: Http) -> None:
    status, headers, body = http_peer.ask("POST", "/later", b"w", X_Gearman_Background="true")
    assert (status, headers["X-Gearman-Command"], body) == (200, "JOB_CREATED", b"")
    http_peer.connection.close()
    worker = web.peer()
    worker.send(PacketType.CAN_DO, b"later")
    assert worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0] == headers["X-Gearman-Job-Handle"].encode()


def test_priority_and_unique_key_are_headers(web: ServerProcess, http_peer: Http) -> None:
    for name, value in (("low", "l"), ("normal", "n"), ("high", "h")):
        headers = {"X-Gearman-Priority": name, "X-Gearman-Unique": value, "X-Gearman-Background": "TRUE"}
        http_peer.connection.request("POST", "/f", b"w", headers)
        assert http_peer.answer()[0] == 200
    worker = web.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert [worker.ask(PacketType.GRAB_JOB_UNIQ)[1].split(b"\0")[2] for _ in range(3)] == [b"h", b"n", b"l"]


def test_identical_workloads_are_one_job_unless_the_unique_key_is_empty(web: ServerProcess, http_peer: Http) -> None:
    def handle(**headers: str) -> str:
        return http_peer.ask("POST", "/f", b"w", X_Gearman_Background="true", **headers)[1]["X-Gearman-Job-Handle"]

    assert handle() == handle()
    assert handle(X_Gearman_Unique="") != handle(X_Gearman_Unique="")


def test_a_caller_that_disconnects_abandons_its_job(
    web: ServerProcess, http_peer: Http, until: Callable[[Callable[[], bool]], None]
) -> None:
    http_peer.send("POST", "/f", b"w")
    until(lambda: web.text(b"status") == b"f\t1\t0\t0\n.\n")
    http_peer.connection.close()
    until(lambda: web.text(b"status") == b"f\t0\t0\t0\n.\n")


def test_a_chunked_body_is_read(http_peer: Http, worker: StreamPeer) -> None:
    http_peer.connection.request("POST", "/reverse", iter([b"ab", b"", b"cd"]), encode_chunked=True)
    handle, _, workload = take_job(worker)
    assert workload == b"abcd"
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert http_peer.answer()[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("POST", "///", {}, 404),
        ("DELETE", "/f", {}, 404),
        ("DELETE", "/jobs/", {}, 404),
        ("DELETE", "/jobs/a%00b", {}, 404),
        ("PATCH", "/f", {}, 405),
        ("TRACE", "/f", {}, 405),
        ("BREW", "/f", {}, 501),
        ("GET", "/f", {"X_Gearman_Priority": "urgent"}, 400),
        ("GET", "/f", {"X_Gearman_Background": "maybe"}, 400),
        ("GET", "/f", {"X_Gearman_Unique": "u" * 65}, 400),
        ("GET", "/%00", {}, 400),
        ("GET", "/a%0Ab", {}, 400),
        ("POST", "/f", {"Transfer_Encoding": "gzip"}, 501),
    ],
)
def test_a_request_without_meaning_is_refused_with_a_reason(
    http_peer: Http, method: str, path: str, headers: dict[str, Any], status: int
) -> None:
    answered, given, body = http_peer.ask(method, path, **headers)
    assert answered == status
    assert body.endswith(b"\n")
    assert given["Content-Type"].startswith("text/plain")


def test_405_names_the_allowed_methods(http_peer: Http) -> None:
    assert http_peer.ask("PATCH", "/f")[1]["Allow"] == "GET, HEAD, POST, PUT, DELETE"


def test_delete_stops_a_job(web: ServerProcess, http_peer: Http, worker: StreamPeer) -> None:
    def submit() -> str:
        return str(http_peer.ask("POST", "/reverse", b"w", X_Gearman_Unique="", X_Gearman_Background="true")[1][HANDLE])

    def stop(handle: str) -> tuple[int, bytes]:
        status, _, body = http_peer.ask("DELETE", f"/jobs/{handle}")
        return status, body

    running, waiting = submit(), submit()
    worker.ask(PacketType.OPTION_REQ, b"own-job-stopping")
    handle = take_job(worker)[0]
    assert handle.decode() == running
    status, headers, body = http_peer.ask("DELETE", f"/jobs/{waiting}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"handle": waiting, "outcome": "cancelled"}
    unknown = (404, b"there is no such job, or it is over\n")
    assert stop(waiting) == stop("H:box:%2F") == unknown
    status, body = stop(running)
    assert (status, json.loads(body)["outcome"]) == (202, "stopping")
    packet_type, body = worker.receive()
    assert (packet_type, body.rpartition(b"\0")[2]) == (JOB_STOPPING, handle)
    worker.send(PacketType.WORK_FAIL, handle)
    worker.sync()
    assert stop(running) == unknown


def test_who_may_change_nothing_may_not_stop_jobs_by_http(start_server: Callable[..., ServerProcess]) -> None:
    peer = Http(start_server("-r", "http", "--http-port", "0", "--admin-allow", "192.0.2.1"))
    handle = peer.ask("POST", "/reverse", b"w", X_Gearman_Background="true")[1][HANDLE]
    status, _, body = peer.ask("DELETE", f"/jobs/{handle}")
    assert (status, b"--admin-allow" in body) == (403, True)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /f HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        (b"POST /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n", 413),
        (
            b"POST /f HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"f4241\r\n"
            + b"x" * 1_000_001
            + b"\r\n0\r\n\r\n",
            413,
        ),
        (b"POST /f HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"POST /f HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (b"POST /f HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde", 400),
        (b"GET /f\r\n\r\n", 400),
        (b"GET /f HTTP/3.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n", 400),
        (b"GET /f HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /f HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_malformed_http_is_answered_and_closed_without_a_traceback(
    web: ServerProcess, http_peer: Http, request_bytes: bytes, status: int
) -> None:
    answer = http_peer.raw(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert web.text(b"status") == b".\n"
    web.process.terminate()
    assert b"Traceback" not in web.process.communicate(timeout=DEADLINE_S)[1]


def test_a_full_queue_is_503_with_a_reason(web: ServerProcess, http_peer: Http) -> None:
    http_peer.ask("POST", "/f", b"1", X_Gearman_Background="true")
    web.text(b"maxqueue f 1")
    status, headers, body = http_peer.ask("POST", "/f", b"2", X_Gearman_Background="true")
    assert (status, headers["X-Gearman-Command"], headers["Retry-After"]) == (503, "ERROR", "1")
    assert b"Job queue is full" in body


def test_http_1_0_is_answered_and_closed(http_peer: Http, web: ServerProcess) -> None:
    answer = http_peer.raw(b"POST /f HTTP/1.0\r\nContent-Length: 1\r\nX-Gearman-Background: true\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


def test_a_graceful_end_waits_for_the_answer_of_a_running_job(
    web: ServerProcess, http_peer: Http, worker: StreamPeer
) -> None:
    http_peer.send("POST", "/reverse", b"w")
    handle, _, _ = take_job(worker)
    web.signal(signal.SIGUSR1)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r" * 900_000)
    assert http_peer.answer()[2] == b"r" * 900_000
    assert web.wait() == 0


def test_a_graceful_end_answers_callers_whose_jobs_will_not_start(
    web: ServerProcess, http_peer: Http, until: Callable[[Callable[[], bool]], None]
) -> None:
    http_peer.send("POST", "/f", b"w")
    until(lambda: web.text(b"status") == b"f\t1\t0\t0\n.\n")
    web.signal(signal.SIGUSR1)
    assert http_peer.answer()[0] == 503
    assert web.wait() == 0


def test_http_peers_are_listed_among_the_connections(
    web: ServerProcess, http_peer: Http, until: Callable[[Callable[[], bool]], None]
) -> None:
    http_peer.send("POST", "/f", b"w")
    until(lambda: b" 127.0.0.1 http :" in web.text(b"workers"))


def test_an_unknown_protocol_is_refused(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    refused = run_command("-p", "0", "-r", "gopher")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--protocol" in refused.stderr


def test_a_taken_http_port_is_named_with_its_option(
    run_command: Callable[..., subprocess.CompletedProcess[str]], web: ServerProcess
) -> None:
    port = Http(web).port
    refused = run_command("-p", "0", "-r", "http", "--http-port", str(port))
    assert refused.returncode == 1
    assert "--http-port" in refused.stderr


def test_allow_holds_for_http_too(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("-r", "http", "--http-port", "0", "--allow", "192.0.2.1")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        Http(server).ask("HEAD", "/")


def test_options_and_headers_of_the_job_come_in_headers(http_peer: Http, worker: StreamPeer) -> None:
    for option in (b"job-attempt", b"job-options"):
        assert worker.ask(PacketType.OPTION_REQ, option) == (PacketType.OPTION_RES, option)
    headers = {
        "X-Gearman-Background": "true",
        "X-Gearman-Priority": "high",
        "X-Gearman-Option-Timeout": "1.5s",
        "X-Gearman-Option-Retries": "3",
        "X-Gearman-Option-Tags": "mail, daily",
        "X-Gearman-Option-Expires": "10m",
        "X-Gearman-Option-At": "2001-02-03T04:05:06Z",
        "X-Gearman-Header-Traceparent": "00-ab",
    }
    status, _, _ = http_peer.ask("POST", "/reverse", b"a\0\0b", **headers)
    assert status == 200
    packet_type, body = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert packet_type == JOB_ASSIGN_WITH
    _handle, rest = body.split(b"\0", 1)
    told = b"timeout=1500", b"tag=mail", b"tag=daily", b"priority=8", b"header:traceparent=00-ab"
    assert rest == b"\0".join((b"reverse", b"-", b"1", *told, b"", b"a\0\0b"))


WRONG_OPTIONS: list[tuple[dict[str, str], str]] = [
    ({"X-Gearman-Option-Timeot": "3s"}, "'timeot' is no option, did you mean timeout? Known are at, backoff,"),
    ({"X-Gearman-Option-Timeout": "3"}, "X-Gearman-Option-Timeout: a duration needs a unit: write 3s"),
    ({"X-Gearman-Option-At": "noon"}, "X-Gearman-Option-At: a time such as 2030-01-31T12:00:00Z or 1900000000,"),
    ({"X-Gearman-Option-At": "2030-01-31T12:00"}, "X-Gearman-Option-At: '2030-01-31T12:00' needs a time zone"),
    ({"X-Gearman-Option-Expired-Letter": "1"}, "X-Gearman-Option-Expired-Letter: true or false is expected"),
    ({"X-Gearman-Option-Priority": "10"}, "INVALID_OPTION: priority: a whole number from 0 to 9 is expected"),
    ({"X-Gearman-Option-Tags": "a,,b"}, "INVALID_OPTION: tag: a text of 1 to 64 bytes is expected, not ''"),
    ({"X-Gearman-Option-Expires": "2001-02-03T04:05:06Z"}, "INVALID_OPTION: expires: that is over before"),
    ({"X-Gearman-Option-Batch": "b" * 65}, "INVALID_OPTION: batch: a text of 1 to 64 bytes is expected"),
    ({"X-Gearman-Option-Then": "a,,b"}, "INVALID_OPTION: a job that is to follow: function=NAME is missing"),
    ({"X-Gearman-Option-On-Failure": "mend"}, "INVALID_OPTION: batch, then, on_failure: only background jobs"),
    (
        {"X-Gearman-Priority": "low", "X-Gearman-Option-Priority": "1"},
        "X-Gearman-Option-Priority: X-Gearman-Priority is given too",
    ),
]


def test_a_wrong_option_is_refused_with_its_name(http_peer: Http) -> None:
    for headers, reason in WRONG_OPTIONS:
        status, _, body = http_peer.ask("POST", "/reverse", b"w", **headers)
        assert (status, body.decode()[: len(reason)]) == (400, reason)


def test_a_job_joins_a_batch_and_has_a_chain(http_peer: Http, worker: StreamPeer) -> None:
    headers = {
        "X-Gearman-Background": "true",
        "X-Gearman-Option-Batch": "b",
        "X-Gearman-Option-Then": "reverse, \xe4,=&",
        "X-Gearman-Option-On-Failure": "reverse",
    }
    status, _, body = http_peer.ask("POST", "/reverse", b"w", **headers)
    assert (status, body) == (409, b"INVALID_BATCH: there is no batch of this id: open it first\n")
    assert worker.ask(PacketType.OPTION_REQ, b"job-batches")[0] == PacketType.OPTION_RES
    assert worker.ask(OPEN_BATCH, b"b")[0] == BATCH
    assert http_peer.ask("POST", "/reverse", b"w", **headers)[0] == 200
    handle, _, workload = take_job(worker)
    assert workload == b"w"
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    handle, _, workload = take_job(worker)
    assert workload == b"r"
    worker.send(PacketType.WORK_FAIL, handle)
    handle, _, workload = take_job(worker)
    assert json.loads(workload)["outcome"] == "failed"
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert {b"jobs=3", b"complete=2", b"failed=1", b"state=done"} <= {*worker.ask(CLOSE_BATCH, b"b")[1].split(b"\0")}
    assert http_peer.ask("POST", "/reverse", b"w", **headers)[0] == 409


def test_a_job_that_has_ended_already_is_a_conflict(http_peer: Http, worker: StreamPeer) -> None:
    headers = {"X-Gearman-Option-Submission": "order 7"}
    status, accepted, _ = http_peer.ask("POST", "/reverse", b"w", **headers, X_Gearman_Background="true")
    assert status == 200
    handle, _, _ = take_job(worker)
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    worker.sync()
    status, again, _ = http_peer.ask("POST", "/reverse", b"w", **headers, X_Gearman_Background="true")
    assert (status, again["X-Gearman-Job-Handle"]) == (200, accepted["X-Gearman-Job-Handle"])
    status, _, body = http_peer.ask("POST", "/reverse", b"w", **headers)
    assert status == 409, body
    assert body.startswith(b"DUPLICATE: ")
