"""The pause, on a real event loop."""

from __future__ import annotations

from itertools import pairwise
from time import monotonic

import gevent
import gevent.event

from gearman_server.loop import Pause

LENGTH_S = 0.05
DEADLINE_S = 10.0


def test_every_start_waits_for_the_whole_time() -> None:
    pause = Pause(gevent.get_hub().loop, LENGTH_S)
    ends = [monotonic()]
    is_over = gevent.event.Event()

    def end(name: str) -> None:
        assert name == "name"
        assert not pause.is_running
        ends.append(monotonic())
        if len(ends) < 5:
            pause.start(end, "name")
        else:
            is_over.set()

    pause.start(end, "name")
    assert pause.is_running
    assert is_over.wait(DEADLINE_S)
    lengths = [later - earlier for earlier, later in pairwise(ends)]
    # The loop's clock may be a few milliseconds older than the moment of the start.
    assert min(lengths) > LENGTH_S / 2


def test_a_stopped_pause_does_not_call_and_waits_anew_when_it_is_started_again() -> None:
    pause = Pause(gevent.get_hub().loop, LENGTH_S)
    is_over = gevent.event.Event()
    pause.start(is_over.set)
    pause.stop()
    assert not pause.is_running
    assert not is_over.wait(2 * LENGTH_S)
    started = monotonic()
    pause.start(is_over.set)
    assert is_over.wait(DEADLINE_S)
    assert monotonic() - started > LENGTH_S / 2
