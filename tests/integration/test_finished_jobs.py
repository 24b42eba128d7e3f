"""Finished jobs of a running manager: found by API, pages and commands, and kept over its restart."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from gearman_client import Client
from gearman_manager.command.control_client import request
from gearman_manager.errors import ManagerError

from .conftest import NAP, RunningManager, eventually
from .test_access import FULL, READ, Site, bearer

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"
JOBS = f"""
from gearman_manager import function

@function
def ok(job):
    job.status(3, 4)
    return b"<i>" + job.workload

@function(retries=1, backoff="10ms")
def picky(job):
    raise ValueError({HOSTILE!r})
"""
CONFIG = """
pools: {jobs: {functions: [ok, picky], min: 1, max: 1}, nap: {functions: [nap], min: 1, max: 1}}
functions: {picky: {retries: 1, backoff: 10ms}}
control: {listen: 127.0.0.1:0, token_file: full, read_token_file: read}
"""


class Kept(Site):
    """A manager whose jobs have ended."""

    #: Handles: one that is complete, one that failed for good, one that was cancelled, and one that runs.
    complete = failed = cancelled = running = ""

    def api(self, path: str, **query: str) -> Any:
        response, content = self.ask("GET", f"/api/v1{path}?{urlencode(query)}", bearer(READ))
        assert response.status == 200, content
        return json.loads(content)

    def handles(self, **query: str) -> list[str]:
        return [row["handle"] for row in self.api("/jobs/finished", **query)["jobs"]]

    def page(self, path: str) -> str:
        response, content = self.ask("GET", path, bearer(READ) | {"Accept": "text/html"})
        assert response.status == 200, content
        return content


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    manager = RunningManager(tmp_path_factory.mktemp("finished"))
    manager.write_module("jobs.py", JOBS.replace('@function(retries=1, backoff="10ms")', "@function"))
    manager.write_module("nap.py", NAP)
    for name, token in (("full", FULL), ("read", READ)):
        (manager.folder / name).write_text(token)
    try:
        manager.start(CONFIG)
        site = Kept(manager)
        with manager.client() as client:
            _do_jobs(client, site)
        ended = {site.complete, site.failed, site.cancelled}
        eventually(lambda: ended <= set(site.handles()), "the manager has collected them")
        yield site
    finally:
        manager.destroy()


def _do_jobs(client: Client, site: Kept) -> None:
    site.complete = client.submit_background("ok", b'{"to": "Alice@example.com"}', unique="u<1>", tags=["mail", "a b"])
    site.failed = client.submit_background("picky", b"50%_off", tags=["mail"])
    site.running = client.submit_background("nap", b"600")
    site.cancelled = client.submit_background("nap", b"0")
    request(site.manager.folder / "run" / "control.sock", "POST", "/jobs/cancel", {"handles": [site.cancelled]})


def test_they_are_found_by_all_that_is_known_of_them(kept: Kept) -> None:
    both = {kept.complete, kept.failed}
    assert set(kept.handles(tag="mail")) == both
    assert kept.handles(tag="a b") == kept.handles(unique="u<1>") == kept.handles(function="ok") == [kept.complete]
    assert kept.handles(text="alice@EXAMPLE") == kept.handles(outcome="complete") == [kept.complete]
    assert kept.handles(text="50%_off") == kept.handles(handle=kept.failed) == [kept.failed]
    assert kept.handles(text="50_%off") == kept.handles(text="5%f") == []
    assert kept.handles(text="alert(1)", outcome="exception") == [kept.failed]
    assert kept.handles(outcome="exception", attempts="") == [kept.failed] * 2
    assert kept.handles(outcome="cancelled") == [kept.cancelled]
    assert kept.handles(until=str(time.time() - 3600)) == []
    assert both < set(kept.handles(since=str(time.time() - 3600)))


def test_pages_have_cursors_and_wrong_conditions_are_refused(kept: Kept) -> None:
    first = kept.api("/jobs/finished", limit="2")
    second = kept.api("/jobs/finished", limit="2", cursor=first["next"])
    assert len({row["handle"] for row in first["jobs"] + second["jobs"]}) == 3
    assert (second["next"], second["missed"]) == (None, 0)
    for wrong in ("outcome=fine", "since=soon", "limit=0", "cursor=x", "key=k", "text="):
        response, content = kept.ask("GET", f"/api/v1/jobs/finished?{wrong}", bearer(READ))
        assert (response.status, json.loads(content)["status"]) == (400, 400)


def test_the_attempts_of_a_job_are_told_until_its_end(kept: Kept) -> None:
    first, last = kept.api(f"/jobs/attempts/{kept.failed}")["attempts"]
    assert [each["outcome"] for each in (first, last)] == ["exception"] * 2
    assert [(each["attempt"], each["follows"]) for each in (first, last)] == [(1, "retry"), (2, "dead")]
    assert first["submitted"] <= first["started"] <= first["ended"] <= last["started"] <= last["ended"]
    assert last["traceback"].rstrip().endswith(f"ValueError: {HOSTILE}")
    assert re.fullmatch(r"gm:\S+/jobs/\d+", last["worker"])
    [complete] = kept.api(f"/jobs/attempts/{kept.complete}")["attempts"]
    assert (complete["result"], complete["progress"]) == ('<i>{"to": "Alice@example.com"}', "3/4")
    assert (complete["unique"], complete["tags"]) == ("u<1>", ["mail", "a b"])
    response, _ = kept.ask("GET", "/api/v1/jobs/attempts/H:none:1", bearer(READ))
    assert response.status == 404


def test_the_page_of_jobs_shows_and_finds_them(kept: Kept) -> None:
    page = kept.page("/jobs")
    assert "Finished lately" in page
    assert all(handle in page for handle in (kept.complete, kept.failed, kept.cancelled, kept.running))
    assert kept.failed not in kept.page("/jobs?function=ok")
    for query, found in (
        ({"text": "alice@"}, {kept.complete}),
        ({"state": "finished", "tag": "mail"}, {kept.complete, kept.failed}),
        ({"state": "exception", "within": "1 h"}, {kept.failed}),
        ({"unique": "none"}, set[str]()),
    ):
        page = kept.page(f"/jobs?{urlencode(query)}")
        assert {handle for handle in (kept.complete, kept.failed, kept.cancelled) if handle in page} == found
        assert all(f'"{value}"' in unescape(page) or f">{value}<" in page for value in query.values())
    assert kept.running in kept.page("/jobs?text=600&within=1+h")  # those that run, and those that are over, as one
    assert kept.running not in kept.page("/jobs?text=600&state=waiting")
    with closing(sqlite3.connect(kept.manager.folder / "run" / "finished.db", timeout=30)) as file:
        file.execute("ALTER TABLE finished RENAME TO away")
        try:
            assert "Finished jobs could not be searched: " in kept.page("/jobs?text=alice")
        finally:
            file.execute("ALTER TABLE away RENAME TO finished")
    for wrong in ("within=1+s", "state=finished&key=x", "state=all", "state=finished&cursor=x", f"text={'x' * 201}"):
        assert kept.ask("GET", f"/jobs?{wrong}", bearer(READ) | {"Accept": "text/html"})[0].status == 400


def test_the_page_of_a_job_tells_what_happened_also_when_it_is_gone(kept: Kept) -> None:
    page = kept.page(f"/jobs/{kept.complete}")
    assert 'class="badge complete"' in page
    assert "What happened" in page
    assert "attempt 1" in page
    assert "&lt;i&gt;{&#34;to&#34;" in page  # the result
    page = kept.page(f"/jobs/{kept.failed}")
    assert page.count('class="badge exception"') == 2
    assert "it is run again" in page
    assert "it is kept as a dead letter" in page
    assert "Queue it again" not in page  # its reader may only look
    page = kept.page(f"/jobs/{kept.cancelled}")
    assert 'class="badge cancelled"' in page
    assert "began" not in page
    page = kept.page(f"/jobs/{kept.running}")
    assert re.search(
        r'<li>queued <time.*?<li aria-current="step"><b><bdi>running</bdi></b> \(attempt 1\)', page, re.DOTALL
    )


def test_hostile_texts_are_shown_as_texts(kept: Kept) -> None:
    for path in ("/jobs", "/jobs?state=finished", f"/jobs/{kept.failed}", f"/jobs?text={quote(HOSTILE)}"):
        page = kept.page(path)
        assert "&lt;script&gt;alert(1)" in page
        for mark in ("<script>alert", "\x1b", "\u202e"):
            assert mark not in page


def test_commands_list_them_and_tell_of_one(kept: Kept) -> None:
    manager = kept.manager
    rows = json.loads(manager.command("jobs", "finished", "picky", "--attempts", "--json").stdout)
    assert [(row["handle"], row["attempt"]) for row in rows] == [(kept.failed, 2), (kept.failed, 1)]
    lines = manager.command("jobs", "finished", "--tag", "mail", "--since", "1h").stdout
    assert kept.complete in lines
    assert "exception" in lines
    assert kept.cancelled not in lines
    assert "\x1b" not in lines
    one = manager.command("jobs", "finished", "--limit", "1")
    assert one.stderr == "there may be more: --limit 1 was reached\n"
    shown = manager.command("jobs", "attempts", kept.failed).stdout
    assert shown.count("outcome: exception") == 2
    assert "\x1b" not in shown
    over = manager.command("jobs", "show", kept.complete, check=False)
    assert (over.returncode, over.stderr) == (
        1,
        f"gearman-manager: there is no job {kept.complete}; "
        f"`gearman-manager jobs attempts {kept.complete}` tells how its attempts ended\n",
    )
    refused = manager.command("jobs", "attempts", "H:none:1", check=False)
    assert (refused.returncode, refused.stderr) == (1, "gearman-manager: no end of an attempt of H:none:1 is kept\n")


def test_a_job_is_run_again_with_edits_if_its_whole_workload_is_kept(kept: Kept) -> None:
    headers = bearer(FULL) | {"Accept": "text/html"}
    with kept.manager.client() as client:
        longer = client.submit_background("nap", b"0" * 3000)
        request(kept.manager.folder / "run" / "control.sock", "POST", "/jobs/cancel", {"handles": [longer]})
        cut = client.submit_background("ok", b"x" * 600)
    eventually(lambda: {longer, cut} <= set(kept.handles()), "they are over")
    for handle, workload in ((kept.complete, '{"to": "Alice@example.com"}'), (longer, "0" * 3000)):
        assert kept.api(f"/jobs/attempts/{handle}")["attempts"][-1]["is_whole"]
        page = kept.ask("GET", f"/jobs/{handle}", headers)[1]
        [address] = re.findall(r'href="(/functions/[^"]*)">Run again with edits', page)
        form = kept.ask("GET", unescape(address).partition("#")[0], headers)[1]
        assert f">\n{workload}</textarea>" in unescape(form)
    page = kept.ask("GET", f"/jobs/{cut}", headers)[1]
    assert "It can&#39;t be run again from here: only the beginning" in page.replace("can't", "can&#39;t")
    form = kept.ask("GET", f"/functions/ok?like={quote(cut)}", headers)[1]
    assert "only the beginning is kept" in form
    assert kept.ask("GET", "/functions/ok?like=H:none:1", headers)[0].status == 404
    assert "Run again" not in kept.page(f"/jobs/{kept.complete}")  # its reader may only look


def test_finished_jobs_are_run_again_one_by_one_or_all_that_match(kept: Kept) -> None:
    socket = kept.manager.folder / "run" / "control.sock"

    def collected(handle: str) -> None:
        eventually(lambda: handle in kept.handles(), "it is over")

    with kept.manager.client() as client:
        first = client.submit_background("ok", b"again \xff\t", unique="twice", priority="high")
        cut = client.submit_background("ok", b"again" + b"x" * 600)
        collected(first)
        collected(cut)
        count = request(socket, "GET", "/jobs/finished/count?text=again")
        assert (count["count"], count["fit"]) == (2, 1)
        late = client.submit_background("ok", b"again, late")
        collected(late)
    body = {"text": "AGAIN", "mark": count["mark"], "expected": 2}
    report = request(socket, "POST", "/jobs/finished/all/again", body)
    address = f"/changes/{report['id']}"
    eventually(lambda: request(socket, "GET", address)["over"], "the change is made")
    report = request(socket, "GET", address)
    assert (report["what"], report["done"], report["left"], report["gone"]) == ("finished again", 1, 1, 0)
    eventually(lambda: len(kept.handles(unique="twice")) == 2, "it has run again")
    new, old = kept.api("/jobs/finished", unique="twice")["jobs"]
    assert (new["handle"] != old["handle"], new["priority"], new["preview"]) == (True, "high", old["preview"])
    answer = request(socket, "POST", "/jobs/finished/again", {"handles": [late, cut, "H:none:1"]})
    assert (len(answer["handles"]), answer["left"]) == (1, 2)
    assert answer["problems"][1] == "H:none:1: nothing is kept of it"
    collected(answer["handles"][0])
    command = kept.manager.command("jobs", "again", "--text", "again, late", "--function", "ok", check=False)
    assert "Run 2 finished jobs again? [y/N]:" in command.stdout
    said = kept.manager.command("jobs", "again", "--text", "again, late", "--yes").stdout
    assert said == "2 run again\n"
    refused = kept.manager.command("jobs", "again", cut, check=False)
    reason = f"1 of 1 left; {cut}: only the beginning of its workload is kept"
    assert (refused.returncode, refused.stderr) == (1, f"gearman-manager: {reason}\n")
    for wrong in ({"mark": 2**53 + 2}, {"mark": 2**63 - 1}, {"expected": -1}):
        with pytest.raises(ManagerError, match="a whole number from 0 up is expected"):
            request(socket, "POST", "/jobs/finished/all/again", wrong)
    with pytest.raises(ManagerError, match="1,000 at most are run again at once"):
        request(socket, "POST", "/jobs/finished/again", {"handles": ["H:x:1"] * 1001})
    assert kept.manager.command("jobs", "again", check=False).returncode == 2


def test_a_question_does_not_act_on_the_terminal(kept: Kept) -> None:
    acts = "acts\u202e"
    with kept.manager.client() as client:
        client.submit_background(acts, b"")
    asked = kept.manager.command("jobs", "purge", acts, check=False).stdout
    assert r"Cancel 1 job that waits for acts\u202e?" in asked
    assert "\u202e" not in asked
    kept.manager.command("jobs", "purge", acts, "--yes")


def test_pages_run_finished_jobs_again(kept: Kept) -> None:
    headers = bearer(FULL) | {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}

    def post(path: str, **fields: str) -> str:
        response, content = kept.ask("POST", path, headers, urlencode(fields))
        assert response.status == 303, content
        return response.getheader("Location") or ""

    page = kept.ask("GET", "/jobs?state=complete&text=alice%40", headers)[1]
    assert re.findall(r'name="handle" value="([^"]*)"', page) == [kept.complete]
    assert 'name="handle" value' not in kept.page("/jobs?state=complete")  # its reader may only look
    assert post("/jobs/finished/again", handle=kept.complete).endswith("?state=finished&said=again")
    eventually(lambda: len(kept.handles(unique="u<1>")) == 2, "it has run")
    one = post("/jobs/finished/again", handle=kept.complete, page_of="job")
    assert re.fullmatch(r"/jobs/H:\S+:\d+\?said=submitted", one)
    eventually(lambda: len(kept.handles(unique="u<1>")) == 3, "both have run")
    [address] = re.findall(r'href="([^"]*)">All that match', page)
    every = kept.ask("GET", unescape(address), headers)[1]
    assert '<h2 id="which">1 finished job</h2>' in every
    assert "2 more ended since you looked, and are not meant" in every
    form = every[every.index('action="/jobs/finished/all/again"') :]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    address = post("/jobs/finished/all/again", **{name: unescape(value) for name, value in fields.items()})
    eventually(lambda: ">done</span>" in kept.page(address), "it is made")
    assert "<dt>run again</dt><dd>1</dd>" in kept.page(address)
    assert "finished again</a> of <bdi>all outcome=complete text=alice@" in kept.page("/jobs?state=finished")
    assert kept.ask("GET", "/jobs/finished/all?state=waiting", headers)[0].status == 400
    assert kept.ask("GET", "/jobs/finished/all", bearer(READ) | {"Accept": "text/html"})[0].status == 403


def test_they_outlive_the_manager(kept: Kept) -> None:
    """The last test: it restarts the manager."""
    manager = kept.manager
    manager.command("jobs", "stop", kept.running)
    eventually(lambda: kept.handles(outcome="stopped") == [kept.running], "it is stopped, and that is kept")
    before = set(kept.handles())
    manager.stop()
    manager.start(CONFIG)
    site = Kept(manager)
    assert before <= set(site.handles())
    with manager.client() as client:
        handle = client.submit_background("ok", b"again")
    eventually(lambda: handle in site.handles(), "jobs of the next run are there too")
