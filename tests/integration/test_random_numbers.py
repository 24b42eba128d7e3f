"""No two workers draw the same random numbers, however their generators were made, and whoever imported the module."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from .conftest import RunningManager, eventually

MODULE = """
import random
import numpy

plain = random.Random(42)
modern = numpy.random.default_rng(42)
old = numpy.random.RandomState(42)
random.seed(42)
numpy.random.seed(42)

class Holder:
    shared = random.Random(42)

def keep(own=numpy.random.Generator(numpy.random.Philox(42))):
    return own.random()

def draw(job):
    numbers = [plain.random(), modern.random(), old.normal(), old.normal(), random.random(), numpy.random.random(),
               Holder.shared.random(), keep()]
    return " ".join(map(str, numbers))
"""


def is_replaced(manager: RunningManager, pid: int) -> bool:
    return manager.settled() and manager.workers("draw")[0]["pid"] not in (None, pid)


@pytest.mark.parametrize("keys", ["", "preload: false", "concurrency: 2"], ids=["forked", "late", "concurrent"])
def test_a_replacement_draws_other_numbers_than_the_worker_before(tmp_path: Path, keys: str) -> None:
    manager = RunningManager(tmp_path)
    manager.write_module("draw.py", MODULE)
    try:
        manager.start(f"pools: {{draw: {{functions: [draw], min: 1, max: 1, {keys}}}}}")
        draws = []
        for _ in range(2):
            (worker,) = manager.workers("draw")
            with manager.client(timeout_s=20) as client:
                draws.append(client.submit("draw", b"").split())
            os.kill(worker["pid"], signal.SIGKILL)
            eventually(partial(is_replaced, manager, worker["pid"]), "another worker")
        assert [one for one, other in zip(*draws, strict=True) if one == other] == []
    finally:
        manager.destroy()
