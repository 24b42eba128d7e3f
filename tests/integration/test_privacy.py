"""Secrets in workloads and errors: a manager that runs jobs with them tells them by none of its outlets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest

from gearman_client import Worker
from gearman_manager.access.caller import ROLES
from gearman_manager.access.users_file import make_user, write_user
from gearman_manager.command.control_client import request

from ..mail_server import MailServer
from .conftest import RunningManager, eventually
from .test_access import FULL, PASSWORD, READ
from .test_dashboard import Pages

SECRET = "s3cret"
#: The functions whose jobs do not run.
WAITING = ("held", "xml", "plain")
#: The routes of what there is not: a drain, the replacement of a job server, and limits by key.
IDLE = {"/api/v1/drain", "/api/v1/restart-server", "/api/v1/jobs/keys?function=held"}
MODULE = """
from gearman_manager import function

@function
def sign_up(job):
    form = job.json()
    print("printed", form)
    job.log.info("password=%s", form["password"])
    raise ValueError(f"{form['name']} can't have {form['password']} in {form}")

@function(retries=0, retention="1h")
def log_in(user: str, password: str, times: int = 1) -> None:
    raise PermissionError(f"{user}: {password} is wrong")

@function(show_workloads=False)
def send(job):
    raise ValueError(f"can't send {job.json()['body']}")

@function(redact=[])
def plain(job):
    pass
"""
CONFIG = """
defaults: {{redact: [password, /^auth/]}}
pools:
  all: {{functions: [sign_up, log_in, send, plain], min: 1, max: 1}}
control: {{listen: "127.0.0.1:0", token_file: full, read_token_file: read, users_file: users, prefix: /gearman}}
alerts:
  to: {{mail: ops@example.com}}
  rules: {{dead: 1}}
  smtp: {{server: "127.0.0.1:{smtp}"}}
"""
FORM = {"name": "bob", "password": f"{SECRET}-1", "nested": {"Authorization": f"{SECRET} 2"}}
CALL = {"args": ["bob", f"{SECRET}3"], "kwargs": {}}
MAIL = {"to": f"{SECRET}4@example.com", "body": f"{SECRET} five"}


class Private:
    """A manager with a job of each kind, and their handles."""

    def __init__(self, manager: RunningManager, mails: MailServer) -> None:
        self.manager, self.mails = manager, mails
        self.handles: dict[str, str] = {}
        #: The ids of a batch with a job, and of a change of jobs.
        self.batch = self.change = ""

    def submit(self) -> None:
        """Jobs that fail for good, jobs that wait, and the word of a worker that is none of ours."""
        with self.manager.client() as client:
            for function, workload in {"sign_up": FORM, "log_in": CALL, "send": MAIL}.items():
                self.handles[function] = str(client.submit_background(function, json.dumps(workload)))
            self.handles["foreign"] = str(client.submit_background("foreign", json.dumps(FORM)))
            self.handles["held"] = str(client.submit_background("held", json.dumps(FORM)))
            self.handles["xml"] = str(client.submit_background("held", f"<password>{SECRET}</password>"))
            self.manager.command("pause", "function", "plain")
            with client.batch() as batch:
                batch.background("held", "of a batch")
            self.batch = batch.id
            self.handles["plain"] = str(client.submit_background("plain", "a plain text"))

        def refuse(job: Any) -> bytes:
            raise ValueError(f"no such user: password={SECRET} {job.workload.decode()}")

        with Worker([self.manager.address]) as worker:
            worker.register("foreign", refuse)
            worker.work(max_jobs=1)
        eventually(lambda: len(self.dead()) == 4, "all are dead letters")
        eventually(
            lambda: all(name in self.told() for name in ("sign_up", "log_in", "send", "foreign")), "alerts tell of all"
        )

        body = {"tag": "nobody has this", "expected": 0}
        self.change = request(self.manager.folder / "run" / "control.sock", "POST", "/jobs/all/cancel", body)["id"]
        eventually(lambda: len(self.groups()) == 4, "their failures are grouped")

    def groups(self) -> list[str]:
        """The ids of the groups of failures."""
        found = request(self.manager.folder / "run" / "control.sock", "GET", "/failures")
        return [group["id"] for group in found["groups"]]

    def dead(self) -> list[dict[str, Any]]:
        found: dict[str, Any] = request(self.manager.folder / "run" / "control.sock", "GET", "/dead")
        jobs: list[dict[str, Any]] = found["jobs"]
        return jobs

    def told(self) -> str:
        mails = (message_from_bytes(each.content, policy=policy.default) for each in self.mails.mailbox.envelopes)
        return "\n".join(f"{mail['Subject']}\n{mail.get_content()}" for mail in mails)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    manager = RunningManager(tmp_path_factory.mktemp("privacy"))
    manager.write_module("private.py", MODULE)
    (manager.folder / "full").write_text(FULL)
    (manager.folder / "read").write_text(READ)
    for role in ROLES.values():
        write_user(manager.folder / "users", make_user(role.word, role, PASSWORD))
    mails = MailServer()
    try:
        manager.start(CONFIG.format(smtp=mails.port))
        running = Private(manager, mails)
        running.submit()
        yield running
    finally:
        manager.destroy()
        mails.close()


@pytest.fixture(scope="module")
def pages(private: Private) -> Pages:
    return Pages(private.manager)


def pages_of_all(private: Private) -> Iterator[str]:
    """The pages, each with something that is private on it, if there is such a thing."""
    yield from ("/", "/functions", "/jobs", "/dead", "/schedules", "/servers", "/peers", "/failures", "/history")
    yield from ("/metrics", "/pools/all", "/workers/all/1", "/jobs/all?function=held", "/dead/all?function=sign_up")
    yield from ("/jobs?function=held", "/jobs?state=finished", "/jobs?text=bob", "/dead?function=sign_up")
    yield from ("/charts", "/charts/pools/all", "/charts/functions/sign_up")
    yield from (f"/functions/{name}" for name in ("sign_up", "log_in", "send"))
    for function, handle in private.handles.items():
        family = "jobs" if function in WAITING else "dead"
        yield from (f"/jobs/{handle}", f"/{family}/{handle}", f"/api/v1/{family}/{handle}")
        if family == "dead":
            yield f"/api/v1/jobs/attempts/{handle}"
            yield from (f"/functions/{name}?like={handle}" for name in ("sign_up", "log_in", "send"))


def routes_of_all(private: Private) -> Iterator[str]:
    """The API's routes that can be read, for the things that there are."""
    document: dict[str, Any] = request(private.manager.folder / "run" / "control.sock", "GET", "/openapi.json")
    held, dead = private.handles["held"], private.handles["sign_up"]
    things = {
        "/dead/{handle}": dead,
        "/failures/{name}": private.groups()[0],
        "/functions/{name}": "sign_up",
        "/jobs/attempts/{handle}": dead,
        "/jobs/batches/{": private.batch,
        "/jobs/keys": "?function=held",
        "/changes/{name}": private.change,
    }
    for path, methods in document["paths"].items():
        if "get" in methods and path != "/events":  # it has no end; what it tells are actions
            thing = next((found for begin, found in things.items() if path.startswith(begin)), None)
            thing = thing or (held if "{handle}" in path else "all")
            yield "/api/v1" + (path + thing if thing[0] == "?" else re.sub(r"\{\w+\}", thing, path))
    for group in private.groups():
        yield from (f"/failures/{group}", f"/api/v1/failures/{group}")
    yield f"/changes/{private.change}"


@pytest.fixture(scope="module")
def everything(private: Private, pages: Pages) -> dict[str, str]:
    """All that the manager answers on every route that can be read, by path, for the admin."""
    answers, missing = {}, []
    for path in (*pages_of_all(private), *routes_of_all(private)):
        response, answers[path] = pages.ask("GET", path, {"Accept": "text/html", **pages.sessions["admin"]})
        if response.status != 200:
            missing.append((path, response.status))
    assert {path for path, _ in missing} == IDLE, missing
    return answers


def test_no_route_tells_a_secret(everything: dict[str, str]) -> None:
    assert {path: content for path, content in everything.items() if SECRET in content} == {}


def test_keys_stay_and_values_are_marked(private: Private, everything: dict[str, str]) -> None:
    handles = private.handles
    job = json.loads(everything[f"/api/v1/dead/{handles['sign_up']}"])
    shown = {"name": "bob", "password": "[redacted]", "nested": {"Authorization": "[redacted]"}}
    assert (json.loads(job["workload"]), job["is_redacted"], "workload_base64" in job) == (shown, True, False)
    assert job["error"].startswith("ValueError: bob can't have [redacted] in {'name': 'bob', 'password': '[redacted]'")
    assert "private.py" in job["traceback"]
    call = json.loads(everything[f"/api/v1/dead/{handles['log_in']}"])
    assert json.loads(call["workload"]) == {"args": ["bob", "[redacted]"], "kwargs": {}}
    assert call["error"] == "PermissionError: bob: [redacted] is wrong"
    mail = json.loads(everything[f"/api/v1/dead/{handles['send']}"])
    assert (mail["workload"], mail["bytes"], mail["error"]) == (
        "",
        len(json.dumps(MAIL)),
        "ValueError: can't send [redacted]",
    )
    foreign = json.loads(everything[f"/api/v1/dead/{handles['foreign']}"])
    assert "password=[redacted]" in foreign["error"]
    listed = {row["handle"]: row["error"] for row in json.loads(everything["/api/v1/dead"])["jobs"]}
    assert listed[handles["foreign"]] == "[redacted]"  # the list has 64 bytes of its workload
    assert listed[handles["sign_up"]].startswith("ValueError: bob can't have [redacted] in")
    waiting = json.loads(everything[f"/api/v1/jobs/{handles['held']}"])
    assert json.loads(waiting["workload"]) == shown
    assert json.loads(everything[f"/api/v1/jobs/{handles['xml']}"])["workload"] == ""
    plain = json.loads(everything[f"/api/v1/jobs/{handles['plain']}"])
    assert (plain["workload"], "is_redacted" in plain) == ("a plain text", False)
    page = everything[f"/dead/{handles['send']}"]
    assert "It is private." in page
    assert "[redacted]" in everything[f"/dead/{handles['sign_up']}"]


def test_no_search_finds_a_job_by_a_secret(private: Private) -> None:
    socket = private.manager.folder / "run" / "control.sock"
    for path in ("/jobs", "/dead", "/jobs/count", "/dead/count", "/jobs/finished"):
        answer = request(socket, "GET", f"{path}?text={SECRET}")
        assert answer.get("jobs", []) == [], path
        assert answer.get("count", 0) == 0, path
    assert {row["function"] for row in request(socket, "GET", "/dead?text=BOB")["jobs"]} == {
        "sign_up",
        "log_in",
        "foreign",
    }
    assert request(socket, "GET", "/jobs/count?text=bob")["waiting"] == 1


def test_a_form_for_edits_brings_no_marks_back(private: Private, everything: dict[str, str]) -> None:
    form = everything[f"/functions/sign_up?like={private.handles['sign_up']}"]
    assert "[redacted]" not in form
    assert "write it anew" in form
    assert "Run again with another workload" in everything[f"/dead/{private.handles['sign_up']}"]


def test_no_command_tells_a_secret(private: Private) -> None:
    commands = [["jobs", "list"], ["dead", "list"], ["dead", "list", "--json"], ["status"], ["functions"], ["logs"]]
    commands += [[family, "show", handle] for family in ("jobs", "dead") for handle in private.handles.values()]
    said = {" ".join(words): private.manager.command(*words, check=False).stdout for words in commands}
    assert {words: text for words, text in said.items() if SECRET in text} == {}
    assert "(private)" in said["jobs list"]
    assert "[redacted]" in said[f"dead show {private.handles['sign_up']}"]


def test_no_line_of_the_log_and_no_mail_tells_a_secret(private: Private) -> None:
    log, mails = private.manager.log(), private.told()
    assert [line for line in log.splitlines() if SECRET in line] == []
    assert "printed {'name': 'bob', 'password': '[redacted]'" in log
    assert "password=[redacted]" in log
    assert SECRET not in mails
    assert "[redacted]" in mails


def test_what_operators_do_is_noted_without_secrets(private: Private, pages: Pages) -> None:
    assert pages.post("/functions/plain/run", workload=json.dumps(FORM))[0] == 303
    status, refused = pages.post(
        "/functions/log_in/run", **{"with": "fields", "field.user": "x", "field.times": SECRET}
    )
    assert (status, SECRET in refused) == (400, False)
    headers = {"Authorization": f"Bearer {FULL}", "Content-Type": "application/json"}
    body = json.dumps({"workload": json.dumps(FORM), "password": SECRET, "Authorization": f"{SECRET} x"})
    assert pages.ask("POST", "/api/v1/functions/sign_up/run", headers, body)[0].status >= 400
    actions = pages.ask("GET", "/api/v1/actions", pages.sessions["admin"])[1]
    assert "functions run" in actions
    assert SECRET not in actions
    assert SECRET not in pages.page("/history", "admin")
    assert [line for line in private.manager.log().splitlines() if SECRET in line] == []


def test_no_file_of_the_run_folder_has_a_secret(private: Private) -> None:
    files = [file for file in (private.manager.folder / "run").rglob("*") if file.is_file()]
    assert {"history.db", "finished.db"} <= {file.name for file in files}
    assert [file.name for file in files if SECRET.encode() in file.read_bytes()] == []


def test_the_job_server_is_told_of_the_retention(private: Private) -> None:
    policies = json.loads((private.manager.folder / "run" / "policies.yaml").read_text())
    assert policies["functions"]["log_in"]["retention"] == "1h"
    assert "retention" not in policies["functions"]["sign_up"]


def test_a_reload_changes_what_is_shown(private: Private) -> None:
    before = private.dead()
    file = private.manager.config_file
    file.write_text(file.read_text().replace("/^auth/", "/^auth/, name"))
    private.manager.command("reload")
    after = eventually(lambda: (rows := private.dead()) != before and rows, "the new rules hold")
    assert all("bob" not in row["preview"] for row in after if row["function"] == "sign_up")
