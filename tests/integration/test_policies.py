"""What stands for functions in a configuration, enforced by the job server that the manager starts."""

import pytest

from gearman_client import JobException

from .conftest import RunningManager

FLAKY = """
from gearman_manager import function


@function(retries=2)
def flaky(job):
    if job.attempt < int(job.workload):
        raise ValueError(f"attempt {job.attempt} is too early")
    return str(job.attempt)
"""


def test_a_function_that_raises_is_tried_again_by_what_its_decorator_and_the_file_say(manager: RunningManager) -> None:
    manager.write_module("flaky.py", FLAKY)
    manager.start("functions: {flaky: {backoff: 50ms}}\n")
    with manager.client(timeout_s=30) as client:
        assert client.submit("flaky", "3") == b"3"
        with pytest.raises(JobException, match="attempt 3 is too early"):
            client.submit("flaky", "4")


def test_a_function_that_takes_too_long_is_tried_again(manager: RunningManager) -> None:
    manager.write_module(
        "slow_once.py",
        """
        import time

        def slow_once(job):
            time.sleep(60 if job.attempt == 1 else 0)
            return str(job.attempt)
        """,
    )
    manager.start("functions: {slow_once: {timeout: 100ms, retries: 1, backoff: 50ms}}\n")
    with manager.client(timeout_s=30) as client:
        assert client.submit("slow_once", b"") == b"2"
