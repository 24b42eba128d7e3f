"""`--json` of both commands, and several servers at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from gearman_client import Client, WorkerJob
from gearman_client.commands.json_output import json_line
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ..conftest import RunningWorker, ScriptedServer
from .test_commands import run


def documents(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def talk(job: WorkerJob) -> bytes:
    job.data(b"D")
    job.data(b"\xff")
    job.warning("wärn".encode())
    job.status(1, 3)
    return b"R(" + job.workload + b")"


@pytest.fixture
def served(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Gearmand:
    callbacks = {
        "talk": talk,
        "binary": lambda job: b"\xff\x00",
        "bad": lambda job: job.fail(),
        "raise": lambda job: job.exception(b"boom"),
    }
    start_worker(gearmand.address, callbacks)
    return gearmand


def test_each_job_is_an_object_on_a_line(served: Gearmand) -> None:
    done = run("gearman", "-h", "127.0.0.1", "-p", str(served.port), "--json", "-f", "talk", "-u", "ü", "a", "b")
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = documents(done)
    assert first["handle"].startswith("H:")
    assert first["handle"] != second["handle"]
    assert first["seconds"] >= 0
    assert {name: value for name, value in first.items() if name not in ("handle", "seconds")} == {
        "function": "talk",
        "server": str(served.address),
        "unique": "ü",
        "state": "complete",
        "result": "R(a)",
        "failure": None,
        "data": ["D", {"base64": "/w=="}],
        "warnings": ["wärn"],
        "progress": [1, 3],
    }
    assert second["result"] == "R(b)"


def test_failures_are_objects_too_and_the_exit_code_tells(served: Gearmand) -> None:
    port = str(served.port)
    done = run("gearman", "-p", port, "--json", "-f", "bad", "-f", "raise", "-f", "binary", "x")
    assert (done.returncode, done.stderr) == (1, b"")
    found = {each["function"]: (each["state"], each["result"], each["failure"]) for each in documents(done)}
    assert found["raise"] == ("exception", None, "boom")
    assert found["binary"] == ("complete", {"base64": "/wA="}, None)
    assert found["bad"][:2] == ("failed", None)
    late = run("gearman", "-p", port, "--json", "-t", "200", "-f", "nobody", "x")
    assert (late.returncode, documents(late)[0]["state"]) == (1, "timeout")
    served.kill()
    away = run("gearman", "-p", port, "--json", "-f", "f", "x")
    assert (away.returncode, documents(away)[0]["state"]) == (1, "unreachable")


def test_background_jobs_tell_their_handles(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "--json", "-b", "-f", "f\udcff", "x")
    (document,) = documents(done)
    assert (document["state"], document["result"], document["function"]) == ("accepted", None, "f\udcff")
    assert document["handle"].encode() in served.ask("show jobs").encode()


def test_a_result_that_no_server_keeps_is_an_error(served: Gearmand) -> None:
    done = run("gearman", "-p", str(served.port), "--json", "--result", "H:x:1")
    assert done.returncode == 1
    assert (documents(done)[0]["handle"], documents(done)[0]["state"]) == ("H:x:1", "error")


def test_gearman_goes_to_the_server_that_is_there(start_gearmand: Callable[[], Gearmand]) -> None:
    one, two = start_gearmand(), start_gearmand()
    one.kill()
    for where in (
        ["-h", f"{one.address},127.0.0.1", "-p", str(two.port)],
        ["-h", str(one.address), "-h", str(two.address)],
    ):
        assert run("gearman", *where, "-b", "-f", "f", "x").returncode == 0
    assert "f\t2\t0\t0" in two.ask("status")


def fill(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client:
        client.submit_background("f", b"x", unique="u", priority="high")


def test_gearadmin_gives_an_object_for_each_server(start_gearmand: Callable[[], Gearmand]) -> None:
    one, two = start_gearmand(), start_gearmand()
    fill(one)
    two.kill()
    where = ["-h", f"{one.address},{two.address}"]
    tables = ["--status", "--priority-status", "--workers", "--show-jobs", "--show-unique-jobs"]
    done = run("gearadmin", *where, "--json", *tables, "--getpid", "--server-verbose", "--cancel-job", "H:x:1")
    assert (done.returncode, done.stderr) == (1, b"")
    first, second = documents(done)
    assert first["status"] == [{"function": "f", "total": 1, "running": 0, "workers": 0}]
    assert first["priority_status"] == [{"function": "f", "high": 1, "normal": 0, "low": 0, "workers": 0}]
    assert [(each["address"], each["functions"]) for each in first["workers"]] == [("127.0.0.1", [])]
    assert [(each["retries"], each["queued"]) for each in first["jobs"]] == [(0, True)]
    assert (first["unique_ids"], first["pid"], first["log_level"]) == (["u"], one.pid, "ERROR")
    assert first["cancel_job"] == [{"name": "H:x:1", "done": False, "failure": "UNKNOWN_JOB"}]
    assert (first["server"], first["failure"]) == (str(one.address), None)
    assert second["server"] == str(two.address)
    assert "could not connect" in second["failure"]


def test_gearadmin_puts_the_bytes_of_several_servers_below_their_names(start_gearmand: Callable[[], Gearmand]) -> None:
    one, two, three = (start_gearmand() for _ in range(3))
    fill(one)
    two.kill()
    where = ["-h", f"{one.address},{two.address},{three.address}"]
    done = run("gearadmin", *where, "--status", "--drop-function", "no-such")
    assert done.returncode == 1
    assert done.stdout.decode() == (f"# {one.address}\nf\t1\t0\t0\n.\n# {two.address}\n# {three.address}\n.\n")
    errors = done.stderr.decode().splitlines()
    assert errors[0] == f"{one.address}: Error: function not found"
    assert errors[1].startswith(f"gearadmin: could not connect to {two.address}: ")
    assert errors[2] == f"{three.address}: Error: function not found"


def test_what_acts_on_a_terminal_is_escaped() -> None:
    for text in ("\x9b31m", "\u202e", "\udcff", "\x1b[2J"):
        line = json_line({"name": text, "word": "ü"})
        assert line.decode()[:-1].isprintable()
        assert json.loads(line)["name"] == text
    assert json_line({"word": "ü"}) == '{"word": "ü"}\n'.encode()


def test_a_message_can_not_act_on_a_terminal(scripted_server: ScriptedServer, in_thread: Callable[..., Any]) -> None:
    where = ["-p", str(scripted_server.address.port), "-h", "127.0.0.1"]
    done = in_thread(run, "gearman", *where, "-f", "f", "x")
    peer = scripted_server.accept()
    peer.next()
    peer.send(PacketType.OPTION_RES, b"exceptions")
    peer.next()
    peer.send(PacketType.ERROR, b"QUEUE_ERROR", b"\x1b[2Jno\xff")
    assert done.result(60).stderr == rb"gearman: QUEUE_ERROR: \x1b[2Jno\xff" + b"\n"
