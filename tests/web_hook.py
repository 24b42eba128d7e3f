"""A real HTTP server that takes JSON, for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .http_receiver import HttpReceiver


class WebHook(HttpReceiver):
    """The server, and the JSON that it was sent. `status` is that of its answers; without `may_answer` it waits."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Any] = []
        self.paths: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        super().__init__(port)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.paths.append(path)
        self.may_answer.wait(60)
        self.received.append(json.loads(body))
        return self.status, self.headers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/s3cret"

    def close(self) -> None:
        self.may_answer.set()
        super().close()


@contextmanager
def web_hook(port: int = 0) -> Iterator[WebHook]:
    """A server that is gone afterwards."""
    hook = WebHook(port)
    try:
        yield hook
    finally:
        hook.close()
