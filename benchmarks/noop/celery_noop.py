"""The job for celery. Settings from its optimisation guide: prefetch many short tasks, no stored results, no events."""

from __future__ import annotations

import os

import noop_counter
from celery import Celery

app = Celery("noop", broker=os.environ["NOOP_BROKER"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1000,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task
def noop() -> None:
    """Do nothing."""
    noop_counter.count()
