"""The pages in a real browser: what it makes of them, whether they stay up to date, and whether everybody can use them.

With `GEARMAN_SCREENSHOTS=1` the pictures in docs/dashboard are made anew.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from gearman_manager.access.caller import ROLES
from gearman_manager.access.users_file import make_user, write_user
from gearman_manager.history.history_file import FILE_NAME, HistoryFile
from gearman_manager.series import points_table as table
from gearman_manager.series.figures import FUNCTION, POOL, packed

from .conftest import GATE, NAP, RunningManager, alive, eventually
from .test_access import PASSWORD
from .test_dashboard import FAIL, GREET, HOSTILE

PATIENCE_MS = 30_000
#: The pages of which there are pictures.
PICTURED = ("overview", "pool", "function")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
HIDE = (
    "is => { Object.defineProperty(document, 'hidden', {value: is, configurable: true}); "
    "document.dispatchEvent(new Event('visibilitychange')); }"
)
HIGHEST_ROW = "Math.max(0, ...[...document.querySelectorAll('.wide tr')].map(row => row.offsetHeight))"
SHOWS_LAST_LINES = (
    "[...document.querySelectorAll('.log')].every(log => "
    "log.lastElementChild.getBoundingClientRect().bottom <= log.getBoundingClientRect().bottom + 1)"
)
OLD = "time => { time.dateTime = '2001-01-01T01:01Z'; time.title = ''; delete time.closest('[data-apart]').tag; }"
CLOCK = "{hour: '2-digit', minute: '2-digit'}"
PICTURES = Path(__file__).parents[2] / "docs" / "dashboard"
CONFIG = """
pools:
  nap: {{functions: [nap], min: 2, max: 4}}
  gate: {{functions: [gate], min: 1, max: 1}}
  fail: {{functions: [fail], min: 1, max: 1}}
schedules:
  yearly: {{cron: 0 0 1 1 *, function: nap, workload: "0"}}
control: {{listen: "127.0.0.1:{port}", users_file: users}}
"""


class Site:
    """A running manager, and a browser that nobody has logged in with."""

    def __init__(self, manager: RunningManager, port: int, browser: Browser) -> None:
        self.manager = manager
        self.url = f"http://127.0.0.1:{port}"
        self._browser = browser
        #: What the browser has complained of, in any page.
        self.complaints: list[str] = []

    def open(self, role: str = "", path: str = "/", zone: str | None = None) -> Page:
        """A page in a browser of its own, in a time zone, which this user has logged in with."""
        page = self._browser.new_context(timezone_id=zone).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))
        page.on("pageerror", lambda error: self.complaints.append(f"an error: {error}"))
        page.on("console", lambda said: self.complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto(f"{self.url}/login?next={quote(path, safe='')}")
        if role:
            page.get_by_label("Name", exact=True).fill(role)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{self.url}{path}")
        return page

    def pids(self, pool: str) -> list[int]:
        return [worker["pid"] for worker in self.manager.workers(pool)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("missing peer: chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        expect.set_options(timeout=PATIENCE_MS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Site]:
    manager = RunningManager(tmp_path_factory.mktemp("site"))
    for name, source in (
        ("nap", NAP),
        ("gate", GATE),
        ("fail", FAIL),
        ("greet", GREET),
        ("broken", "a = 1\nb = \n# c\n"),
    ):
        manager.write_module(f"{name}.py", source)
    for role in ROLES.values():
        write_user(manager.folder / "users", make_user(role.word, role, PASSWORD))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        record_past(manager.folder)
        manager.start(CONFIG.format(port=port))
        yield Site(manager, port, browser)
    finally:
        manager.destroy()


def record_past(folder: Path) -> None:
    """Have the history's file tell of an hour before the manager started: what charts show."""
    (folder / "run").mkdir(mode=0o700)
    file = HistoryFile(folder / "run" / FILE_NAME)
    for statement in table.TABLES:
        file.declare(statement)
    now = int(time.time()) // 60 * 60
    keys = [("pools", ""), ("functions", ""), ("pool", "nap"), ("function", "nap")]
    numbers = file.run(partial(table.numbers, keys, now))
    for minute in range(1, 60):
        wave = 1 + math.sin(minute / 6)
        pool = POOL.point(samples=6, idle=9, busy=3, target=12, wanted=round(9 + 6 * wave), waiting=round(40 * wave))
        pool |= POOL.point(done=round(300 + 90 * wave), failed=minute % 7, waiting_max=round(14 * wave), cpu_ms=9000)
        pool |= POOL.point(grown=minute % 20 == 0, memory_kb=6 * 40_000, oldest_ms=round(900 * wave), running=3)
        jobs = FUNCTION.point(samples=6, submitted=400, started=400, completed=380, failed=minute % 7, retried=9)
        jobs |= FUNCTION.point(
            waiting=round(40 * wave), running=3, waited_7=200, waited_9=round(60 * wave), waited_11=4
        )
        jobs |= FUNCTION.point(ran_5=300, ran_7=70, ran_9=10)
        rows = {numbers[key]: packed(pool if key[0].startswith("pool") else jobs) for key in keys}
        file.run(partial(table.write, table.MINUTE_S, now - 60 * minute, rows))
    marks = [(now - 1500.0, "reload", "", "generation 2 of code and settings took over")]
    file.run(partial(table.add_marks, [*marks, (now - 700.0, "crash", "nap", "1 worker of nap ended unexpectedly")]))
    file.close()


def pool_of(page: Page, name: str) -> Locator:
    """A pool's part of the overview."""
    return page.locator(f'section.pool[aria-label="pool {name}"]')


def test_a_pause_takes_effect_in_the_processes_and_the_page_follows_by_itself(site: Site) -> None:
    page = site.open()
    page.get_by_label("Name", exact=True).fill("operator")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("are not known here")
    page.get_by_label("Name", exact=True).fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    pool = pool_of(page, "nap")
    expect(pool.locator(".tile.idle")).to_have_count(2)
    before = site.pids("nap")
    pool.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The pool is paused: its workers finish")).to_be_visible()
    eventually(lambda: not any(alive(pid) for pid in before), "the processes end")
    expect(pool.locator(".tile")).to_have_count(0)
    address = page.url
    site.manager.command("resume", "nap")  # nobody touches the page
    expect(pool.locator(".tile.idle")).to_have_count(2)
    expect(pool.get_by_role("button", name="Pause")).to_be_visible()
    with site.manager.client() as client:
        client.submit_background("gate", str(site.manager.folder / "gate"))
    busy = pool_of(page, "gate").locator(".tile.busy")
    expect(busy).to_contain_text("gate")
    (site.manager.folder / "gate").touch()
    expect(busy).to_have_count(0)
    assert page.url == address
    page.context.close()


def test_what_one_reads_or_types_stays_while_the_page_follows(site: Site) -> None:
    page = site.open("operator", "/pools/nap")
    page.get_by_text("Scale", exact=False).first.click()
    page.get_by_label("at most").fill("3")
    # The next answer differs: a worker is replaced.
    [first, _] = site.manager.workers("nap")
    site.manager.command("restart", "nap")
    expect(page.locator(f'.tile[href="/workers/{first["name"]}"]')).to_have_count(0)
    expect(page.get_by_label("at most")).to_have_value("3")
    expect(page.get_by_label("at most")).to_be_focused()
    page.get_by_label("at most").press("Enter")
    eventually(lambda: site.manager.status()["pools"]["nap"]["max"] == 3, "the form was sent")
    page.context.close()


def test_hostile_texts_run_nothing(site: Site) -> None:
    with site.manager.client() as client:
        handle = client.submit_background("fail", HOSTILE + "<img src=x onerror=alert(2)>")
    page = site.open("operator", "/dead")
    expect(page.get_by_role("link", name=handle)).to_be_visible()
    for path in ("/dead", f"/dead/{handle}", "/pools/fail", "/failures", f"/jobs?function={quote(HOSTILE)}"):
        page.goto(site.url + path)
        assert page.locator("script:not([src]), img, [onerror]").count() == 0
    page.goto(f"{site.url}/dead/{handle}")
    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
    assert site.complaints == []
    page.context.close()


def test_a_hidden_page_does_not_ask_and_asks_at_once_when_it_is_seen(site: Site) -> None:
    page = site.open("viewer")
    page.clock.install()
    page.goto(f"{site.url}/jobs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "x-part" in request.headers else None)
    with page.expect_request(lambda request: "x-part" in request.headers):
        page.clock.run_for(3000)
    page.wait_for_load_state("networkidle")
    page.evaluate(HIDE, True)
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request(lambda request: "x-part" in request.headers):
        page.evaluate(HIDE, False)
    page.context.close()


def test_charts_move_on_while_they_are_seen_and_tell_their_figures_under_the_pointer(site: Site) -> None:
    page = site.open("viewer", "/pools/nap?range=1h")
    page.clock.install()
    page.reload()
    chart = page.locator(".chart", has=page.get_by_role("heading", name="Jobs per minute"))
    last = chart.locator("b")
    expect(last).to_have_text(re.compile("[0-9]"))
    shown = last.inner_text()
    plot = chart.locator(".plot")
    box = plot.bounding_box()
    assert box is not None
    plot.hover(position={"x": 0.51 * box["width"], "y": 20})
    told = chart.locator("h3").get_attribute("data-at") or ""
    began = page.evaluate("document.querySelector('.charts').dataset.begin")
    half_way = page.evaluate(f"new Date(({began} + 30 * 60) * 1000).toLocaleString([], {CLOCK})")
    assert told == half_way
    assert last.inner_text() in chart.locator("b").get_attribute("data-told").split("|")[28:32]  # type: ignore[union-attr]
    page.mouse.move(1, 1)
    expect(last).to_have_text(shown)
    # As on a page of an hour ago: the next answer has other times.
    time_of = page.locator(".charts time[data-clock]").first
    told = time_of.inner_text()
    time_of.evaluate(OLD)
    page.clock.run_for(1000)
    expect(time_of).not_to_have_text(told)
    with page.expect_request(lambda request: "/charts/pools/nap?range=1h" in request.url):
        page.clock.run_for(16_000)
    page.wait_for_load_state("networkidle")
    page.clock.run_for(1000)
    expect(time_of).not_to_have_attribute("datetime", re.compile("^2001"))
    expect(time_of).to_have_text(time_of.evaluate(f"time => new Date(time.dateTime).toLocaleString([], {CLOCK})"))
    expect(time_of).to_have_attribute("title", time_of.evaluate("time => new Date(time.dateTime).toLocaleString()"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(HIDE, True)
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request(lambda request: "/charts/pools/nap" in request.url):
        page.evaluate(HIDE, False)
    assert site.complaints == []
    page.context.close()


def test_a_page_says_that_its_session_is_over(site: Site) -> None:
    page = site.open("viewer", "/pools/nap")
    page.context.clear_cookies()
    page.get_by_role("link", name="log in again").click()
    page.wait_for_url(f"{site.url}/login?next=%2Fpools%2Fnap")
    page.context.close()


def test_failures_are_muted_and_those_that_match_forgotten_step_by_step(site: Site) -> None:
    with site.manager.client() as client:
        handle = client.submit_background("fail", "again", tags=["steps"])
    page = site.open("operator", "/failures")
    page.get_by_role("link", name="ValueError in fail.fail").click()
    expect(page.get_by_role("link", name=handle).first).to_be_visible()
    expect(page.get_by_role("img", name="failures by hour")).to_be_visible()
    page.get_by_text("Mute…").click()
    page.get_by_label("for", exact=True).fill("2h")
    page.get_by_role("button", name="Mute", exact=True).click()
    expect(page.get_by_text("The group is muted: it causes no alerts.")).to_be_visible()
    expect(page.get_by_text("by user operator, until")).to_be_visible()
    page.get_by_role("link", name="Failures", exact=True).click()
    expect(page.get_by_text("1 muted group")).to_be_visible()
    failure = page.get_by_role("link", name="ValueError in fail.fail", include_hidden=True)
    expect(failure).to_be_hidden()
    page.get_by_text("1 muted group").click()
    failure.click()
    page.get_by_role("button", name="Unmute").click()
    expect(page.get_by_text("The group is no longer muted")).to_be_visible()
    page.goto(f"{site.url}/dead?tag=steps")
    page.get_by_role("link", name="All that match").click()
    with site.manager.client() as client:
        late = client.submit_background("fail", "later", tags=["steps"])
    page.get_by_role("button", name="Forget 1 failed job").click()
    expect(page.get_by_role("status").filter(has_text="done")).to_be_visible()
    page.get_by_role("link", name="To the list").click()
    expect(page.get_by_role("link", name=late)).to_be_visible()
    expect(page.get_by_role("link", name=handle)).to_have_count(0)
    page.context.close()


def test_pages_are_for_the_keyboard_the_phone_and_the_screen_reader(site: Site) -> None:
    site.manager.command("pause", "function", "gate")
    with site.manager.client() as client:
        waiting = client.submit_background("gate", b"/nowhere", tags=["blue"])
        dead = client.submit_background("fail", b"x")
        over = client.submit_background("gate", b"/nowhere")
    site.manager.command("jobs", "cancel", over)
    page = site.open("admin", "/jobs?state=cancelled")
    expect(page.get_by_role("link", name=over)).to_be_visible(timeout=20_000)
    page.goto(f"{site.url}/dead")
    expect(page.get_by_role("link", name=dead)).to_be_visible()
    page.goto(f"{site.url}/failures")
    failure = page.get_by_role("link", name="ValueError in fail.fail")
    expect(failure).to_be_visible()
    group = failure.get_attribute("href") or ""
    [worker] = site.manager.workers("fail")
    paths = {"overview": "/", "pool": "/pools/nap", "worker": f"/workers/{worker['name']}", "functions": "/functions"}
    paths |= {"function": "/functions/nap", "jobs": "/jobs", "job": f"/jobs/{waiting}", "failed": "/dead"}
    paths |= {"failed-job": f"/dead/{dead}", "schedules": "/schedules", "servers": "/servers", "history": "/history"}
    paths |= {"table": "/?range=24h&table=1", "task": "/functions/greet"}
    paths |= {"finished": "/jobs?state=finished&text=nowhere", "finished-job": f"/jobs/{over}"}
    paths |= {
        "again": "/jobs/finished/all",
        "all": "/dead/all",
        "failures": "/failures",
        "failure": group,
        "peers": "/peers",
    }
    axe, found = Axe(), []
    for name, path in {**paths, "error": "/nowhere", "login": "/login?said=x"}.items():
        if name == "login":
            page.context.clear_cookies()
        page.goto(site.url + path)
        if name in PICTURED and os.environ.get("GEARMAN_SCREENSHOTS"):
            take_picture(site, page, name)
        found += serious(name, axe.run(page, options={"runOnly": RULES, "resultTypes": ["violations"]}).response)
        page.emulate_media(color_scheme="dark")
        found += serious(f"{name} in the dark", axe.run(page, options={"runOnly": ["color-contrast"]}).response)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 360, "height": 640})
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            found.append(f"{name} is too wide for a phone")
        if page.evaluate(HIGHEST_ROW) > 480:
            found.append(f"{name} has a table whose columns are too narrow on a phone")
        if not page.evaluate(SHOWS_LAST_LINES):
            found.append(f"{name} shows the oldest lines of the log first")
        page.set_viewport_size({"width": 1280, "height": 720})
    assert found == []
    page.context.close()
    page = site.open("viewer")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.get_by_role("button").all_inner_texts() == ["Log out"]
    page.context.close()
    site.manager.command("jobs", "cancel", waiting)
    site.manager.command("resume", "function", "gate")


def test_a_pool_is_paused_and_resumed_without_a_mouse(site: Site) -> None:
    page = site.open()
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("operator")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/")

    def press(name: str) -> None:
        """Go to a button by the Tab key, which must reach it, and press it."""
        button = pool_of(page, "nap").get_by_role("button", name=name)
        expect(button).to_be_visible()
        for _ in range(200):
            page.keyboard.press("Tab")
            if button.evaluate("button => button === document.activeElement"):
                page.keyboard.press("Enter")
                return
        raise AssertionError(f"the button {name} can't be reached")

    press("Pause")
    expect(page.get_by_text("The pool is paused: its workers finish")).to_be_visible()
    eventually(lambda: site.pids("nap") == [], "the workers leave")
    press("Resume")
    expect(page.get_by_text("The pool goes on")).to_be_visible()
    eventually(lambda: len(site.pids("nap")) == 2, "they are back")
    page.context.close()


def test_pools_are_restarted_and_the_configuration_is_read_again_from_the_page(site: Site) -> None:
    page = site.open("admin")
    before = {pool: site.pids(pool) for pool in ("nap", "gate", "fail")}
    page.get_by_role("button", name="Restart all pools").click()
    expect(page.get_by_text("The workers are replaced, one after the other")).to_be_visible()
    eventually(lambda: not any(alive(pid) for pids in before.values() for pid in pids), "all have left")
    eventually(site.manager.settled, "others have come")
    assert {pool: len(site.pids(pool)) for pool in before} == {pool: len(pids) for pool, pids in before.items()}
    file = site.manager.config_file
    text = file.read_text()
    # Fewer at most than before: those that are too many leave at once.
    for written, count in (
        (text.replace("min: 2, max: 4", "min: 3, max: 3"), 3),
        (text.replace("max: 4", "max: 2"), 2),
    ):
        file.write_text(written)
        page.get_by_role("button", name="Reload configuration and code").click()
        expect(page.get_by_text("loaded anew")).to_be_visible()
        expect(pool_of(page, "nap").locator(".tile")).to_have_count(count)
        assert len(site.pids("nap")) == count
    file.write_text(text)
    page.context.close()


def test_times_are_told_in_the_readers_zone(site: Site) -> None:
    zone = "Asia/Kathmandu"  # its quarter of an hour is no other one's
    page = site.open("viewer", zone=zone)
    up = page.locator("section.health time[data-for]").first
    expect(up).to_have_text(re.compile("^[0-9]+ (s|min|h)$"))
    moment = datetime.fromisoformat(up.get_attribute("datetime") or "")
    there = moment.astimezone(ZoneInfo(zone))
    told = (up.get_attribute("title") or "").replace("\u202f", " ")
    assert told == f"{there:%-m/%-d/%Y, %-I:%M:%S %p}"
    label = page.locator(".axis time[data-clock]").first
    there = datetime.fromisoformat(label.get_attribute("datetime") or "").astimezone(ZoneInfo(zone))
    expect(label).to_have_text(re.compile(f"^{there:%I:%M}\\s{there:%p}$"))
    page.context.close()


def take_picture(site: Site, page: Page, name: str) -> None:
    """A picture for the documentation, of a manager that has something to do."""
    with site.manager.client() as client:
        handles = [client.submit_background("nap", b"600") for _ in range(3)]
    eventually(lambda: sum(bool(worker["jobs"]) for worker in site.manager.workers("nap")) == 3, "three jobs run")
    page.reload()
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
    for handle in handles:
        site.manager.command("jobs", "stop", handle)


def serious(name: str, answer: dict[str, object]) -> list[str]:
    """What axe has found, except trifles."""
    assert answer["passes"]
    violations: list[dict[str, object]] = answer["violations"]  # type: ignore[assignment]
    return [
        f"{name}: {each['id']}: {[node['html'] for node in each['nodes']]}"  # type: ignore[attr-defined]
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]


def test_a_page_says_that_the_manager_is_gone_and_goes_on_with_the_next_one(site: Site) -> None:
    page = site.open("viewer")
    expect(page.locator(".tile.idle").first).to_be_visible()
    assert site.manager.stop() == 0
    connection = page.locator("#connection")
    expect(connection).to_contain_text("does not answer")
    site.manager.launch()
    expect(connection).to_contain_text(re.compile("The manager was restarted at "))
    expect(pool_of(page, "nap").locator(".tile.idle")).to_have_count(2)
    assert site.complaints == []
    page.context.close()
