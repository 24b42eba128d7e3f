"""The memory of a worker beyond the zygote's, and the output streams that it shares with the zygote."""

from __future__ import annotations

from functools import partial
from statistics import median

from .conftest import RunningManager, eventually

#: Python 3.11 counts references in the objects themselves, and writes into the code that it runs: each function that a
#: worker calls costs it one to ten pages.
MAX_PRIVATE_BYTES = 3_850_000


def test_an_idle_worker_has_little_memory_of_its_own(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {min: 5, max: 5}}\n")
    private_bytes = [worker["private_bytes"] for worker in manager.workers("nap")]
    assert median(private_bytes) < MAX_PRIVATE_BYTES


def test_workers_do_not_repeat_the_output_of_a_module_from_its_import(manager: RunningManager) -> None:
    manager.write_module("half.py", "print('half a line', end='')\ndef half(job): print('said by', job.workload)\n")
    manager.start("pools: {half: {min: 2, max: 2}}\n")
    with manager.client() as client:
        client.submit("half", b"one", timeout_s=20)
    eventually(lambda: "said by b'one'" in manager.log(), "the worker's line")
    manager.stop()
    assert manager.log().count("half a line") == 1  # printed by the zygote, at its end


def test_a_module_that_replaces_or_closes_the_output_streams_leaves_those_of_its_workers_intact(
    manager: RunningManager,
) -> None:
    manager.write_module("quiet.py", "import io, sys\nsys.stdout = io.StringIO()\ndef quiet(job): print('not lost')\n")
    manager.write_module("shut.py", "import sys\nsys.stderr.close()\ndef shut(job): print('heard', file=sys.stderr)\n")

    def is_logged(text: str) -> bool:
        return text in manager.log()

    manager.start("")
    with manager.client() as client:
        for name, said in (("quiet", "not lost"), ("shut", "heard")):
            client.submit(name, b"", timeout_s=20)
            eventually(partial(is_logged, said), said)
