"""A worker module has one name, which all processes of a worker can import: for pickles, pools, relative imports."""

from __future__ import annotations

import json

import pytest

from .conftest import RunningManager

POOL = """
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import _plain
from ._figures import factor


class Colour(Enum):
    RED = 1


@dataclass
class Order:
    colour: Colour
    number: int


class Pair(NamedTuple):
    one: int
    two: int


def work(order):
    return Order(order.colour, _plain.double(order.number) * factor()), os.getpid()


def pool(job):
    context = multiprocessing.get_context(job.workload.decode())
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        order, pid = executor.submit(work, Order(Colour.RED, 7)).result(timeout=60)
        assert executor.submit(_plain.double, 4).result(timeout=60) == 8
    with context.Pool(1) as processes:
        assert processes.map(work, [order])[0][0].number == order.number * 6
    assert pickle.loads(pickle.dumps(Pair(1, 2))) == Pair(1, 2)
    assert order.colour is Colour.RED
    assert pid != os.getpid()
    return {"name": __name__, "number": order.number}
"""


def write(manager: RunningManager, **files: str) -> None:
    for name, source in files.items():
        file = manager.workers_dir / (name.replace("__in__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


@pytest.mark.parametrize("preload", ["true", "false"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_function_can_use_processes_of_its_own(manager: RunningManager, method: str, preload: str) -> None:
    write(
        manager,
        reports__in__pool=POOL,
        reports__in___figures="def factor():\n    return 3\n",
        _plain="def double(number):\n    return 2 * number\n",
    )
    manager.start(f"pools: {{pool: {{preload: {preload}}}}}")
    with manager.client() as client:
        answer = client.submit("pool", method.encode(), timeout_s=90)
    assert json.loads(answer) == {"name": "gearman_workers.folder0.reports.pool", "number": 42}


def test_a_function_can_end_processes_that_it_has_forked(manager: RunningManager) -> None:
    manager.write_module(
        "ending.py",
        """
        import multiprocessing
        import time

        def ending(job):
            process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            process.start()
            process.terminate()
            process.join(30)
            return process.exitcode
        """,
    )
    manager.start("")
    with manager.client(timeout_s=60) as client:
        assert client.submit("ending", b"") == b"-15"
