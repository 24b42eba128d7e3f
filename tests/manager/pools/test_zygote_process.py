"""Real zygotes, and more orders than the socket to them holds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygotes import Zygotes

from .conftest import Staff

#: The smallest buffer that the kernel makes holds some five reports of a zygote.
SMALL_BYTES, WORKERS = 1, 30


class Forking(Staff):
    """A workforce whose workers are forked by a zygote, over a socket with small buffers."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        module = folder / "mail.py"
        module.write_text("def mail(job):\n    return b''\n")
        self.file = str(module)
        real = Zygotes(self.links)
        self.workforce = Workforce(WorkerStart(self.manager, self.links, real), real, self.exits, self.woken.set)
        self.zygote = real.start("ERROR", self.workforce, lambda zygote, status: None)
        assert self.zygote.load([str(folder)]) is not None
        real.current = self.zygote

    def close(self) -> None:
        super().close()
        self.zygote.kill()
        assert self.zygote.wait_for_end()


@pytest.fixture
def forking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forking]:
    make_pair = socket.socketpair

    def small_pair() -> tuple[socket.socket, socket.socket]:
        pair = make_pair()
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
        return pair

    monkeypatch.setattr(socket, "socketpair", small_pair)
    made = Forking(tmp_path)
    yield made
    made.close()


def test_neither_waits_for_the_other_for_ever_while_there_are_more_orders_and_reports_than_the_socket_holds(
    forking: Forking,
) -> None:
    forking.arrange(WORKERS)
    ordering = gevent.spawn(forking.workforce.reconcile, 0.0)
    forking.until(lambda: len(forking.workers) == WORKERS and all(live.pid for live in forking.workers), "all are born")
    ordering.get(timeout=5)
