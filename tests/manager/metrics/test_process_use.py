"""Memory and processor time of real processes, and sums that never fall."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from gearman_manager.metrics.process_use import ProcessUse

#: Uses a tenth of a second of the processor, says so, and waits.
BUSY = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True)\ninput()"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has used some time."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_time_of_a_worker_that_is_gone_still_counts(busy: subprocess.Popen[bytes]) -> None:
    use = ProcessUse()
    size_bytes, used_s = use.of("mail", {"mail/1": busy.pid})
    kernels_s = sum(psutil.Process(busy.pid).cpu_times()[:2])
    assert 0.1 <= used_s == pytest.approx(kernels_s, abs=0.05)
    assert 500_000 < size_bytes < psutil.Process(busy.pid).memory_info().rss
    assert use.of("other", {"other/1": busy.pid})[1] >= used_s

    busy.kill()
    busy.wait()
    gone_bytes, after_s = use.of("mail", {"mail/1": busy.pid})
    assert (gone_bytes, after_s) == (0, pytest.approx(used_s, abs=0.05))
    assert use.of("mail", {"mail/2": os.getpid()})[1] > after_s


def test_a_pool_that_has_vanished_is_forgotten(busy: subprocess.Popen[bytes]) -> None:
    use = ProcessUse()
    used_s = use.of("mail", {"mail/1": busy.pid})[1]
    use.keep_only(["mail"])
    assert use.of("mail", {})[1] == pytest.approx(used_s)
    use.keep_only([])
    assert use.of("mail", {}) == (0, 0.0)
