"""One client with many no-op jobs under way: `set_client.py CLIENT PORT JOBS`; prints `s=… cpu_s=…`.

The compared libraries do what their documentation shows for many jobs. `map_memory` also prints `growth_bytes=…`: how
much the resident memory has grown between the first tenth of the results and the last result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gear
import python3_gearman

from gearman_client import Client, TaskSet
from gearman_client.task_sets.mapping import Mapping

#: Imported before the measurement, as they are in a program that runs for longer.
LOADED: Final = (TaskSet, Mapping)
FUNCTION: Final = "gearload"
WORKLOAD: Final = b"x"


def task_set(port: int, jobs: int) -> None:
    """Ours."""
    with Client(f"127.0.0.1:{port}") as client, client.task_set() as tasks:
        for _ in range(jobs):
            tasks.add(FUNCTION, WORKLOAD)
        if tasks.wait() or any(task.error for task in tasks):
            raise SystemExit("a task has failed")


def with_map(port: int, jobs: int) -> None:
    """Ours, with the results in order."""
    with Client(f"127.0.0.1:{port}") as client:
        if sum(1 for _ in client.map(FUNCTION, (WORKLOAD for _ in range(jobs)))) != jobs:
            raise SystemExit("a result is missing")


def with_gear(port: int, jobs: int) -> None:
    """OpenStack's library: a thread reads, and calls a method for each result."""
    is_over = threading.Event()
    left = jobs

    class CountingClient(gear.Client):
        def handleWorkComplete(self, packet: gear.Packet) -> gear.Job:  # noqa: N802 - gear's name
            nonlocal left
            left -= 1
            if left == 0:
                is_over.set()
            return super().handleWorkComplete(packet)

    client = CountingClient()
    client.addServer("127.0.0.1", port)
    client.waitForServer()
    for _ in range(jobs):
        client.submitJob(gear.Job(FUNCTION.encode(), WORKLOAD))
    is_over.wait()


def with_python3_gearman(port: int, jobs: int) -> None:
    """A port of the library python-gearman."""
    client = python3_gearman.GearmanClient([f"127.0.0.1:{port}"])
    requests = [{"task": FUNCTION, "data": WORKLOAD.decode()} for _ in range(jobs)]
    if not all(request.complete for request in client.submit_multiple_jobs(requests, wait_until_complete=True)):
        raise SystemExit("a job has failed")


def map_memory(port: int, jobs: int) -> None:
    """How the memory of `map` grows."""
    first_bytes = 0
    with Client(f"127.0.0.1:{port}", timeout_s=600) as client:
        for number, _ in enumerate(client.map(FUNCTION, (b"%d" % number for number in range(jobs)))):
            if number == jobs // 10:
                first_bytes = _resident_bytes()
    print(f"growth_bytes={_resident_bytes() - first_bytes}", end=" ")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


CLIENTS: Final[dict[str, Callable[[int, int], None]]] = {
    "task_set": task_set,
    "map": with_map,
    "gear": with_gear,
    "python3_gearman": with_python3_gearman,
    "map_memory": map_memory,
}

if __name__ == "__main__":
    run = CLIENTS[sys.argv[1]]
    started, cpu = time.perf_counter(), time.process_time()
    run(int(sys.argv[2]), int(sys.argv[3]))
    print(f"s={time.perf_counter() - started:.6f} cpu_s={time.process_time() - cpu:.6f}")
