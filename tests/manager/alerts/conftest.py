"""Real mail and web servers, and a message for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearman_manager.alerts.message import Message

from ...mail_server import MailServer
from ...web_hook import WebHook, web_hook


@pytest.fixture
def message() -> Message:
    return Message(
        "box: pool mail: crash_loop", "pool mail: its workers die ü\n", {"text": "its workers die", "count": 1}
    )


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with web_hook() as server:
        yield server
