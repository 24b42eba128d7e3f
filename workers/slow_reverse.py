"""The workload, backwards, in ten steps: it shows how a function reports its progress."""

import time

STEPS = 10
STEP_S = 0.1


def slow_reverse(job):
    for step in range(1, STEPS + 1):
        time.sleep(STEP_S)
        job.status(step, STEPS)
    return job.workload[::-1]
