"""A client with gear, from PyPI. It prints the same transcript as the clients in other languages, and nothing else.

`client.py PORT results|text [FUNCTION]`, `client.py PORT progress|failure|exception`, `client.py PORT background FILE`,
`client.py PORT queue|join|admin FUNCTION`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import gear

PORT = int(sys.argv[1])
DEADLINE_S = 30


class Job(gear.Job):
    """A job whose end can be awaited."""

    def __init__(self, function: str, workload: bytes, unique: bytes | None = None) -> None:
        super().__init__(function, workload, unique)
        self.ended = Event()

    def result(self) -> bytes:
        assert self.ended.wait(DEADLINE_S)
        return b"".join(self.data)


class Client(gear.Client):
    """A connected client that reports each packet about a job."""

    def __init__(self) -> None:
        super().__init__("gear")
        self.answered = Event()
        self.on_status: Callable[[Job], None] = lambda _job: None
        self.on_exception: Callable[[Job], None] = lambda _job: None
        self.addServer("127.0.0.1", PORT)
        self.waitForServer(DEADLINE_S)

    def submitted(self, function: str, workload: bytes, precedence: bytes = gear.PRECEDENCE_NORMAL) -> Job:
        job = Job(function, workload)
        self.submitJob(job, precedence=precedence)
        return job

    def status(self, job: Job) -> tuple[bool, bool, bytes, bytes]:
        self.answered.clear()
        packet = gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle)
        self.sendPacket(packet, job.connection)
        assert self.answered.wait(DEADLINE_S)
        return job.known, job.running, job.numerator, job.denominator

    def handleStatusRes(self, packet: gear.Packet) -> None:
        super().handleStatusRes(packet)
        self.answered.set()

    def handleWorkStatus(self, packet: gear.Packet) -> None:
        self.on_status(super().handleWorkStatus(packet))

    def handleWorkComplete(self, packet: gear.Packet) -> None:
        super().handleWorkComplete(packet).ended.set()

    def handleWorkFail(self, packet: gear.Packet) -> None:
        super().handleWorkFail(packet).ended.set()

    def handleWorkException(self, packet: gear.Packet) -> None:
        job = super().handleWorkException(packet)
        self.on_exception(job)
        job.ended.set()


def text(client: Client, function: str = "reverse") -> None:
    for name in ("normal", "high", "low"):
        precedence = getattr(gear, f"PRECEDENCE_{name.upper()}")
        print(f"{name}: {client.submitted(function, b'Rasmus', precedence).result().decode()}")


def results(client: Client, function: str = "reverse") -> None:
    text(client, function)
    workload = b"\0\x01zero\xff\n" * (1 << 17)
    result = client.submitted(function, workload).result()
    print("large:", f"{len(result)} bytes reversed" if result == workload[::-1] else "wrong")


def progress(client: Client) -> None:
    client.on_status = lambda job: print(f"{job.numerator.decode()}/{job.denominator.decode()}")
    print("complete:", client.submitted("slow_reverse", b"Rasmus").result().decode())
    print("all tasks ended")


def failure(client: Client) -> None:
    job = client.submitted("word_count", b"\xff")
    job.result()
    print("plain:", "failed" if (job.failure, job.exception) == (True, None) else "wrong")
    print("afterwards:", client.submitted("reverse", b"Rasmus").result().decode())


def exception(client: Client) -> None:
    assert client.setOption("exceptions", DEADLINE_S)
    client.on_exception = lambda job: print("exception:", job.exception.decode())
    client.submitted("word_count", b"\xff").result()
    print("all tasks ended")
    client.on_exception = lambda _job: None
    job = client.submitted("word_count", b"\xff")
    job.result()
    print("blocking:", "exception" if job.failure and job.exception else "wrong")


def background(client: Client, file: str) -> None:
    """The function `gate` reports 3 of 10 and then waits for the file that its workload names."""
    job = Job("gate", file.encode())
    client.submitJob(job, background=True)
    while client.status(job) != (True, True, b"3", b"10"):
        time.sleep(0.005)
    print("running, 3/10")
    Path(file).touch()
    while (status := client.status(job))[0]:
        time.sleep(0.005)
    print("unknown" if status == (False, False, b"0", b"0") else status)


def queue(client: Client, function: str) -> None:
    """Four submissions that become three jobs, one in each queue."""
    handles: dict[str, bytes] = {}
    for name in ("low", "normal", "high", "normal"):
        job = Job(function, name.encode(), f"{function} {name}".encode())
        client.submitJob(job, background=True, precedence=getattr(gear, f"PRECEDENCE_{name.upper()}"))
        if handles.setdefault(name, job.handle) == job.handle and name == "normal":
            print("normal:", "created" if len(handles) == 2 else "coalesced")


def join(client: Client, function: str) -> None:
    """A foreground job that other clients wait for too."""
    job = Job(function, b"mine", f"{function} shared".encode())
    client.submitJob(job)
    print("joined:", job.result().decode())


def admin(client: Client, function: str) -> None:
    """Prints the server's rows for the function and its worker, and cancels its one queued job."""

    def ask(request: gear.AdminRequest) -> list[list[str]]:
        client.getConnection().sendAdminRequest(request, DEADLINE_S)
        return [line.split("\t") for line in request.response.decode().splitlines()]

    print("status:", *(" ".join(line[1:]) for line in ask(gear.StatusAdminRequest()) if line[0] == function))
    print("workers:", *(line[0].split()[2] for line in ask(gear.WorkersAdminRequest()) if line[0].endswith(function)))
    print("unique:", *(line[0] for line in ask(gear.ShowUniqueJobsAdminRequest()) if function in line[0]))
    (job,) = [line for line in ask(gear.ShowJobsAdminRequest()) if line != ["."]]
    print("job:", *job[1:])
    print("cancelled:", *ask(gear.CancelJobAdminRequest(job[0]))[0])
    print("version:", *ask(gear.VersionAdminRequest())[0])


MODES = {mode.__name__: mode for mode in (results, text, progress, failure, exception, background, queue, join, admin)}

if __name__ == "__main__":
    connected = Client()
    MODES[sys.argv[2]](connected, *sys.argv[3:])
    connected.shutdown()
