"""Fixtures for the tests of send_email: its module, its objects, and a plain mail server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

MakeJob = Callable[..., Any]
Load = Callable[[str], ModuleType]
REQUEST = {"to": "rasmus@example.com", "subject": "Hello", "body": "How are you?", "from": "me@example.org"}


@pytest.fixture
def module(load: Load) -> ModuleType:
    return load("send_email")


@pytest.fixture
def error(module: ModuleType) -> type[Exception]:
    return module.build.__globals__["EmailError"]  # type: ignore[no-any-return]


@pytest.fixture
def make_sender(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """A worker's object, set up with settings as the manager does it."""
    senders: list[Any] = []

    def make(port: int, **settings: Any) -> Any:
        sender = module.SendEmail()
        sender.setup({"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_timeout": "5s", **settings})
        senders.append(sender)
        return sender

    yield make
    for sender in senders:
        sender.teardown()


@pytest.fixture
def server(make_mail_server: Any) -> Any:
    return make_mail_server()


@pytest.fixture
def send(make_sender: Any, server: Any, make_job: MakeJob) -> Callable[..., dict[str, Any]]:
    """Sends one request, with these changes, to the plain server."""

    def run(**changes: Any) -> dict[str, Any]:
        request = {key: value for key, value in {**REQUEST, **changes}.items() if value is not None}
        return dict(make_sender(server.port).run(make_job(request)))

    return run
