"""The control API's answers to programs, above all to requests that make no sense: JSON with a reason."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client
from gearman_process.http.unix_connection import UnixConnection

from .conftest import BIN, RunningManager, eventually


class Api:
    """The control socket, used as `curl --unix-socket` uses it."""

    def __init__(self, manager: RunningManager) -> None:
        self._path = manager.folder / "run" / "control.sock"

    def ask(self, method: str, resource: str, body: str | None = None) -> tuple[int, Any]:
        connection = UnixConnection(self._path, 30)
        headers = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}  # the header of curl -d
        connection.request(method, f"/api/v1{resource}", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer


@pytest.fixture
def api(napping: RunningManager) -> Api:
    """The API of a manager with one pool, `nap`."""
    napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    return Api(napping)


#: Method, resource, body; then the answer's status and a part of its `detail`.
MISTAKES = [
    ("GET", "/nope", None, 404, "GET /api/v1/nope: 404 Not Found"),
    ("GET", "/reload", None, 405, "GET /api/v1/reload: 405 Method Not Allowed"),
    ("GET", "/jobs/", None, 404, "'' is no handle of a job"),
    ("GET", "/jobs?functon=nap", None, 400, "functon: there is no such condition; there are function, tag"),
    ("GET", "/jobs?limit=-1", None, 400, "limit: a whole number from 1 to 1000 is expected"),
    ("GET", "/jobs?older=soon", None, 400, "older: a number from 0 up is expected"),
    ("GET", "/jobs?state=lost", None, 400, "state: one of waiting, delayed"),
    ("GET", "/jobs?cursor=eyJhIjoxfQ", None, 400, "cursor: the text under `next` of the page before is expected"),
    ("GET", "/jobs/keys", None, 400, "function: this condition is missing"),
    ("POST", "/jobs/cancel", "[]", 400, "a JSON object is expected as the body, with handles"),
    ("POST", "/jobs/cancel", '{"handles": "H:box:1"}', 400, "handles: a list of job handles is expected"),
    ("POST", "/jobs/purge", '{"function": "nap", "oldr": 60}', 400, "oldr: there is no such key"),
    ("POST", "/jobs/purge", '{"function": "nap", "older": -1}', 400, "a number of seconds from 0 up is expected"),
    ("POST", "/dead/drop", '{"function": "nap", "older": NaN}', 400, "a number of seconds from 0 up is expected"),
    ("POST", "/dead/drop", '{"all": true, "function": "nap"}', 400, '"all": true alone is expected'),
    ("POST", "/dead/drop", '{"handles": ["H:box:1"], "function": "nap"}', 400, "either handles, or function, tag"),
    ("POST", "/pools/nap/scale", '{"min": 2}', 400, "min and max, two whole numbers, are expected, not 2 and None"),
    ("POST", "/pools/a/b/pause", None, 404, "there is no pool a/b; the pools are: nap"),
    ("POST", "/pools//pause", None, 404, "404 Not Found"),
    ("GET", "/restart-server", None, 404, "no job server was replaced by hand"),
    (
        "POST",
        "/restart-server",
        '{"instance": "1"}',
        400,
        "instance: the number of a job server is expected, from 1 up",
    ),
    ("POST", "/restart-server", '{"force": 1}', 400, "force: true or false is expected, not 1"),
    ("POST", "/restart-server", '{"within": "soon"}', 400, "within: "),
    ("POST", "/restart-server", "{}", 409, "the job server keeps its jobs in memory"),
    ("POST", "/schedules/trigger", '{"name": "a b"}', 404, "'a b' is no name of a schedule"),
]


def test_every_refusal_is_json_with_a_reason(api: Api, napping: RunningManager) -> None:
    for method, resource, body, status, message in MISTAKES:
        answered, answer = api.ask(method, resource, body)
        assert (answered, message in answer["detail"]) == (status, True), (resource, body, answer)
    assert "Traceback" not in napping.log()
    assert [worker["state"] for worker in napping.workers("nap")] == ["idle"]


def test_a_body_is_read_as_json_whatever_its_content_type(api: Api, napping: RunningManager) -> None:
    assert api.ask("POST", "/pools/nap/scale", '{"min": 2, "max": 3}') == (202, {"min": 2, "max": 3})
    assert api.ask("POST", "/jobs/purge", '{"function": "nap", "older": null}') == (200, {"cancelled": 0})
    eventually(napping.settled, "two workers")


def start_with_servers(manager: RunningManager, address: str) -> None:
    """Start a manager that uses these job servers and runs none itself."""
    manager.config_file.write_text(f"run_dir: run\nservers: [{address}]\n")
    manager.launch()
    eventually(manager.settled, "the worker is registered")


#: Commands that only our job server understands.
OF_OURS = [
    ("jobs", "list"),
    ("jobs", "show", "H:none:1"),
    ("jobs", "purge", "nap", "--yes"),
    ("dead", "list"),
    ("dead", "show", "H:none:1"),
    ("dead", "retry", "--all"),
    ("dead", "drop", "--all", "--yes"),
]


def test_commands_about_jobs_are_refused_for_a_job_server_that_is_not_ours(
    napping: RunningManager, gearmand: str
) -> None:
    start_with_servers(napping, gearmand)
    for command in OF_OURS:
        refused = napping.command(*command, check=False)
        assert f"{gearmand} is no gearman-server: it can't be asked for its jobs" in refused.stderr, command
        assert refused.returncode == 1
    assert "Traceback" not in napping.log()


@pytest.fixture
def closed_server(tmp_path: Path) -> Iterator[str]:
    """The address of a gearman-server that allows no text command from this machine to change anything."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program: list[str | Path] = [
        BIN / "gearman-server",
        "-p",
        str(port),
        "--admin-allow",
        "192.0.2.1",
        "--config-file",
        "",
    ]
    with (tmp_path / "server.log").open("wb") as log, subprocess.Popen(program, stderr=log) as server:
        yield f"127.0.0.1:{port}"
        server.kill()


def test_a_refusal_by_the_job_server_is_reported(napping: RunningManager, closed_server: str) -> None:
    start_with_servers(napping, closed_server)
    for command in (("jobs", "cancel", "H:none:1"), ("jobs", "purge", "nap", "--yes"), ("dead", "retry", "--all")):
        refused = napping.command(*command, check=False)
        assert f"the job server {closed_server} says: NOT_ALLOWED" in refused.stderr, (command, refused.stderr)
        assert refused.returncode == 1


def is_up(manager: RunningManager, server: str) -> bool:
    report = manager.try_status()
    return report is not None and server in report["servers"] and report["servers"][server]["up"]


def test_a_silent_job_server_hides_no_job_of_another(napping: RunningManager, closed_server: str) -> None:
    with socket.socket() as held:  # bound and not listening: no other program gets the port meanwhile
        held.bind(("127.0.0.1", 0))
        silent = f"127.0.0.1:{held.getsockname()[1]}"
        napping.config_file.write_text(f"run_dir: run\nservers: ['{silent}', '{closed_server}']\n")
        napping.launch()
        eventually(lambda: is_up(napping, closed_server), "the other one answers")
        with Client([closed_server]) as client:
            handle = client.submit_background("elsewhere", b"")
        reason = f"the job server {silent} can't be asked: "
        listed = napping.command("jobs", "list", check=False)
        assert handle in listed.stdout
        assert (listed.returncode, reason in listed.stderr) == (1, True)
        assert f"server: {closed_server}" in napping.command("jobs", "show", handle).stdout
        unknown = napping.command("jobs", "show", "H:none:1", check=False)
        assert f"there is no job H:none:1; {reason}" in unknown.stderr
        status, page = Api(napping).ask("GET", "/jobs")
        assert (status, page["jobs"]) == (200, [])
        assert page["missing"].startswith(reason)
        status, following = Api(napping).ask("GET", f"/jobs?cursor={page['next']}")
        assert (status, [row["handle"] for row in following["jobs"]], following["next"]) == (200, [handle], None)
