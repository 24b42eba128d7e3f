"""Who may what on the TCP address of a running manager: tokens, users, a trusted proxy, and pages of foreign sites."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gearman_manager.access.caller import ROLES
from gearman_manager.access.users_file import make_user, write_user
from gearman_manager.command.control_client import request

from .conftest import BIN, NAP, RunningManager, eventually

FULL, READ, PROXY = "full-0123456789abcdef", "read-0123456789abcdef", "proxy-0123456789abcde"
PASSWORD = "correct horse"
PAUSE = "/api/v1/pools/nap/pause"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CONTROL = """
pools: {nap: {functions: [nap], min: 1, max: 1}}
control:
  listen: 127.0.0.1:0
  token_file: full
  read_token_file: read
  users_file: users
  trusted_proxy: {token_file: proxy, user_header: X-Forwarded-User}
  prefix: /gearman
  hosts: [gearman.example.com]
"""


class Site:
    """The port of a running manager."""

    def __init__(self, manager: RunningManager) -> None:
        self.manager = manager
        found = re.findall(r"control API on 127.0.0.1:(\d+) too", manager.log())
        self.port = int(found[-1])

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
    ) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        return response, content

    def status(self, method: str, path: str, body: str | None = None, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, path, named, body)[0].status

    def log_in(self, name: str, password: str, **headers: str) -> tuple[HTTPResponse, str]:
        form = urlencode({"name": name, "password": password, "next": "/pools?a=b"})
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask("POST", "/login", FORM | named, form)

    def session(self, name: str, password: str = PASSWORD) -> dict[str, str]:
        """The headers of a session's requests."""
        response, _ = self.log_in(name, password)
        assert response.status == 303
        cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
        return {"Cookie": f"other=1; {cookie}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A manager with tokens, users of each role, and a proxy."""
    manager = RunningManager(tmp_path_factory.mktemp("site"))
    manager.write_module("nap.py", NAP)
    for name, token in (("full", FULL), ("read", READ), ("proxy", PROXY)):
        (manager.folder / name).write_text(token)
    for role in ROLES.values():
        write_user(manager.folder / "users", make_user(role.word, role, PASSWORD))
    try:
        manager.start(CONTROL)
        yield Site(manager)
    finally:
        manager.destroy()


def csrf_of(site: Site, session: dict[str, str]) -> str:
    """What the API tells a page of the session about itself."""
    return str(json.loads(site.ask("GET", "/api/v1/me", session)[1])["csrf_token"])


def test_the_read_only_token_may_look_and_change_nothing(site: Site) -> None:
    assert site.ask("GET", "/api/v1/status", bearer(READ))[0].status == 200
    for path in (PAUSE, "/api/v1/reload", "/api/v1/stop"):
        response, content = site.ask("POST", path, bearer(READ))
        assert (response.status, response.getheader("Content-Type")) == (403, "application/problem+json")
        assert "token read-only is viewer" in json.loads(content)["detail"]
    assert not site.manager.status()["pools"]["nap"]["paused"]
    assert site.ask("POST", PAUSE, bearer(FULL))[0].status == 202
    assert site.ask("POST", "/api/v1/pools/nap/resume", bearer(FULL))[0].status == 202


@pytest.mark.parametrize(
    ("role", "pauses", "reloads"), [("viewer", 403, 403), ("operator", 202, 403), ("admin", 202, 202)]
)
def test_a_user_may_do_what_the_role_allows(site: Site, role: str, pauses: int, reloads: int) -> None:
    session = site.session(role)
    assert site.ask("GET", "/api/v1/status", session)[0].status == 200
    session["X-CSRF-Token"] = csrf_of(site, session)
    assert site.ask("POST", PAUSE, session)[0].status == pauses
    assert site.ask("POST", "/api/v1/reload", session)[0].status == reloads


def test_a_session_is_a_safe_cookie_and_ends_with_a_logout(site: Site) -> None:
    response, _ = site.log_in("operator", PASSWORD)
    cookie = response.getheader("Set-Cookie") or ""
    assert response.getheader("Location") == "/gearman/pools?a=b"
    assert re.search("; HttpOnly; Path=/gearman; SameSite=Strict$", cookie), cookie
    assert "; Secure" in (
        site.log_in("operator", PASSWORD, X_Proxy_Token=PROXY, X_Forwarded_Proto="https")[0].getheader("Set-Cookie")
        or ""
    )
    session = site.session("operator")
    session["X-CSRF-Token"] = csrf_of(site, session)
    response, _ = site.ask("POST", "/logout", session)
    assert (response.status, response.getheader("Location")) == (303, "/gearman/login")
    assert "Max-Age=0" in (response.getheader("Set-Cookie") or "")
    assert site.ask("GET", "/api/v1/status", session)[0].status == 401


def test_a_form_without_the_token_of_its_session_changes_nothing(site: Site) -> None:
    session = site.session("operator")
    other = csrf_of(site, site.session("operator"))
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other}, {"X-CSRF-Token": "\xe9"}):
        assert site.ask("POST", PAUSE, session | wrong)[0].status == 403
    assert site.ask("POST", PAUSE, session | FORM, urlencode({"csrf_token": other}))[0].status == 403
    assert site.ask("POST", PAUSE, session | FORM, urlencode({"csrf_token": csrf_of(site, session)}))[0].status == 202


def test_a_token_logs_in_without_a_name(site: Site) -> None:
    session = site.session("", READ)
    assert json.loads(site.ask("GET", "/api/v1/me", session)[1])["role"] == "viewer"


def test_wrong_passwords_are_refused_and_then_not_looked_at(site: Site) -> None:
    asked = {"X-Proxy-Token": PROXY, "X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
    form = urlencode({"name": "admin", "password": "wrong", "next": "//evil.example"})
    for _ in range(5):
        response, content = site.ask("POST", "/login", FORM | asked, form)
        assert (response.status, response.getheader("Set-Cookie")) == (403, None)
        assert "not known here" in content
    response, content = site.ask("POST", "/login", FORM | asked, form.replace("wrong", PASSWORD))
    assert (response.status, int(response.getheader("Retry-After") or 0) > 0) == (429, True)
    assert "a login from 192.0.2.7 as admin was refused" in site.manager.log()
    assert site.log_in("admin", PASSWORD)[0].status == 303  # from elsewhere


def test_of_several_cookies_the_first_counts_and_those_of_others_do_not_hide_it(site: Site) -> None:
    cookie = site.session("viewer")["Cookie"]
    for sent in (f"{cookie}; gearman_session=other", f'x={{"a":1}}; {cookie}'):
        assert site.ask("GET", "/api/v1/me", {"Cookie": sent})[0].status == 200


def test_a_change_is_noted_though_its_body_is_nested_too_deeply(site: Site) -> None:
    token = {"Authorization": f"Bearer {FULL}"}
    assert site.ask("POST", PAUSE, token, "[" * 100_000)[0].status == 202
    assert '"what":"pools pause"' in site.ask("GET", "/api/v1/actions?limit=1", token)[1].replace(": ", ":")


def test_nobody_is_led_to_another_site_by_a_login(site: Site) -> None:
    for goal in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\\b", ""):
        form = urlencode({"name": "viewer", "password": PASSWORD, "next": goal})
        assert site.ask("POST", "/login", FORM, form)[0].getheader("Location") == "/gearman/"


def test_a_browser_without_a_session_is_sent_to_the_login_and_a_program_is_refused(site: Site) -> None:
    response, _ = site.ask("GET", "/gearman/pools?a=b", {"Accept": "text/html"})
    assert (response.status, response.getheader("Location")) == (303, "/gearman/login?next=%2Fpools%3Fa%3Db")
    response, _ = site.ask("GET", "/functions/%C3%A9%3Fb", {"Accept": "text/html"})
    assert response.getheader("Location") == "/gearman/login?next=%2Ffunctions%2F%25C3%25A9%253Fb"
    for path in ("/gearman/api/v1/status", "/pools", "/metrics", "/login/../api/v1/status", "/static/../api/v1/status"):
        assert site.ask("GET", path)[0].status in (401, 404), path
    response, content = site.ask("GET", "/gearman/login?next=%3Cb%3E")
    assert response.status == 200
    assert "&lt;b&gt;" in content
    assert response.getheader("Content-Security-Policy", "").startswith("default-src 'self'")
    assert (response.getheader("X-Content-Type-Options"), response.getheader("Cache-Control")) == (
        "nosniff",
        "no-store",
    )


def test_probes_tell_everybody_the_status_and_callers_the_reason(site: Site, napping: RunningManager) -> None:
    assert site.ask("GET", "/livez")[1] == "ok\n"
    response, content = site.ask("GET", "/gearman/readyz")
    assert (response.status, content) == (200, "ok\n")
    assert "in 1 pool" in site.ask("GET", "/readyz", bearer(READ))[1]
    napping.write_module("nap.py", "def nap(job): ...\n\ndef setup(): raise SystemExit(3)\n")
    (napping.folder / "token").write_text(FULL)
    napping.config_file.write_text(
        "run_dir: run\nservers: ['127.0.0.1:1']\ncontrol: {listen: 127.0.0.1:0, token_file: token}\n"
    )
    napping.launch()
    eventually(lambda: "control API on" in napping.log(), "it listens")
    unready = Site(napping)
    eventually(lambda: unready.ask("GET", "/readyz")[0].status == 503, "no job server answers")
    assert unready.ask("GET", "/readyz")[1] == "not ready\n"
    assert "no answer from job server: 127.0.0.1:1" in unready.ask("GET", "/readyz", bearer(FULL))[1]
    assert unready.ask("GET", "/livez")[0].status == 200


def test_a_session_goes_on_when_a_link_of_another_site_leads_here(site: Site) -> None:
    from_mail = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
    response, _ = site.ask("GET", "/pools?a=b", from_mail)  # without the cookie, which is SameSite=Strict
    form = response.getheader("Location") or ""
    again = re.search('http-equiv="refresh" content="0; url=([^"]*)"', site.ask("GET", form, from_mail)[1])
    assert again is not None
    own = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    assert 'http-equiv="refresh"' not in site.ask("GET", again[1], own)[1]
    response, _ = site.ask("GET", again[1], own | site.session("viewer"))
    assert (response.status, response.getheader("Location")) == (303, "/gearman/pools?a=b")


def test_a_large_body_of_nobody_is_not_read(site: Site) -> None:
    assert site.ask("POST", "/login", FORM, "name=" + "x" * 10_000)[0].status == 413


@pytest.mark.parametrize(
    "foreign",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
)
def test_a_request_for_a_foreign_host_or_from_a_foreign_page_is_refused(site: Site, foreign: dict[str, str]) -> None:
    for credentials in (bearer(FULL), site.session("admin"), {}):
        assert site.ask("POST", PAUSE, credentials | foreign)[0].status == 403
        assert site.ask("GET", "/login", credentials | foreign)[0].status == 403
    own = {"Host": "gearman.example.com", "Origin": "https://gearman.example.com"}
    assert site.ask("GET", "/api/v1/status", bearer(FULL) | own)[0].status == 200


def test_a_trusted_proxy_names_the_user_and_nobody_else_does(site: Site) -> None:
    as_admin = {"X-Forwarded-User": "admin"}
    for forged in (as_admin, as_admin | {"X-Proxy-Token": "wrong-0123456789abcdef"}, as_admin | {"X-Proxy-Token": ""}):
        assert site.ask("GET", "/api/v1/me", forged)[0].status == 401
    by_proxy = {"X-Proxy-Token": PROXY, "X-Forwarded-For": "192.0.2.9"}
    me = json.loads(site.ask("GET", "/api/v1/me", by_proxy | as_admin)[1])
    assert (me["who"], me["role"], me["address"]) == ("proxy admin", "admin", "192.0.2.9")
    stranger = by_proxy | {"X-Forwarded-User": "somebody@example.com"}
    me = json.loads(site.ask("GET", "/api/v1/me", stranger)[1])
    assert (me["role"], site.ask("POST", PAUSE, stranger)[0].status) == ("viewer", 403)
    assert site.ask("GET", "/api/v1/me", by_proxy)[0].status == 401
    assert site.ask("POST", PAUSE, by_proxy | as_admin)[0].status == 403  # a page could make the browser send this
    csrf = json.loads(site.ask("GET", "/api/v1/me", by_proxy | as_admin)[1])["csrf_token"]
    assert site.ask("POST", PAUSE, by_proxy | as_admin | {"X-CSRF-Token": csrf})[0].status == 202


def test_the_control_socket_knows_whose_process_it_is(site: Site) -> None:
    me = request(site.manager.folder / "run" / "control.sock", "GET", "/me")
    assert (me["who"].split(" ")[:2], me["role"]) == (["uid", str(os.getuid())], "admin")


def test_a_changed_users_file_counts_after_a_reload(site: Site) -> None:
    session = site.session("viewer")
    write_user(site.manager.folder / "users", make_user("viewer", ROLES["viewer"], "another horse"))
    site.manager.command("reload")
    eventually(lambda: site.ask("GET", "/api/v1/me", session)[0].status == 401, "the session has ended")
    assert site.log_in("viewer", PASSWORD)[0].status == 403
    write_user(site.manager.folder / "users", make_user("viewer", ROLES["viewer"], PASSWORD))
    site.manager.command("reload")
    eventually(lambda: site.log_in("viewer", PASSWORD)[0].status == 303, "the old password is back")


def test_a_wrong_users_file_ends_the_start_with_the_line(napping: RunningManager) -> None:
    (napping.folder / "users").write_text("alice:admin:secret")
    napping.config_file.write_text("server: {listen: 127.0.0.1:0}\ncontrol: {listen: 4731, users_file: users}\n")
    for command in ((), ("check",)):
        refused = napping.command(*command, check=False)
        assert refused.returncode == 78
        assert "config.yaml:2: control.users_file: line 1: this is no hash of a password" in refused.stderr
        assert "secret" not in refused.stderr


def test_the_command_user_prints_a_line_or_writes_it(napping: RunningManager) -> None:
    command: list[str | Path] = [BIN / "gearman-manager", "user", "alice", "--role", "operator"]
    printed = subprocess.run(command, input="correct horse\n", capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(r"alice:operator:scrypt:32768:8:1\$\w+\$[0-9a-f]{128}\n", printed.stdout)
    file = napping.folder / "users"
    written = subprocess.run(
        [*command, "--file", file], input="correct horse\n", capture_output=True, text=True, timeout=60, check=True
    )
    assert (written.stdout, file.read_text()[:15]) == (f"alice is in {file}, as operator\n", "alice:operator:")
    refused = subprocess.run(command, input="short\n", capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, "8 to 1024 characters" in refused.stderr) == (1, True)


def test_the_command_user_shows_no_password_on_a_terminal() -> None:
    main, end = pty.openpty()
    asked = subprocess.Popen(
        [BIN / "gearman-manager", "user", "alice"],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    shown = ""
    for question in ("Password: ", "Once more: "):
        while not shown.endswith(question):
            shown += os.read(main, 1024).decode()
        os.write(main, b"correct horse\n")
    output, _ = asked.communicate(timeout=60)
    assert output.startswith(b"alice:viewer:scrypt:")
    assert "correct" not in shown
    os.close(main)
