"""The application that is made late: in portions, and its early requests wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gevent
import pytest

from gearman_manager.control.late_application import PACE_S, LateApplication, Making

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DEADLINE_S = 10


def hello(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
    return [b"hello"]


def start_response(*_: Any) -> Any:
    raise AssertionError("the application above starts no response")


class Late:
    """An application of two portions."""

    def __init__(self) -> None:
        self.portions = 0
        self.wakes = 0
        self.application = LateApplication(self.make, self.wake)

    def make(self) -> Making:
        for _ in range(2):
            self.portions += 1
            yield
        return hello

    def wake(self) -> None:
        self.wakes += 1


def test_it_is_made_slowly_once_the_workers_are_up() -> None:
    late = Late()
    assert late.application.make_on(time.monotonic(), are_workers_up=False) is None
    began = time.monotonic()
    due_at = late.application.make_on(began, are_workers_up=True)
    for portions in range(3):
        assert due_at is not None
        assert due_at >= began + PACE_S
        assert late.application.make_on(due_at - PACE_S / 2, are_workers_up=True) == due_at
        assert late.portions == portions
        began = time.monotonic()
        due_at = late.application.make_on(due_at, are_workers_up=True)
    assert due_at is None
    assert late.application({}, start_response) == [b"hello"]
    assert (late.portions, late.wakes) == (2, 0)


def test_it_is_made_in_portions_and_requests_wait_for_the_last() -> None:
    late = Late()
    requests = [gevent.spawn(late.application, {}, start_response) for _ in range(2)]
    gevent.sleep(0)
    assert (late.portions, late.wakes) == (0, 1)
    for number in (1, 2):
        assert late.application.make_on(0.0, are_workers_up=False) is not None
        assert late.portions == number
    gevent.sleep(0)
    assert not any(request.ready() for request in requests)
    assert late.application.make_on(0.0, are_workers_up=False) is None
    assert [request.get(timeout=DEADLINE_S) for request in requests] == [[b"hello"]] * 2
    assert late.application.make_on(0.0, are_workers_up=True) is None
    assert (late.portions, late.wakes) == (2, 1)


def test_what_goes_wrong_is_raised_where_it_is_made() -> None:
    def make() -> Making:
        yield
        raise ImportError("no module of that name")

    application = LateApplication(make, lambda: None)
    now = 0.0
    assert application.make_on(now, are_workers_up=True) is not None
    now = application.make_on(now + PACE_S, are_workers_up=True) or 0.0
    with pytest.raises(ImportError, match="of that name"):
        application.make_on(now, are_workers_up=True)
