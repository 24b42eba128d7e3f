"""What is said to the operator while the manager takes its time to answer."""

from __future__ import annotations

import queue
import time
from typing import Any

import pytest

from gearman_manager.errors import ManagerError
from gearman_manager.top import actions
from gearman_manager.top.desk import Desk
from gearman_manager.top.feed import Calls

DEADLINE_S = 10.0


class SlowDesk(Desk):
    """Its manager answers an action when the test says so."""

    def __init__(self) -> None:
        self._answers_to: dict[str, queue.SimpleQueue[str]] = {}
        super().__init__(Calls(self._wait, lambda _: iter(())))

    def do(self, action: actions.Action) -> str:
        """Carry it out; returns its resource."""
        self._answers_to[action.resource] = queue.SimpleQueue()
        self.carry_out(action)
        return action.resource

    def answer(self, resource: str, refusal: str = "") -> None:
        """The manager's answer arrives."""
        self._answers_to[resource].put(refusal)
        by = time.monotonic() + DEADLINE_S
        while not self.take():
            assert time.monotonic() < by
            time.sleep(0.001)

    @property
    def said(self) -> list[str]:
        return [message.text for message in self.messages]

    def _wait(self, method: str, resource: str, body: object = None) -> Any:
        if refusal := self._answers_to[resource].get():
            raise ManagerError(refusal)


@pytest.fixture
def desk() -> SlowDesk:
    return SlowDesk()


def test_an_answer_stands_where_one_waited_for_it(desk: SlowDesk) -> None:
    asked = desk.do(actions.restart("mail"))
    assert desk.said == ["…"]
    desk.answer(asked)
    assert desk.said == ["restarting mail"]


def test_an_answer_hides_nothing_that_was_said_since_its_action(desk: SlowDesk) -> None:
    asked = desk.do(actions.restart("mail"))
    desk.say("many is no size", is_bad=True)
    desk.answer(asked)
    assert desk.said == ["many is no size", "restarting mail"]
    assert [message.is_bad for message in desk.messages] == [True, False]
    desk.say("nothing was done")
    assert desk.said == ["nothing was done"]


def test_answers_to_several_actions_come_in_any_order(desk: SlowDesk) -> None:
    first, second = desk.do(actions.resume("a")), desk.do(actions.resume("b"))
    desk.answer(first, "there is no pool a")
    assert desk.said == ["…", "there is no pool a"]
    desk.answer(second)
    assert desk.said == ["b goes on", "there is no pool a"]
