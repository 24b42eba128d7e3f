"""Foreground jobs one at a time with a Python library: LIBRARY HOST PORT JOBS. Prints the seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

WORKLOAD = b"x" * 100
WARM_UP = 100


def ours(host: str, port: int) -> Callable[[], bytes]:
    """The client of this project."""
    from gearman_client import Client

    client = Client(f"{host}:{port}", timeout_s=60)
    return lambda: client.submit("roundtrip", WORKLOAD)


def gear(host: str, port: int) -> Callable[[], bytes]:
    """gear, whose client has threads and tells of a job's end by a call."""
    import gear as library

    done = threading.Event()

    class Client(library.Client):  # type: ignore[misc]
        def handleWorkComplete(self, packet: object) -> object:  # noqa: N802
            job = super().handleWorkComplete(packet)
            done.set()
            return job

    client = Client()
    client.addServer(host, port)
    client.waitForServer()

    def run() -> bytes:
        done.clear()
        job = library.Job(b"roundtrip", WORKLOAD)
        client.submitJob(job)
        done.wait()
        return b"".join(job.data)

    return run


def python3_gearman(host: str, port: int) -> Callable[[], bytes]:
    """python3-gearman."""
    from python3_gearman import GearmanClient

    client = GearmanClient([f"{host}:{port}"])

    def run() -> bytes:
        result = client.submit_job("roundtrip", WORKLOAD.decode()).result
        return result if isinstance(result, bytes) else str(result).encode()

    return run


LIBRARIES = {"ours": ours, "gear": gear, "python3-gearman": python3_gearman}


def main() -> None:
    library, host, port, jobs = sys.argv[1:]
    run = LIBRARIES[library](host, int(port))
    started = 0.0
    for number in range(-WARM_UP, int(jobs)):
        if number == 0:
            started = time.perf_counter()
        assert run() == WORKLOAD
    print(f"{time.perf_counter() - started:.6f}", flush=True)
    sys.stdout.flush()
    import os

    os._exit(0)  # gear's threads never end


if __name__ == "__main__":
    main()
