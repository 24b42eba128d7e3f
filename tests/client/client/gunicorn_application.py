"""The web application of test_web_servers.py: one client, made and used before gunicorn forks its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from gearman_client import Client

client = Client(timeout_s=60)
client.echo(b"a connection before the fork")


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Runs the job `echo` with the path as its workload, and answers with its result and the worker's process id."""
    result = client.submit("echo", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [result, b" %d" % os.getpid()]
