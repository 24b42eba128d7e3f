"""A worker without our manager, for a supervisor that starts a hundred programs: `plain_worker.py HOST:PORT`."""

from __future__ import annotations

import os
import sys

from gearman_client import Worker, WorkerJob, WorkerSettings


def reverse(job: WorkerJob) -> bytes:
    """The sample function, with nothing else imported."""
    return job.workload[::-1]


if __name__ == "__main__":
    worker = Worker(sys.argv[1], WorkerSettings(client_id=f"plain/{os.getpid()}"))
    worker.register("reverse", reverse)
    worker.work()
