"""The pages of a running manager: what they show, what their forms do, and to whom."""

from __future__ import annotations

import html
import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from http.client import HTTPResponse
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from gearman_manager.access.caller import ROLES
from gearman_manager.access.users_file import make_user, write_user
from gearman_manager.command.control_client import request

from .conftest import GATE, NAP, RunningManager, alive, eventually
from .test_access import FORM, FULL, PASSWORD, READ, Site, bearer

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"
SHOWN = '&lt;script&gt;alert(1)&lt;/script&gt;<span class="odd">⟨U+202E⟩</span><span class="odd">⟨ESC⟩</span>[31m'
CONFIG = """
pools:
  nap: {functions: [nap], min: 1, max: 2}
  gate: {functions: [gate], min: 1, max: 1}
  fail: {functions: [fail], min: 1, max: 1}
schedules:
  yearly: {cron: 0 0 1 1 *, function: nap, workload: "0"}
control:
  listen: 127.0.0.1:0
  token_file: full
  read_token_file: read
  users_file: users
  prefix: /gearman
"""
GREET = """
import os
import time

from gearman_manager import function

@function
def greet(name: str, times: int = 1) -> None:
    if name != "Ann" or times != 2:
        raise ValueError(f"{name} {times}")

@function
def tell(job):
    job.data("<b>half of it\\x1b")
    while not os.path.exists(job.workload):
        time.sleep(0.005)
"""
FAIL = f"""
def fail(job):
    job.log.info({HOSTILE!r})
    raise ValueError({HOSTILE!r})
"""


class Pages(Site):
    """The port as a browser sees it: with a session, and forms with its token."""

    def __init__(self, manager: RunningManager) -> None:
        super().__init__(manager)
        self.sessions = {role: self.session(role) for role in ROLES}

    def get(self, path: str, role: str = "operator", **headers: str) -> tuple[HTTPResponse, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("GET", path, {"Accept": "text/html"} | self.sessions[role] | named)

    def page(self, path: str, role: str = "operator") -> str:
        response, content = self.get(path, role)
        assert (response.status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8"), content
        return content

    def post(self, path: str, role: str = "operator", **fields: str | Sequence[str]) -> tuple[int, str]:
        """Send a form; returns the status, and the page to which the answer leads or the answer itself."""
        me = json.loads(self.ask("GET", "/api/v1/me", self.sessions[role])[1])
        body = urlencode({"csrf_token": me["csrf_token"], **fields}, doseq=True)
        response, content = self.ask("POST", path, self.sessions[role] | FORM, body)
        return response.status, response.getheader("Location") or content

    def pool(self, name: str) -> dict[str, Any]:
        pool: dict[str, Any] = self.manager.status()["pools"][name]
        return pool


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A manager with users of each role, and a module that is broken."""
    manager = RunningManager(tmp_path_factory.mktemp("pages"))
    for name, source in (
        ("nap", NAP),
        ("gate", GATE),
        ("fail", FAIL),
        ("greet", GREET),
        ("broken", "a = 1\nb = \n# c\n"),
    ):
        manager.write_module(f"{name}.py", source)
    for name, token in (("full", FULL), ("read", READ)):
        (manager.folder / name).write_text(token)
    for role in ROLES.values():
        write_user(manager.folder / "users", make_user(role.word, role, PASSWORD))
    try:
        manager.start(CONFIG)
        yield Pages(manager)
    finally:
        manager.destroy()


def forms(page: str) -> set[str]:
    """The addresses to which the forms of a page go, but the one to log out."""
    return set(re.findall(r'<form[^>]* method="post" action="([^"]*)"', page)) - {"/gearman/logout"}


def test_the_overview_tells_what_is_wrong_and_shows_each_worker(pages: Pages) -> None:
    page = pages.page("/")
    assert "Not all is well" in page
    assert '<a href="/gearman/functions"><bdi>' in page  # the broken module, with where to look
    assert re.search(r'<a class="tile idle" href="/gearman/workers/nap/\d+">', page)
    for pool in pages.manager.status()["pools"].values():
        assert html.escape(pool["why"]) in page
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]* src=)", page)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_a_page_has_the_forms_that_its_reader_may_send(pages: Pages) -> None:
    assert forms(pages.page("/", "viewer")) == set()
    operators = forms(pages.page("/", "operator"))
    assert {"/gearman/pools/nap/pause", "/gearman/pools/nap/scale", "/gearman/restart"} <= operators
    assert not {"/gearman/reload", "/gearman/drain"} & operators
    assert forms(pages.page("/", "admin")) == operators | {"/gearman/reload", "/gearman/drain"}
    for path in ("/functions/nap", "/pools/nap", "/schedules"):
        assert forms(pages.page(path, "viewer")) == set()
        assert forms(pages.page(path, "operator")) != set()


def test_a_pool_is_paused_scaled_and_resumed_from_its_page(pages: Pages) -> None:
    assert pages.post("/pools/nap/pause", page_of="nap") == (303, "/gearman/pools/nap?said=paused")
    eventually(lambda: pages.pool("nap")["workers"] == [], "its workers leave")
    page = pages.page("/pools/nap?said=paused")
    assert "The pool is paused" in page
    assert "/gearman/pools/nap/resume" in forms(page)
    assert pages.post("/pools/nap/scale", min="2", max="3") == (303, "/gearman/?said=scaled")
    assert pages.post("/pools/nap/resume") == (303, "/gearman/?said=resumed")
    eventually(lambda: len(pages.pool("nap")["workers"]) == 2, "as many workers as the form said")
    assert (pages.pool("nap")["min"], pages.pool("nap")["max"]) == (2, 3)
    for wrong in ({"min": "4", "max": "3"}, {"min": "x", "max": "3"}, {"max": "3"}):
        status, page = pages.post("/pools/nap/scale", **wrong)
        assert (status, "To the overview" in page) == (400, True)
    pages.post("/pools/nap/scale", min="1", max="2")


def test_workers_of_a_pool_and_one_alone_are_replaced(pages: Pages) -> None:
    eventually(lambda: [worker["state"] for worker in pages.pool("gate")["workers"]] == ["idle"], "its worker waits")
    [before] = pages.pool("gate")["workers"]
    assert f"<dd>{before['pid']}</dd>" in pages.page(f"/workers/{before['name']}")
    assert pages.post(f"/workers/{before['name']}/restart")[0] == 303
    eventually(lambda: not alive(before["pid"]), "the worker leaves")
    eventually(lambda: [worker["state"] for worker in pages.pool("gate")["workers"]] == ["idle"], "another one waits")
    [after] = pages.pool("gate")["workers"]
    assert pages.post("/pools/gate/restart")[0] == 303
    eventually(lambda: not alive(after["pid"]), "the pool is restarted")
    assert pages.post("/workers/gate/999/restart")[0] == 404
    eventually(pages.manager.settled, "the next one is there")


def test_refusals_are_pages_that_say_why(pages: Pages) -> None:
    for path, role, status, reason in (
        ("/pools/none/pause", "operator", 404, "there is no pool none"),
        ("/pools/nap/pause", "viewer", 403, "the role operator is needed"),
        ("/reload", "operator", 403, "the role admin is needed"),
        ("/drain", "admin", 400, "how long running jobs may take"),
    ):
        got, page = pages.post(path, role, within="soon")
        assert (got, reason in page, "<h1>" in page) == (status, True, True)
    response, page = pages.ask("POST", "/pools/nap/pause", pages.sessions["operator"] | FORM, "csrf_token=x")
    assert (response.status, "load the page again" in page) == (403, True)
    assert not pages.pool("nap")["paused"]
    for path in ("/nowhere", "/pools/none", "/functions/none", "/jobs/H:none:1", "/dead/H:none:1", "/workers/none/1"):
        response, page = pages.get(path)
        assert (response.status, response.getheader("Content-Type")) == (404, "text/html; charset=utf-8")
    response, page = pages.get("/api/v1/nowhere")
    assert response.getheader("Content-Type") == "application/problem+json"
    response, _ = pages.ask("GET", "/jobs?state=all", {"Accept": "text/html"})
    assert response.getheader("Location") == "/gearman/login?next=%2Fjobs%3Fstate%3Dall"
    assert pages.get("/jobs?state=all")[0].status == pages.get("/jobs?cursor=x")[0].status == 400


def test_the_part_that_changes_comes_alone_and_only_if_it_has_changed(pages: Pages) -> None:
    response, part = pages.get("/servers", X_Part="1")
    tag = response.getheader("ETag") or ""
    assert "<html" not in part
    assert part.strip() in pages.page("/servers")
    assert pages.get("/servers", X_Part="1", If_None_Match=tag)[0].status == 304
    response, _ = pages.get("/servers")
    assert response.getheader("ETag") is None
    assert response.getheader("Cache-Control") == "no-store"


def test_the_page_of_servers_tells_versions_stores_and_connections(pages: Pages) -> None:
    def told() -> dict[str, str]:
        [part] = re.findall(r"(?s)<section aria-label=.Job server .*?</section>", pages.page("/servers"))
        assert f"{pages.manager.address}</bdi>" in part
        assert 'role="status">answers</span>' in part
        return {name: re.sub("<.*?>", "", value) for name, value in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", part)}

    def connections() -> int:
        """All of the server's, as the kernel knows them."""
        server = psutil.Process(pages.manager.pid_of("gearman-server"))
        return sum(each.status == psutil.CONN_ESTABLISHED for each in server.net_connections("tcp"))

    assert (told()["version"], told()["store"]) == (version("gearman-manager"), "memory")
    assert f"<dt>version</dt><dd>{version('gearman-manager')}</dd>" in pages.page("/servers")  # the manager's own
    with ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection(("127.0.0.1", int(pages.manager.address.rpartition(":")[2]))))
        # The one that asks is one of them.
        eventually(lambda: 40 < int(told()["connections"]) in range(connections(), connections() + 3), "they are seen")
    eventually(lambda: int(told()["connections"]) < 40, "they are gone")


def test_everybody_may_have_the_stylesheet_and_keep_it(pages: Pages) -> None:
    found = re.findall(r'(?:href|src)="/gearman(/static/[^"]*)"', pages.ask("GET", "/login")[1])
    found += re.findall(r'src="/gearman(/static/[^"]*)"', pages.page("/"))
    assert [Path(address.partition("?")[0]).suffix for address in found] == [".svg", ".css", ".js"]
    for address in found:
        response, _ = pages.ask("GET", address)
        assert (response.status, response.getheader("Cache-Control")) == (200, "max-age=31536000, immutable")
        assert pages.ask("GET", address.partition("?")[0])[0].getheader("Cache-Control") == "no-cache"
    assert pages.ask("GET", "/static/site.py")[0].status == 404


def test_functions_and_broken_modules_are_shown(pages: Pages) -> None:
    page = pages.page("/functions")
    assert re.search(r"broken\.py</bdi>:2</strong>", page)
    assert '    1   a = 1\n<span class="at">    2 → b = </span>    3   # c' in page
    assert '<a href="/gearman/functions/nap"><bdi>nap</bdi></a>' in page
    assert "gate" not in re.sub(r"(?s)<section class=.unwell.*?</section>", "", pages.page("/functions?name=NAP"))
    times = re.findall(r'<td class="number">(?:\u2013|[0-9.]+ m?s|[0-9]+ min)</td>', page)
    assert len(times) >= 6 * page.count("<tr data-key"), "how long the jobs of each wait and run"
    page = pages.page("/functions/nap")
    assert "<dt>timeout</dt><dd><bdi>none</bdi></dd>" in page
    assert "nap.py</bdi>:6</dd>" in page


def test_a_function_is_paused_run_and_resumed(pages: Pages) -> None:
    assert pages.post("/functions/gate/pause") == (303, "/gearman/functions/gate?said=function-paused")
    eventually(lambda: '<span class="badge">paused</span>' in pages.page("/functions/gate"), "it is paused")
    file = pages.manager.folder / "open"
    status, address = pages.post("/functions/gate/run", workload=str(file))
    assert (status, address.endswith("?said=submitted")) == (303, True)
    address = address.removeprefix("/gearman").partition("?")[0]
    page = pages.page(address)
    assert str(file) in page
    assert ">waiting</bdi></span>" in page
    pages.post("/functions/gate/resume")
    eventually(lambda: ">running</bdi></span>" in pages.page(address), "it runs")
    assert eventually(lambda: re.search(r'<progress max="10" value="3">', pages.page(address)), "its progress")
    file.touch()
    # For a moment nobody has it; then the manager has what its server kept of its end.
    kept = "It is over: this is what the manager has kept of it."
    eventually(lambda: kept in pages.page(f"{address}?said=submitted"), "it ends, and its end is kept")
    gone, text = pages.get("/jobs/H:none:1")
    assert (gone.status, "no longer there" in text) == (404, True)
    assert pages.post("/functions/none/run", workload="")[0] == 404
    assert pages.post("/functions/nap/run", workload="x" * 300_000)[0] == 400


def test_a_running_job_shows_the_data_that_it_has_sent_last(pages: Pages) -> None:
    file = pages.manager.folder / "told"
    with pages.manager.client() as client:
        handle = client.submit_background("tell", str(file))
    eventually(lambda: "The last data that it sent</h2>" in pages.page(f"/jobs/{handle}?said=submitted"), "its data")
    assert "&lt;b&gt;half of it\\x1b</pre>" in pages.page(f"/jobs/{handle}")
    assert "\ndata:\n<b>half of it\\x1b\n" in pages.manager.command("jobs", "show", handle).stdout
    file.touch()
    eventually(lambda: pages.get(f"/api/v1/jobs/{handle}")[0].status == 404, "it is over")


def test_a_function_is_run_with_a_field_for_each_parameter(pages: Pages) -> None:
    page = pages.page("/functions/greet")
    assert 'name="field.name"' in page
    assert "<small><bdi>int</bdi>, <bdi>1</bdi> unless given</small>" in page
    run = "/functions/greet/run"
    assert pages.post(run, **{"with": "fields", "field.name": "Ann", "field.times": "many"})[0] == 400
    for times in ("3", "2"):
        assert pages.post(run, **{"with": "fields", "field.name": "Ann", "field.times": times})[0] == 303
    [dead] = eventually(
        lambda: re.findall("ValueError: Ann [0-9]", pages.page("/dead?function=greet")), "one has failed"
    )
    assert dead == "ValueError: Ann 3"
    eventually(lambda: pages.pool("greet")["workers"][0]["done"] == 1, "the other one has not")


def test_a_running_job_is_stopped_from_its_worker_and_from_its_own_page(pages: Pages) -> None:
    with pages.manager.client() as client:
        for stop in ("worker", "job"):
            handle = client.submit_background("gate", b"/nowhere")
            [worker] = eventually(lambda: [w for w in pages.pool("gate")["workers"] if w["jobs"]], "it runs")
            assert handle in pages.page(f"/workers/{worker['name']}")
            assert '<a class="tile busy"' in pages.page("/pools/gate")
            if stop == "worker":
                assert pages.post(f"/workers/{worker['name']}/stop-job", handle=handle)[1].endswith("?said=stopped")
            else:
                assert pages.post("/jobs/stop", handle=handle, page_of="job")[0] == 303
            eventually(lambda: pages.pool("gate")["workers"][0]["jobs"] == [], "the job is stopped")
            eventually(lambda: "No job is like this" in pages.page("/jobs?function=gate"), "the job server knows it")


def test_jobs_are_found_and_cancelled_by_those_that_were_chosen(pages: Pages) -> None:
    pages.post("/functions/gate/pause")
    with pages.manager.client() as client:
        handles = [client.submit_background("gate", f"{number}", tags=["odd"] * (number % 2)) for number in range(60)]
    page = pages.page("/jobs?function=gate")
    assert page.count('type="checkbox" name="handle"') == 50
    [address] = re.findall(r'<a href="/gearman(/jobs\?[^"]*cursor[^"]*)"', page)
    assert pages.page(html.unescape(address)).count('type="checkbox" name="handle"') == 10
    assert pages.page("/jobs?function=gate&tag=odd&state=waiting").count('type="checkbox" name="handle"') == 30
    assert "No job is like this" in pages.page("/jobs?function=gate&state=running")
    assert pages.get(f"/jobs?handle={handles[0]}")[0].getheader("Location") == f"/gearman/jobs/{handles[0]}"
    assert pages.post("/jobs/cancel")[0] == 400
    assert pages.post("/jobs/cancel", handle=handles[2:]) == (303, "/gearman/jobs?said=cancelled")
    left = pages.page("/jobs?function=gate")
    assert re.findall(r'name="handle" value="([^"]*)"', left) == handles[:2]
    assert pages.post("/jobs/cancel", handle=handles[2])[1] == "/gearman/jobs?said=none"
    pages.post("/jobs/cancel", handle=handles[:2])
    pages.post("/functions/gate/resume")


def confirmed(pages: Pages, listed: str) -> tuple[str, dict[str, str]]:
    """The page to which a list leads from `All that match`, and the hidden fields of its first form."""
    [address] = re.findall(r'href="/gearman([^"]*)">All that match', pages.page(listed))
    page = pages.page(html.unescape(address))
    [form] = re.findall(r'(?s)<form method="post" action="/gearman/(?:jobs|dead)/all.*?</form>', page)[:1]
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return page, {name: html.unescape(value) for name, value in fields if name != "csrf_token"}


def outcomes(pages: Pages, address: str) -> dict[str, str]:
    """What the page of a change says at its end."""
    eventually(lambda: "under way" not in pages.page(address), "the change is made")
    page = pages.page(address)
    return dict(re.findall(r"<dt>([^<]*)</dt><dd>([\d,]+)", page))


def test_all_jobs_that_match_are_cancelled_but_none_that_came_later(pages: Pages) -> None:
    pages.post("/functions/gate/pause")
    with pages.manager.client() as client:
        handles = [client.submit_background("gate", b"", tags=["odd"] * (number % 2)) for number in range(130)]
        assert "All that match" not in pages.page("/jobs?function=gate", "viewer")
        page, fields = confirmed(pages, "/jobs?function=gate&tag=odd")
        assert '<h2 id="which">65 jobs</h2>' in page
        assert "Cancel 65 jobs that wait</button>" in page
        assert {"/gearman/jobs/all/cancel", "/gearman/jobs/all/stop"} == forms(page)
        late = client.submit_background("gate", b"", tags=["odd"])
        gone = client.submit_background("gate", b"to Ann", unique="only <one>")
    pages.post("/jobs/cancel", handle=handles[1])
    for query in ({"text": "TO ann", "within": "1 h"}, {"unique": "only <one>"}):
        page, searched = confirmed(pages, f"/jobs?{urlencode(query)}")
        assert '<h2 id="which">1 job</h2>' in page
        assert {name: searched[name] for name in query} == query
    address = pages.post("/jobs/all/cancel", **searched)[1]
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "1", "cancelled": "1"}
    assert gone not in pages.page("/jobs?function=gate&text=to+ann&state=waiting")
    again = "/jobs/all?" + urlencode({name: fields[name] for name in ("function", "tag", "seen")})
    assert "1 more came since you looked, and is not meant" in pages.page(again)
    assert pages.post("/jobs/all/cancel", "viewer", **fields)[0] == 403
    assert pages.get("/jobs/all", "viewer")[0].status == 403
    status, address = pages.post("/jobs/all/cancel", **fields)
    assert status == 303
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "65", "cancelled": "64", "gone": "1"}
    page = pages.page("/jobs?function=gate&tag=odd")
    assert re.findall(r'name="handle" value="([^"]*)"', page) == [late]
    assert f'<a href="{address}">jobs cancel</a> of <bdi>all function=gate tag=odd</bdi>: 64 of 65, done' in page
    assert address not in pages.page("/dead")
    noted = request(pages.manager.folder / "run" / "control.sock", "GET", "/actions?what=jobs%20cancel&limit=2")
    assert [row["target"] for row in noted["actions"]] == ["all function=gate tag=odd"] * 2
    assert noted["actions"][0]["details"] == "ended: 64 cancelled, 1 gone"
    assert noted["actions"][0]["who"] == "user operator"
    assert pages.post("/jobs/all/stop", function="gate", expected="many")[0] == 400
    status, address = pages.post("/jobs/all/stop", function="gate", expected="66")
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "66", "stopped": "66"}
    assert pages.get("/changes/none")[0].status == 404
    pages.post("/functions/gate/resume")


def test_all_letters_that_match_are_queued_again_or_forgotten(pages: Pages) -> None:
    with pages.manager.client() as client:
        for number in range(3):
            client.submit_background("greet", f'{{"args": ["x{number}"]}}', tags=["again"])
    # Of two clocks, and a way between them, a job that has died just now may have died after the look.
    aged = "/api/v1/dead?tag=again&older=1"
    eventually(lambda: pages.get(aged)[1].count('"handle"') == 3, "they have failed, and not only just now")
    _, fields = confirmed(pages, "/dead?tag=again")
    assert (fields["tag"], fields["expected"]) == ("again", "3")
    assert pages.page("/dead?text=x1&within=1+h").count('name="handle"') == 1
    assert "No failed job is like this" in pages.page("/dead?unique=none")
    status, address = pages.post("/dead/all/retry", **fields)
    assert status == 303
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "3", "queued again": "3"}
    eventually(lambda: pages.page("/dead?tag=again").count('name="handle"') == 3, "they fail again")
    status, address = pages.post("/dead/all/drop", **fields)
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "3", "forgotten": "0", "gone": "3"}
    status, address = pages.post("/dead/all/drop", **confirmed(pages, "/dead?tag=again")[1])
    assert outcomes(pages, address.removeprefix("/gearman")) == {"meant": "3", "forgotten": "3"}
    assert "No failed job is like this" in pages.page("/dead?tag=again")


def test_failures_are_grouped_muted_and_their_letters_changed(pages: Pages) -> None:
    with pages.manager.client() as client:
        handles = [client.submit_background("fail", f"{number}") for number in range(3)]
    listed = eventually(
        lambda: re.findall(r'href="/gearman(/failures/\w+)"><b><bdi>ValueError', pages.page("/failures?function=fail")),
        "they are grouped",
    )
    [address] = listed
    eventually(lambda: "<dt>times</dt><dd>3</dd>" in pages.page(address), "all are counted")
    page = pages.page(address)
    assert "<bdi>fail.fail</bdi></h1>" in page
    assert SHOWN in page  # in the sample of the error and of the traceback
    assert "raise ValueError(" in page
    assert set(handles) == set(re.findall(r'href="/gearman/dead/([^"]*)"', page))
    assert re.search(r'<svg class="bars"[^>]* aria-label="failures by hour', page)
    assert f'<a href="/gearman{address}">All failures like this one</a>' in pages.page(f"/dead/{handles[0]}")
    told = pages.manager.command("logs", "fail", "--job", handles[0]).stdout
    assert handles[0] in told
    assert not any(handle in told for handle in handles[1:])
    [log] = re.findall(r'(?s)<div class="log".*?</pre>', pages.page(f"/dead/{handles[0]}"))
    assert not any(handle in log for handle in handles[1:])
    assert "<script>alert" not in page + pages.page("/failures")
    assert forms(pages.page(address, "viewer")) == set()
    assert pages.post(f"{address}/mute", "viewer")[0] == 403
    assert pages.post(f"{address}/mute", **{"for": "soon"})[0] == 400
    assert pages.post(f"{address}/mute", **{"for": "2h"}) == (303, f"/gearman{address}?said=muted")
    assert "by <bdi>user operator</bdi>, until <time" in pages.page(address)
    assert "1 muted group</summary>" in pages.page("/failures?function=fail")
    command = pages.manager.command
    assert "by user operator, until " in command("failures", "show", address.rpartition("/")[2]).stdout
    pages.post(f"{address}/unmute")
    assert ">muted<" not in pages.page(address)
    socket = pages.manager.folder / "run" / "control.sock"
    noted = request(socket, "GET", "/actions?what=failures%20mute&limit=1")["actions"][0]
    name = address.rpartition("/")[2]
    assert (noted["who"], noted["target"]) == ("user operator", f"fail: ValueError in fail.fail ({name})")
    group = request(socket, "GET", f"/failures/{name}")
    assert (group["count"], group["dead"], sum(group["hours"])) == (3, 3, 3)
    with pages.manager.client() as client:
        late = client.submit_background("fail", "late")
    eventually(lambda: request(socket, "GET", f"/failures/{name}")["dead"] == 4, "one more")
    pages.post("/dead/drop", handle=handles[0])
    assert f'<a href="/gearman{address}">All failures like this one</a>' in pages.page(f"/jobs/{handles[0]}")
    status, done = pages.post(f"{address}/drop", mark=str(group["mark"]), expected="3")
    assert status == 303
    assert outcomes(pages, done.removeprefix("/gearman")) == {"meant": "3", "forgotten": "2", "gone": "1"}
    assert re.findall(r'name="handle" value="([^"]*)"', pages.page("/dead?function=fail")) == [late]
    assert request(socket, "GET", f"/failures/{name}")["dead"] == 1
    report = request(socket, "POST", f"/failures/{name}/retry")
    assert (report["what"], report["expected"]) == ("dead retry", 1)
    eventually(lambda: request(socket, "GET", f"/failures/{name}")["count"] == 5, "it fails again")
    failures_are_changed_by_commands_too(pages, name)
    assert pages.get("/failures/none")[0].status == pages.get("/failures?cursor=x")[0].status + 4 == 404
    pages.post("/dead/drop", handle=late)


def failures_are_changed_by_commands_too(pages: Pages, name: str) -> None:
    """The group has failed five times, and one dead job is left."""
    command, socket = pages.manager.command, pages.manager.folder / "run" / "control.sock"
    listed = command("failures", "list", "fail").stdout
    assert re.search(rf"(?m)^ *{name}\s+fail\s+ValueError\s+fail\.fail\s+5\s+5\s+1 ", listed)
    assert "\x1b" not in listed
    assert json.loads(command("failures", "list", "--json").stdout)[0]["id"] == name
    assert json.loads(command("failures", "list", "nap", "--json").stdout) == []
    shown = command("failures", "show", name).stdout
    for part in ("exception: ValueError", "times: 5, in the last 24 hours 5", "dead jobs: 1", "raise ValueError("):
        assert part in shown
    assert f"{name} is muted until " in command("failures", "mute", name, "--for", "2h").stdout
    until = request(socket, "GET", f"/failures/{name}")["muted_until"]
    assert abs(until - time.time() - 7200) < 120
    assert command("failures", "mute", name).stdout == f"{name} is muted\n"
    assert "(muted)" in command("failures", "list").stdout
    assert command("failures", "unmute", name).stdout == f"{name} is no longer muted\n"
    assert command("failures", "retry", name).stdout == "1 queued again\n"
    eventually(lambda: request(socket, "GET", f"/failures/{name}")["count"] == 6, "it fails once more")
    refused = command("failures", "drop", name, check=False)
    assert (refused.returncode, "nothing is changed" in refused.stderr) == (1, True)
    assert command("failures", "drop", name, "--yes").stdout == "1 dropped\n"
    gone = command("failures", "show", "none", check=False)
    assert (gone.returncode, "there is no group of failures none" in gone.stderr) == (1, True)


def test_jobs_behind_thousands_of_others_are_found(pages: Pages) -> None:
    for function in ("nap", "gate"):
        pages.post(f"/functions/{function}/pause")
    with pages.manager.client() as client:
        list(client.submit_background_many("nap", [b"0"] * 12_000))
        handle = client.submit_background("gate", b"/nowhere")
    assert re.findall(r'name="handle" value="([^"]*)"', pages.page("/jobs?function=gate")) == [handle]
    oldest = r"<dt>oldest waits for</dt><dd>[0-9.]+ s</dd>"
    eventually(lambda: re.search(oldest, pages.page("/functions/gate")), "its queue is known")
    pages.manager.command("jobs", "purge", "nap", "--yes")
    pages.post("/jobs/cancel", handle=handle)
    for function in ("nap", "gate"):
        pages.post(f"/functions/{function}/resume")


def test_hostile_texts_are_shown_as_texts(pages: Pages) -> None:
    with pages.manager.client() as client:
        handle = client.submit_background("fail", HOSTILE, unique="<b>u", tags=["<i>t"])
    eventually(lambda: handle in pages.page("/dead"), "it fails for good")
    for path in ("/dead", f"/dead/{handle}", f"/jobs/{handle}", "/pools/fail"):
        page = pages.page(path)
        assert "<script>alert" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    page = pages.page(f"/dead/{handle}")
    assert page.count(SHOWN) >= 2  # in the error, and in the traceback
    assert "&lt;b&gt;u" in page
    assert "<bdi>&lt;i&gt;t</bdi>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages.page("/pools/fail")  # its log
    for query in ("?function=", "?tag=", "?key="):
        assert "<script>alert" not in pages.page(
            f"/dead{query}{HOSTILE[:25]}".replace("<", "%3C").replace("\u202e", "")
        )
    assert "fail/" in re.findall(r'(?s)<div class="log".*?</pre>', page)[0]  # the log of this job alone
    [again] = re.findall(r'href="/gearman(/functions/fail\?like=[^"#]*)#run">Run again', page)
    assert html.escape(HOSTILE[:25]) in re.findall(r"(?s)<textarea.*?</textarea>", pages.page(again))[0]
    assert pages.post("/dead/retry", handle=handle, page_of="job")[0] == 303
    eventually(lambda: handle in pages.page("/dead?function=fail"), "it fails again")
    assert pages.post("/dead/drop", handle=handle, page_of="job") == (303, "/gearman/dead?said=dropped")
    assert handle not in pages.page("/dead")


def test_a_schedule_is_run_now(pages: Pages) -> None:
    assert "cron 0 0 1 1 *" in pages.page("/schedules")
    status, address = pages.post("/schedules/yearly/trigger")
    assert (status, address.startswith("/gearman/jobs/H:")) == (303, True)
    eventually(lambda: "<td>never</td>" not in pages.page("/schedules"), "it has run")
    assert pages.post("/schedules/none/trigger")[0] == 404
    handle = address.partition("?")[0].rpartition("/")[2]
    eventually(lambda: '<span class="badge complete">' in pages.page("/schedules"), "how it ended")
    assert pages.page("/schedules").count(f'/jobs/{handle}"') == 1
    [listed] = request(pages.manager.folder / "run" / "control.sock", "GET", "/schedules")["schedules"]
    [run] = listed["runs"]
    assert (run["handle"], run["outcome"], run["error"]) == (handle, "complete", "")
    assert run["started"] <= run["ended"]
    assert " complete " in pages.manager.command("schedules").stdout


def test_a_schedule_is_paused_and_resumed(pages: Pages) -> None:
    assert pages.post("/schedules/yearly/pause") == (303, "/gearman/schedules?said=schedule-paused")
    page = pages.page("/schedules")
    assert "<b>paused</b>" in page
    assert "/schedules/yearly/pause" not in page
    assert pages.post("/schedules/yearly/resume") == (303, "/gearman/schedules?said=schedule-resumed")
    assert "<b>paused</b>" not in pages.page("/schedules")
    assert pages.post("/schedules/none/pause")[0] == 404


def test_who_did_what_is_shown_with_what_a_form_said(pages: Pages) -> None:
    pages.post("/pools/nap/scale", min="1", max="2")
    pages.post("/reload", "operator")
    socket = pages.manager.folder / "run" / "control.sock"
    newest = request(socket, "GET", "/actions?limit=2")["actions"]
    assert [(row["who"], row["what"], row["target"], row["details"], row["status"]) for row in newest] == [
        ("user operator", "reload", "", "", 403),
        ("user operator", "pools scale", "nap", "1..2", 303),
    ]
    assert newest[0]["outcome"].startswith("the role admin is needed")
    page = pages.page("/history?what=pools+scale")
    assert "<bdi>user operator</bdi>" in page
    assert "<bdi>1..2</bdi>" in page
    assert "refused: <bdi>the role admin is needed" in pages.page("/history?what=reload")
    assert "No action is like this" in pages.page("/history?who=nobody")


def test_what_a_page_does_the_api_does_too(pages: Pages) -> None:
    response, content = pages.ask("POST", "/api/v1/functions/nap/run", bearer(FULL), '{"workload": "0"}')
    handle = json.loads(content)["handle"]
    assert response.status == 202
    eventually(lambda: pages.ask("GET", f"/api/v1/jobs/{handle}", bearer(FULL))[0].status == 404, "it has run")
    for wrong in ("{}", '{"workload": 1}', '{"workload": "", "json": 1}'):
        assert pages.ask("POST", "/api/v1/functions/nap/run", bearer(FULL), wrong)[0].status == 400
    [before] = pages.pool("fail")["workers"]
    assert pages.ask("POST", f"/api/v1/workers/{before['name']}/restart", bearer(FULL))[0].status == 202
    eventually(lambda: not alive(before["pid"]), "the worker is replaced")
    socket = pages.manager.folder / "run" / "control.sock"
    noted = request(socket, "GET", "/actions?what=functions%20run&who=token%20full")["actions"]
    assert [(row["target"], row["details"]) for row in noted] == [("nap", "")] * 3 + [("nap", "1 bytes")]


def test_the_pages_are_on_the_control_socket_and_behind_a_token_too(pages: Pages) -> None:
    response, page = pages.ask("GET", "/", bearer(READ))
    assert (response.status, "token read-only" in page, forms(page)) == (200, True, set())
