"""A client with python3-gearman, from PyPI. It prints the same transcript as the clients in other languages.

`client.py PORT text [FUNCTION]`, `client.py PORT progress|failure`, `client.py PORT background FILE`,
`client.py PORT queue|join|admin FUNCTION`. The library takes a workload for text and counts its characters as bytes:
only ASCII arrives unchanged. It also can't ask for exceptions.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from python3_gearman import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE, GearmanAdminClient, GearmanClient
from python3_gearman.client_handler import GearmanClientCommandHandler
from python3_gearman.constants import JOB_FAILED

SERVERS = [f"127.0.0.1:{sys.argv[1]}"]
PRIORITIES = {"normal": PRIORITY_NONE, "high": PRIORITY_HIGH, "low": PRIORITY_LOW}
DEADLINE_S = 30.0


class Talkative(GearmanClientCommandHandler):
    """Prints each progress report; the library itself keeps only the last one."""

    def recv_work_status(self, job_handle: str, numerator: str, denominator: str) -> bool:
        print(f"{numerator}/{denominator}")
        return super().recv_work_status(job_handle, numerator, denominator)


class TalkativeClient(GearmanClient):
    command_handler_class = Talkative


def text(function: str = "reverse") -> None:
    client = GearmanClient(SERVERS)
    for name, priority in PRIORITIES.items():
        print(f"{name}: {client.submit_job(function, 'Rasmus', priority=priority, poll_timeout=DEADLINE_S).result}")


def results(function: str = "reverse") -> None:
    text(function)
    workload = "\0\x01zero\x7f\n" * (1 << 17)
    result = GearmanClient(SERVERS).submit_job(function, workload, poll_timeout=DEADLINE_S).result
    print("large:", f"{len(result)} bytes reversed" if result == workload[::-1] else "wrong")


def progress() -> None:
    client = TalkativeClient(SERVERS)
    print("complete:", client.submit_job("slow_reverse", "Rasmus", poll_timeout=DEADLINE_S).result)
    print("all tasks ended")


def failure() -> None:
    client = GearmanClient(SERVERS)
    # Arrives as only the first of its two bytes.
    request = client.submit_job("word_count", "\xff", poll_timeout=DEADLINE_S)
    failed = (request.state, request.result, request.exception) == (JOB_FAILED, None, None)
    print("plain:", "failed" if failed else "wrong")
    print("afterwards:", client.submit_job("reverse", "Rasmus", poll_timeout=DEADLINE_S).result)


def background(file: str) -> None:
    """The function `gate` reports 3 of 10 and then waits for the file that its workload names."""
    client = GearmanClient(SERVERS)
    request = client.submit_job("gate", file, background=True, poll_timeout=DEADLINE_S)

    def status() -> tuple[bool, bool, int, int]:
        answer = client.get_job_status(request, poll_timeout=DEADLINE_S).status
        return answer["known"], answer["running"], answer["numerator"], answer["denominator"]

    while status() != (True, True, 3, 10):
        time.sleep(0.005)
    print("running, 3/10")
    Path(file).touch()
    while (last := status())[0]:
        time.sleep(0.005)
    print("unknown" if last == (False, False, 0, 0) else last)


def queue(function: str) -> None:
    """Four submissions that become three jobs, one in each queue."""
    client = GearmanClient(SERVERS)
    handles: dict[str, str] = {}
    for name in ("low", "normal", "high", "normal"):
        request = client.submit_job(
            function, name, f"{function} {name}", PRIORITIES[name], background=True, poll_timeout=DEADLINE_S
        )
        if handles.setdefault(name, request.job.handle) == request.job.handle and name == "normal":
            print("normal:", "created" if len(handles) == 2 else "coalesced")


def join(function: str) -> None:
    """A foreground job that other clients wait for too."""
    request = GearmanClient(SERVERS).submit_job(function, "mine", f"{function} shared", poll_timeout=DEADLINE_S)
    print("joined:", request.result)


def admin(function: str) -> None:
    """Prints the server's rows for the function and its worker. The library can't read answers to `maxqueue`."""
    client = GearmanAdminClient(SERVERS)
    (status,) = [line for line in client.get_status() if line["task"] == function]
    print(f"status: {status['queued']} {status['running']} {status['workers']}")
    print("workers:", *(line["client_id"] for line in client.get_workers() if function in line["tasks"]))
    print("ping:", client.ping_server() < DEADLINE_S)
    print("version:", client.get_version())


MODES = {mode.__name__: mode for mode in (results, text, progress, failure, background, queue, join, admin)}

if __name__ == "__main__":
    MODES[sys.argv[2]](*sys.argv[3:])
