"""Pages of the dashboard that are open in Debian's Chromium, each logged in with a token."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil
from playwright.sync_api import Browser, Page, sync_playwright
from running_manager import free_port

TOKEN: Final = "a-token-for-benchmarks-0123456789"
LOWEST: Final = 19
_PATIENCE_MS: Final = 60_000


class Watched:
    """A manager's dashboard: the configuration that it needs, and pages of it."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        #: The section of the configuration.
        self.section = f'control: {{listen: "127.0.0.1:{self._port}", token: {TOKEN}}}\n'

    def get(self, path: str) -> bytes:
        """What the manager answers to somebody with the token."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=_PATIENCE_MS / 1000) as answer:
            content: bytes = answer.read()
            return content

    def open(self, browser: Browser, path: str = "/") -> Page:
        """A page in a browser context of its own, so that it counts as shown."""
        page = browser.new_context().new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(f"{self.url}/login")
        page.get_by_label("Password").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{self.url}/")
        if path != "/":
            page.goto(self.url + path)
        return page


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, with the lowest priority: who looks does so from another machine."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("benchmarks: chromium is not installed (apt install chromium)")
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--enable-precise-memory-info"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*arguments, "--js-flags=--expose-gc"])
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.nice(LOWEST)  # those that it forks have it too
        try:
            yield browser
        finally:
            browser.close()
