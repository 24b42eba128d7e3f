"""Deliveries by processes of their own: retried, bounded, and nobody waits for a target that hangs."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator

import gevent
import pytest

from gearman_manager.alerts import deliveries as module
from gearman_manager.alerts.deliveries import Deliveries
from gearman_manager.alerts.message import Message
from gearman_manager.alerts.targets import Target

from ...web_hook import WebHook, web_hook

DEADLINE_S = 30.0


def until(condition: Callable[[], object], what: str) -> None:
    with gevent.Timeout(DEADLINE_S, AssertionError(what)):
        while not condition():
            gevent.sleep(0.01)


def to(hook: WebHook) -> Target:
    return Target(f"hook {hook.port}", webhook=hook.url)


@pytest.fixture
def deliveries() -> Iterator[Deliveries]:
    made = Deliveries(pauses_s=(0.05, 0.05))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "alerts")


def test_a_target_that_is_away_is_tried_again(
    deliveries: Deliveries, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    deliveries.send(message, [Target("hook", webhook=f"http://127.0.0.1:{port}/")])
    until(lambda: "trying again" in caplog.text, "the first attempt failed")
    with web_hook(port) as hook:
        until(lambda: hook.received, "a later attempt succeeded")
        assert hook.received[0] == message.data
        until(lambda: "hook: told: box: pool mail" in caplog.text, "the log says so")
    assert "Connection refused" in caplog.text


def test_a_target_that_stays_away_is_given_up_and_the_next_message_is_tried(
    deliveries: Deliveries, message: Message, hook: WebHook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.status = 503
    deliveries.send(message, [to(hook)])
    until(lambda: "given up" in caplog.text, "it is given up")
    assert len(hook.received) == 3
    assert "503" in caplog.text
    assert "s3cret" not in caplog.text
    hook.status = 200
    deliveries.send(message, [to(hook)])
    until(lambda: ": told: " in caplog.text, "the next message is delivered")


def test_a_target_that_hangs_holds_neither_the_loop_nor_another_target(
    deliveries: Deliveries, message: Message, hook: WebHook
) -> None:
    hook.may_answer.clear()
    with web_hook() as other:
        deliveries.send(message, [to(hook), to(other)])
        until(lambda: hook.paths, "the first one hangs")
        until(lambda: other.received, "the other one has its message")
        assert hook.received == []
        assert deliveries.pids
    hook.may_answer.set()
    until(lambda: hook.received, "it has its message in the end")
    until(lambda: not deliveries.pids, "no process is left")


def test_an_attempt_that_takes_too_long_is_ended(
    deliveries: Deliveries,
    message: Message,
    hook: WebHook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "ATTEMPT_S", 1.0)
    hook.may_answer.clear()
    deliveries.send(message, [to(hook)])
    until(lambda: "its process ended without a word (killed by SIGKILL)" in caplog.text, "it is killed")
    hook.may_answer.set()
    monkeypatch.setattr(module, "ATTEMPT_S", 30.0)
    until(lambda: ": told: " in caplog.text, "a later attempt succeeds")


def test_too_many_messages_for_one_target_cost_the_oldest(
    deliveries: Deliveries, hook: WebHook, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    hook.may_answer.clear()
    deliveries.send(message, [to(hook)])
    until(lambda: hook.paths, "the first one is under way")
    for number in range(module.MOST_WAITING + 2):
        deliveries.send(Message(f"number {number}", "", {}), [to(hook)])
    assert [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()] == [
        f"hook {hook.port}: a message is lost, too many wait: number {number}" for number in (0, 1)
    ]
