"""`GET /jobs/HANDLE` on the metrics port: the result or the state of a background job."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer

DEADLINE_S = 20
BYTES = {"Accept": "application/octet-stream"}


@pytest.fixture
def keeping(start_server: Callable[..., ServerProcess], tmp_path: Path) -> ServerProcess:
    """A server with a metrics port that keeps the results of `f`."""
    path = tmp_path / "policies.yaml"
    path.write_text("functions:\n  f: {keep_result: 1h}\n")
    return start_server("--policies", str(path), "--metrics-listen", "127.0.0.1:0", "--results-size", "4000")


@pytest.fixture
def get(keeping: ServerProcess) -> Callable[..., tuple[int, str | None, bytes]]:
    """Asks for a job: `get(handle)`; status, type and body."""
    connection = http.client.HTTPConnection(keeping.announced["metrics"][0], timeout=DEADLINE_S)

    def get(handle: str | bytes, query: str = "", method: str = "GET", **headers: str) -> tuple[int, str | None, bytes]:
        connection.request(method, f"/jobs/{quote(handle)}{query}", headers=headers)
        response = connection.getresponse()
        answer = response.status, response.getheader("Content-Type"), response.read()
        connection.close()
        return answer

    return get


@pytest.fixture
def worker(keeping: ServerProcess) -> StreamPeer:
    """A raw worker."""
    peer = keeping.peer()
    for function in (b"f", b"plain"):
        peer.send(PacketType.CAN_DO, function)
    return peer


def submit(keeping: ServerProcess, function: bytes = b"f", kind: int = PacketType.SUBMIT_JOB_BG) -> bytes:
    return keeping.peer().ask(kind, function, b"", b"w")[1]


def end(worker: StreamPeer, kind: int, *arguments: bytes) -> None:
    worker.send(kind, *arguments)
    worker.sync()


def test_an_unfinished_job_is_202_with_its_progress(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]], worker: StreamPeer
) -> None:
    handle = submit(keeping)
    status, kind, body = get(handle)
    assert (status, kind) == (202, "application/json")
    none = {"numerator": "0", "denominator": "0"}
    assert json.loads(body) == {"handle": handle.decode(), "function": "f", "state": "waiting", "progress": none}
    worker.ask(PacketType.GRAB_JOB)
    end(worker, PacketType.WORK_STATUS, handle, b"3", b"4")
    told = json.loads(get(handle, "?raw")[2])
    assert (told["state"], told["progress"]) == ("running", {"numerator": "3", "denominator": "4"})


def test_a_result_comes_as_json_or_as_bare_bytes(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]], worker: StreamPeer
) -> None:
    handle = submit(keeping)
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_DATA, handle, b"part")
    worker.send(PacketType.WORK_WARNING, handle, b"\xff")
    end(worker, PacketType.WORK_COMPLETE, handle, "schön".encode())
    status, kind, body = get(handle)
    told = json.loads(body)
    assert (status, kind, told["state"], told["result"]) == (200, "application/json", "complete", "schön")
    assert told["reports"] == [{"kind": "data", "text": "part"}, {"kind": "warning", "text_base64": "/w=="}]
    assert told["expires_at"] == pytest.approx(told["ended_at"] + 3600, abs=0.01)
    bare = (200, "application/octet-stream", "schön".encode())
    assert get(handle, "?raw") == bare
    assert get(handle, **BYTES) == bare
    assert get(handle, "?raw", method="HEAD") == (*bare[:2], b"")
    assert get(handle, Accept="application/json, application/octet-stream")[1] == "application/json"


def test_bytes_that_are_no_text_come_in_base64(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]], worker: StreamPeer
) -> None:
    handle = submit(keeping)
    worker.ask(PacketType.GRAB_JOB)
    end(worker, PacketType.WORK_COMPLETE, handle, b"\xff\0")
    assert json.loads(get(handle)[2])["result_base64"] == "/wA="
    assert get(handle, "?raw")[2] == b"\xff\0"


WITHOUT_RESULT = {
    "failed": (PacketType.WORK_FAIL, (), "", b"the job has failed: no reason was given\n"),
    "exception": (PacketType.WORK_EXCEPTION, (b"boom",), "boom", b"the job has failed: boom\n"),
    "too-large": (PacketType.WORK_COMPLETE, (b"x" * 2000,), "", b"the job is complete, and its result was too large"),
}


@pytest.mark.parametrize("state", WITHOUT_RESULT)
def test_without_a_result_the_state_gives_the_reason(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]], worker: StreamPeer, state: str
) -> None:
    kind, content, reason, raw = WITHOUT_RESULT[state]
    handle = submit(keeping)
    worker.ask(PacketType.GRAB_JOB)
    end(worker, kind, handle, *content)
    status, _, body = get(handle)
    told = json.loads(body)
    assert (status, told["state"], told["reason"]) == (200, state, reason)
    status, _, body = get(handle, "?raw")
    assert (status, body.startswith(raw)) == (410, True)


def test_an_unknown_job_and_a_result_that_is_not_kept_are_404_with_the_reason(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]]
) -> None:
    for handle in ("H:nowhere:1", "", "a/b", "\xff"):
        status, _, body = get(handle)
        assert (status, b"there was no such job" in body) == (404, True)
    assert b"has no keep_result" in get(submit(keeping, b"plain"))[2]


def test_a_result_that_has_expired_is_410(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]], worker: StreamPeer
) -> None:
    handles = [submit(keeping) for _ in range(6)]  # more than --results-size has room for
    for handle in handles:
        worker.ask(PacketType.GRAB_JOB)
        end(worker, PacketType.WORK_COMPLETE, handle, b"r")
    for query in ("", "?raw"):
        status, _, body = get(handles[0], query)
        assert (status, b"has expired" in body) == (410, True)
    assert get(handles[-1], "?raw")[::2] == (200, b"r")


def test_the_port_only_allows_reading(
    keeping: ServerProcess, get: Callable[..., tuple[int, str | None, bytes]]
) -> None:
    handle = submit(keeping)
    for method in ("POST", "DELETE"):
        assert get(handle, method=method)[0] == 405
    assert keeping.text(b"status") == b"f\t1\t0\t0\n.\n"
