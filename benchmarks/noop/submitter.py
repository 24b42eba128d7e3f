"""The client of one system: reads a number of no-op jobs from standard input, submits them, then answers.

`submitter.py SYSTEM BROKER`. It is a separate process, so that every measurement starts with a fresh library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_PORTION_JOBS: Final = 500

Submit = Callable[[int], Any]


def ours(broker: str) -> Submit:
    """Our client, with one call for all jobs."""
    from gearman_client import Client

    client = Client(broker)
    return lambda jobs: client.submit_background_many("noop", (b"" for _ in range(jobs)))


def one_by_one(broker: str) -> Submit:
    """Our client, with a round trip for each job."""
    from gearman_client import Client

    client = Client(broker)
    return lambda jobs: [client.submit_background("noop", b"") for _ in range(jobs)]


def celery(_broker: str) -> Submit:
    """Celery's client, which has no call for many jobs that saves round trips."""
    from celery_noop import noop

    return lambda jobs: [noop.delay() for _ in range(jobs)]


def dramatiq(_broker: str) -> Submit:
    """Dramatiq's client, which has none either."""
    from dramatiq_noop import noop

    return lambda jobs: [noop.send() for _ in range(jobs)]


def rq(broker: str) -> Submit:
    """RQ's client, with pipelines of jobs."""
    import redis
    from rq import Queue
    from rq_noop import noop

    queue = Queue(connection=redis.Redis.from_url(broker))

    def submit(jobs: int) -> None:
        for start in range(0, jobs, _PORTION_JOBS):
            portion = min(_PORTION_JOBS, jobs - start)
            queue.enqueue_many([Queue.prepare_data(noop, result_ttl=0) for _ in range(portion)])

    return submit


def huey(_broker: str) -> Submit:
    """Huey's client: its `map` has a round trip for each job, too."""
    from huey_noop import noop

    return lambda jobs: noop.map(() for _ in range(jobs))


CLIENTS: Final = {client.__name__: client for client in (ours, one_by_one, celery, dramatiq, rq, huey)}


def main(system: str, broker: str) -> None:
    """Serve until standard input ends."""
    submit = CLIENTS[system](broker)
    for line in sys.stdin:
        submit(int(line))
        print("submitted", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
