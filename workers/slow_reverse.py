"""The workload, backwards, in ten steps: how a function tells its client how far it has got."""

import time

STEPS = 10
STEP_S = 0.1


def slow_reverse(job):
    for step in range(1, STEPS + 1):
        time.sleep(STEP_S)
        job.status(step, STEPS)
    return job.workload[::-1]
