"""A worker with python3-gearman, from PyPI: `worker.py PORT PREFIX COUNT` serves COUNT jobs of the functions
PREFIX_reverse, PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from python3_gearman import GearmanWorker
from python3_gearman.job import GearmanJob


class Thrown(Exception):
    """An error that is sent as an exception."""


class Worker(GearmanWorker):
    """Ends after a number of jobs; sends `Thrown` as an exception."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__([f"127.0.0.1:{port}"])
        self.left = count

    def on_job_execute(self, current_job: GearmanJob) -> bool:
        self.left -= 1
        return super().on_job_execute(current_job)

    def on_job_exception(self, current_job: GearmanJob, exc_info: tuple[Any, ...]) -> bool:
        if exc_info[0] is not Thrown:
            return super().on_job_exception(current_job, exc_info)
        # The library sends WORK_FAIL after it.
        self.send_job_exception(current_job, str(exc_info[1]))
        return False

    def after_poll(self, any_activity: bool) -> bool:
        return self.left > 0


def reverse(_worker: Worker, job: GearmanJob) -> str:
    return job.data[::-1]


def steps(worker: Worker, job: GearmanJob) -> str:
    worker.send_job_status(job, 1, 2)
    worker.send_job_data(job, "\0piece")
    worker.send_job_warning(job, "careful")
    worker.send_job_status(job, 2, 2)
    return "done"


def fail(_worker: Worker, _job: GearmanJob) -> str:
    raise ValueError("it is not told of this one")


def throw(_worker: Worker, job: GearmanJob) -> str:
    raise Thrown(f"no {job.data}")


def main(port: str, prefix: str, count: str) -> None:
    worker = Worker(int(port), int(count))
    worker.set_client_id("python3-gearman")
    for function in (reverse, steps, fail, throw):
        worker.register_task(f"{prefix}_{function.__name__}", function)
    worker.work(poll_timeout=1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
