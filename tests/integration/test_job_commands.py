"""`gearman-manager jobs` and `dead`: an operator looks into the queue, and handles jobs that failed."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import socket
import subprocess
import termios
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Address, Client, connect_admin
from gearman_client.address import parse_address
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType
from gearman_manager.command.control_client import request
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import ManagerError

from ..server.server_process import ServerProcess
from ..server.stream_peer import StreamPeer
from .conftest import BIN, RunningManager, eventually

PICKY = """
def picky(job):
    if job.workload != b"good":
        raise ValueError(f"I don't like {job.workload!r}")
    return b"fine"
"""


@pytest.fixture
def busy(napping: RunningManager) -> RunningManager:
    """One worker, busy with its first job, and a function that fails."""
    napping.write_module("picky.py", PICKY)
    napping.start("defaults: {min: 1, max: 1}\n")
    return napping


def listed(manager: RunningManager, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(manager.command(*arguments, "--json").stdout)
    return rows


def submit_with(manager: RunningManager, function: str, *pairs: bytes) -> str:
    """Submit a job with options; returns its handle."""
    address = parse_address(manager.address)
    with socket.create_connection((address.host, address.port), timeout=20) as stream:
        packet_type, body = StreamPeer(stream).ask(SUBMIT_JOB_WITH, function.encode(), b"", *pairs, b"", b"600")
        assert packet_type == PacketType.JOB_CREATED, body
        return body.decode()


def test_the_queue_can_be_listed_shown_cancelled_and_purged(busy: RunningManager) -> None:
    with busy.client() as client:
        running = client.submit_background("nap", "600")
        waiting = [client.submit_background("nap", b"\x1b[31m[bold]" + b"x" * 100) for _ in range(3)]
    eventually(lambda: listed(busy, "jobs", "list", "--state", "running"), "the first one runs")
    rows = listed(busy, "jobs", "list", "nap")
    assert [row["handle"] for row in rows] == [running, *waiting]
    assert [row["state"] for row in rows] == ["running", "waiting", "waiting", "waiting"]
    assert rows[0]["server"] == busy.address
    table = busy.command("jobs", "list").stdout
    assert "\\x1b[31m[bold]xxxx" in table
    assert "\x1b" not in table
    assert listed(busy, "jobs", "list", "--older", "1h") == []
    assert [row["handle"] for row in listed(busy, "jobs", "list", "--text", "600", "--since", "1h")] == [running]
    assert listed(busy, "jobs", "list", "--unique", "none") == listed(busy, "jobs", "list", "--text", "601") == []
    assert len(listed(busy, "jobs", "list", "--limit", "2")) == 2
    assert "there may be more" in busy.command("jobs", "list", "--limit", "2").stderr

    shown = busy.command("jobs", "show", running).stdout
    assert "state: running" in shown
    assert "/nap/1" in shown
    one = json.loads(busy.command("jobs", "show", waiting[0], "--json").stdout)
    assert base64.b64decode(one["workload_base64"]) == b"\x1b[31m[bold]" + b"x" * 100

    assert busy.command("jobs", "cancel", waiting[0]).stdout == "1 cancelled\n"
    again = busy.command("jobs", "cancel", waiting[0], check=False)
    assert (again.returncode, "0 of 1 cancelled" in again.stderr) == (1, True)
    asked = busy.command("jobs", "purge", "nap", check=False)  # its question gets no answer
    assert (asked.returncode, "Cancel 2 jobs that wait for nap? They will not run [y/N]:" in asked.stdout) == (1, True)
    assert "nothing is changed: nobody here says yes, as --yes would" in asked.stderr
    assert len(listed(busy, "jobs", "list", "--state", "waiting")) == 2
    nothing = busy.command("jobs", "purge", "nap", "--older", "1d")  # nothing to cancel, so no question
    assert nothing.stdout == "0 cancelled: nothing at least 1d old waits for nap\n"
    asked = busy.command("jobs", "purge", "--text", "[BOLD]", "--since", "2h", check=False)
    assert "Cancel 2 jobs with the text [BOLD] of the last 2h that wait for any function?" in asked.stdout
    assert busy.command("jobs", "purge", "--text", "[BOLD]", "--yes").stdout == "2 cancelled\n"
    tagged = submit_with(
        busy, "nap", b"background=1", b"tag=mail", b"tag=a b", b"key=k", b"header:x=1", b"timeout=5000"
    )
    assert [row["handle"] for row in listed(busy, "jobs", "list", "--tag", "a b", "--key", "k")] == [tagged]
    one = json.loads(busy.command("jobs", "show", tagged, "--json").stdout)
    told = (one["tags"], one["key"], one["headers"], one["options"], one["expires"])
    assert told == (["mail", "a b"], "k", {"x": "1"}, {"timeout": "5000"}, None)
    asked = busy.command("jobs", "purge", "--tag", "mail", check=False)
    assert "Cancel 1 job with the tag mail that waits for any function? It will not run [y/N]:" in asked.stdout
    assert busy.command("jobs", "purge", "--tag", "mail", "--yes").stdout == "1 cancelled\n"
    assert [row["handle"] for row in listed(busy, "jobs", "list")] == [running]
    with busy.client() as client:
        client.submit_background("nap", "600", tags=["mail"])
    asked = busy.command("jobs", "stop", "--function", "nap", check=False)
    assert "Stop 2 jobs of nap? They will not run again [y/N]:" in asked.stdout
    assert busy.command("jobs", "stop", "--tag", "mail", "--yes").stdout == "1 stopped\n"
    assert busy.command("jobs", "stop", "--all", "--yes").stdout == "1 stopped\n"
    eventually(lambda: listed(busy, "jobs", "list") == [], "it is stopped")


def test_batches_can_be_listed_shown_closed_cancelled_and_stopped(busy: RunningManager) -> None:
    api = busy.folder / "run" / "control.sock"
    with busy.client() as client:
        odd = client.batch(id="a/b c=\x1b", on_complete="picky")
        odd.background_many("nap", ["600", "600"])
        other = client.batch(on_failure="picky")
        other.background("nap", "0")
        with client.batch(id="empty"):
            pass
        eventually(lambda: listed(busy, "jobs", "list", "--state", "running"), "the first one runs")
        rows = listed(busy, "jobs", "batches")
        states = [(row["batch"], row["state"]) for row in rows]
        assert states == [(odd.id, "open"), (other.id, "open"), ("empty", "done")]
        assert [row["batch"] for row in listed(busy, "jobs", "batches", "--state", "done")] == ["empty"]
        table = busy.command("jobs", "batches", "--limit", "2")
        assert re.search(r"^ *a/b c=\\x1b +open +\S+ ago +2 +2 +0 +0 +0 +0 +0 *$", table.stdout, re.MULTILINE)
        assert "there may be more" in table.stderr
        one = json.loads(busy.command("jobs", "batch", odd.id, "--json").stdout)
        assert one | {"batch": one.pop("id")} == rows[0]
        shown = busy.command("jobs", "batch", odd.id).stdout
        assert "jobs: 2\nwaiting: 2\n" in shown
        assert re.search(r"^opened: \d{4}-\d\d-\d\d ", shown, re.MULTILINE)

        assert busy.command("jobs", "batch", other.id, "close").stdout == "closed\n"
        assert other.status().state == "closed"
        assert busy.command("jobs", "batch", other.id, "cancel").stdout == "1 cancelled\n"
        assert busy.command("jobs", "batch", odd.id, "stop").stdout == "2 stopped\n"
        eventually(lambda: odd.status().state == "done", "the one that ran has ended")
        assert (odd.status().stopped, odd.status().cancelled, other.status().cancelled) == (1, 1, 1)
        eventually(lambda: len(listed(busy, "dead", "list", "picky")) == 2, "the callbacks of both have run")
    with pytest.raises(ManagerError, match="limit"):
        request(api, "GET", "/jobs/batches?function=nap")
    with pytest.raises(ManagerError, match="id: the id of a batch is expected"):
        request(api, "POST", "/jobs/batches/stop", {"id": 3})


def test_a_batch_is_found_at_the_server_that_has_it() -> None:
    with ExitStack() as stack:
        servers = [ServerProcess("-L", "127.0.0.1") for _ in range(2)]
        for server in servers:
            stack.callback(server.stop)
        first, second = (Address("127.0.0.1", server.port) for server in servers)
        client = stack.enter_context(Client(str(second)))
        batch = client.batch(id="x")
        batch.background("f", b"")
        both = ServerJobs(lambda: (first, second))
        page = both.page("jobs/batches", {})
        assert page == {"jobs": [], "next": {"server": str(second)}}
        assert [row["batch"] for row in both.page("jobs/batches", page["next"])["jobs"]] == ["x"]
        assert both.show("jobs/batches", "x")["server"] == str(second)
        assert both.end_batch("x", "close") is None
        assert both.end_batch("x", "cancel") == 1
        with pytest.raises(ManagerError, match="there is no batch x"):
            ServerJobs(lambda: (first,)).end_batch("x", "stop")


def test_failed_jobs_can_be_looked_at_tried_again_and_dropped(busy: RunningManager) -> None:
    with busy.client() as client, connect_admin(busy.address) as admin:
        handles = [client.submit_background("picky", workload) for workload in (b"bad", b"worse", b"worst")]
        eventually(lambda: len(admin.command("dead list").splitlines()) == 4, "all three failed")
    rows = listed(busy, "dead", "list", "picky")
    assert [row["handle"] for row in rows] == handles
    assert rows[0]["error"] == "ValueError: I don't like b'bad'"
    assert "I don't like b'worse'" in busy.command("dead", "list").stdout
    shown = busy.command("dead", "show", handles[0]).stdout
    assert "failures: 1" in shown
    assert 'raise ValueError(f"I don\'t like {job.workload!r}")' in shown  # its traceback

    busy.write_module("picky.py", PICKY.replace('!= b"good"', '== b"worst"'))
    eventually(lambda: "generation 2" in busy.log(), "the mended code is loaded")
    eventually(busy.settled, "the mended code runs")
    assert busy.command("dead", "retry", handles[0]).stdout == "1 queued again\n"
    eventually(lambda: listed(busy, "jobs", "list") == [], "it ran")
    assert [row["handle"] for row in listed(busy, "dead", "list")] == handles[1:]
    assert busy.command("dead", "drop", handles[2]).stdout == "1 dropped\n"
    missing = busy.command("dead", "retry", handles[2], check=False)
    assert (missing.returncode, "0 of 1 queued again: each of the others is not there" in missing.stderr) == (1, True)
    asked = busy.command("dead", "drop", "--function", "picky", check=False)
    assert "Forget 1 dead job of picky? It can't be tried again then [y/N]:" in asked.stdout
    assert (asked.returncode, "as --yes would" in asked.stderr) == (1, True)
    assert busy.command("dead", "retry", "--function", "picky").stdout == "1 queued again\n"
    eventually(lambda: listed(busy, "dead", "list") == [], "none is left")
    assert busy.command("dead", "drop", "--all", "--yes").stdout == "0 dropped\n"
    assert busy.command("dead", "drop", "--all").stdout == "0 dropped\n"  # nothing to drop, so no question


def test_a_job_whose_year_is_in_no_calendar_can_be_shown(busy: RunningManager) -> None:
    address = parse_address(busy.address)
    with socket.create_connection((address.host, address.port), timeout=20) as stream:
        year = b"%d" % 10**17
        _, handle = StreamPeer(stream).ask(PacketType.SUBMIT_JOB_EPOCH, b"nap", b"", year, b"0")
    shown = busy.command("jobs", "show", handle.decode()).stdout
    assert re.search(r"^not_before: 10{17} \(Unix seconds\)$", shown, re.MULTILINE), shown
    assert "\nbackground: yes\n" in shown


def test_output_to_a_full_disk_gives_a_message(busy: RunningManager) -> None:
    command: list[str | Path] = [BIN / "gearman-manager", "-c", busy.config_file, "jobs", "list"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    message = "gearman-manager: the output can't be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, message)


MISTAKES = [
    (("jobs", "show", "H:none:1"), 1, "there is no job H:none:1"),
    (("dead", "show", "H:none:1"), 1, "there is no dead letter H:none:1"),
    (("jobs", "batch", "none"), 1, "there is no batch none"),
    (("jobs", "batch", "none", "stop"), 1, "there is no batch none"),
    (("jobs", "batch", ""), 1, "the id of a batch is expected"),
    (("jobs", "batch", "none", "stop", "--json"), 2, "--json is for a batch that is shown"),
    (("jobs", "show", ""), 1, "'' is no handle of a job"),
    (("dead", "show", ""), 1, "'' is no handle of a job"),
    (("dead", "retry"), 2, "name handles, or choose by --function, --tag, --text and so on, or --all"),
    (("dead", "drop", "--all", "--older", "1h"), 2, "--all takes no other condition"),
    (("jobs", "stop"), 2, "name handles, or choose by --function, --tag, --text and so on, or --all"),
    (("jobs", "stop", "H:none:1"), 1, "0 of 1 stopped: the others are over, or unknown"),
    (("jobs", "list", "--older", "10"), 2, "a duration needs a unit: write 10s"),
]


def test_mistakes_give_a_message(busy: RunningManager) -> None:
    for arguments, code, message in MISTAKES:
        result = busy.command(*arguments, check=False)
        assert result.returncode == code
        assert message in result.stderr


def test_in_a_pipe_each_job_is_one_line_and_nothing_is_cut(busy: RunningManager) -> None:
    unique, text = "u" * 60, "x" * 100
    with busy.client() as client, connect_admin(busy.address) as admin:
        handle = client.submit_background("picky", text, unique=unique)
        eventually(lambda: handle.encode() in admin.command("dead list"), "it failed")
    _header, line = busy.command("dead", "list").stdout.splitlines()
    assert f" ValueError: I don't like b'{text}'  {unique}  {text[:64]} …" in line


def on_a_terminal(command: Sequence[str | Path], columns: int) -> str:
    """The output of a command on a terminal of this width."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave) as process, open(master, "rb", 0) as screen:
        os.close(slave)
        printed = b""
        with suppress(OSError):  # at the end of a terminal's output comes EIO
            while piece := screen.read(65536):
                printed += piece
        assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())


def test_on_a_narrow_terminal_handles_and_times_stay_readable(busy: RunningManager) -> None:
    schedule = "schedules: {a_long_name: {cron: 0 0 29 2 *, time_zone: Europe/Berlin, function: a_long_function}}\n"
    busy.config_file.write_text(busy.config_file.read_text() + schedule)
    busy.command("reload")
    eventually(lambda: "a_long_name" in busy.command("schedules").stdout, "the schedule is known")
    with busy.client() as client:
        handle = client.submit_background("nap", "x" * 100, unique="u" * 60, delay=600)
        client.submit_background("nap", "600")
    command: list[str | Path] = [BIN / "gearman-manager", "-c", busy.config_file]
    assert handle in on_a_terminal([*command, "jobs", "list"], 60)
    busy.command("schedules", "trigger", "a_long_name")
    shown = on_a_terminal([*command, "schedules"], 80)
    assert re.search(r" \d{4}-\d\d-\d\d .* \d{4}-\d\d-\d\d ", shown), shown  # of the next run, and of the last
