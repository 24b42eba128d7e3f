"""What the job server's tests share: a broker driven without sockets, real server processes, and raw wire peers."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from gearman_client.packet import (
    RESPONSE_MAGIC,
    PacketParser,
    PacketType,
    encode_request,
)
from gearman_server.broker import Broker
from gearman_server.jobs.access import EVERYBODY
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.job import Job
from gearman_server.jobs.job_table import BrokerSettings
from gearman_server.jobs.kept_results import KeptResult
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.jobs.session import Identity, Session
from gearman_server.jobs.store import MemoryStore, Store
from gearman_server.text_commands.admin import ServerFacts

DEADLINE_S = 20.0
#: What the wall clock of a broker without sockets says at its start.
UNIX_TIME = 1_700_000_000.0
FACTS = ServerFacts(version="1.2.3", pid=4242, verbosity="INFO")

Received = tuple[int, bytes]


def decode(packets: bytes) -> list[Received]:
    """The response packets in a byte string, all of it."""
    parser = PacketParser(RESPONSE_MAGIC)
    decoded = parser.feed(packets)
    assert parser.violation is None
    assert parser.pending_bytes == 0
    return decoded


class Peer:
    """One session of a broker: sends requests, takes what the broker left for it."""

    def __init__(self, harness: BrokerHarness, identity: Identity) -> None:
        self._harness = harness
        self.session: Session = harness.broker.connect(identity, number=harness.next_number())

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self._harness.broker.receive(self.session, [(packet_type, b"\0".join(arguments))], self._harness.now)

    def take(self) -> list[Received]:
        """The packets that may leave now; they are gone from the out-buffer afterwards."""
        self._harness.broker.settle()
        data = b"".join(self.session.out)
        self.session.out.clear()
        return decode(data)

    def ask(self, packet_type: int, *arguments: bytes) -> list[Received]:
        self.send(packet_type, *arguments)
        return self.take()

    def text(self, line: bytes) -> bytes:
        """The answer to a text command, as it is on the wire."""
        self.send(0, line)
        answer = b"".join(self.session.out)
        self.session.out.clear()
        return answer

    def submit(self, function: bytes, workload: bytes = b"", unique: bytes = b"", kind: str = "SUBMIT_JOB") -> bytes:
        """Submit, and return the handle."""
        [(packet_type, handle)] = self.ask(PacketType[kind], function, unique, workload)
        assert packet_type == PacketType.JOB_CREATED
        return handle

    def can_do(self, *functions: bytes) -> Peer:
        for function in functions:
            self.send(PacketType.CAN_DO, function)
        return self

    def grab(self) -> bytes | None:
        """Grab a job; its handle, or None."""
        [(packet_type, body)] = self.ask(PacketType.GRAB_JOB)
        if packet_type == PacketType.NO_JOB:
            return None
        assert packet_type == PacketType.JOB_ASSIGN
        return body.split(b"\0")[0]

    def grab_workload(self) -> bytes | None:
        [(packet_type, body)] = self.ask(PacketType.GRAB_JOB)
        return None if packet_type == PacketType.NO_JOB else body.split(b"\0", 2)[2]

    def leave(self) -> None:
        self._harness.broker.disconnect(self.session, "closed by the test")


class BatchStore:
    """Keeps rows in a dictionary, by batches that the test commits or fails."""

    is_durable = True

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.batch: list[Job] = []
        self.in_flight: list[Job] = []
        self.updates: list[tuple[bytes, int]] = []
        self.letters: dict[bytes, DeadLetter] = {}
        self.results: dict[bytes, KeptResult] = {}
        self.marks: dict[str, ScheduleMark] = {}
        self._deletes: list[bytes] = []
        self._number = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def insert(self, job: Job) -> None:
        self.batch.append(job)

    def update(self, job: Job) -> None:
        self.updates.append((job.handle, job.attempt))

    def bury(self, letter: DeadLetter) -> None:
        self.letters[letter.handle] = letter

    def forget_dead(self, handles: Sequence[bytes]) -> None:
        for handle in handles:
            self.letters.pop(handle, None)

    def keep(self, result: KeptResult) -> None:
        self.results[result.handle] = result

    def forget_results(self, handles: Sequence[bytes]) -> None:
        for handle in handles:
            self.results.pop(handle, None)

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        self.marks[name] = mark

    def forget_schedules(self, names: Sequence[str]) -> None:
        for name in names:
            self.marks.pop(name, None)

    def delete(self, job: Job) -> None:
        if job in self.batch:
            self.batch.remove(job)
        else:
            self._deletes.append(job.handle)

    def start_commit(self) -> None:
        """The writer takes the batch: from here on an insert can't be taken back."""
        self.in_flight, self.batch = self.batch, []

    def write(self) -> list[Job]:
        """The commit has happened; returns the jobs to report."""
        for job in self.in_flight:
            self.rows[job.handle] = job.workload
        for handle in self._deletes:
            self.rows.pop(handle, None)
        self._deletes.clear()
        written, self.in_flight = self.in_flight, []
        return written


class BrokerHarness:
    """A broker with a hand-moved clock."""

    def __init__(self, settings: BrokerSettings, store: Store) -> None:
        self.now = 1000.0
        self.unix_time = UNIX_TIME
        #: What the broker takes for chance: waits are neither shortened nor stretched.
        self.chance = 0.5
        self.broker = Broker(store, settings, FACTS, lambda: self.unix_time, lambda: self.chance)
        self._numbers = 0

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def peer(self, address: str = "192.0.2.1", unix_uid: int | None = None) -> Peer:
        return Peer(self, Identity(address, 50000, unix_uid))

    def worker(self, *functions: bytes) -> Peer:
        return self.peer().can_do(*functions)

    def advance(self, seconds: float) -> float | None:
        self.now += seconds
        self.unix_time += seconds
        return self.broker.tick(self.now)

    def status(self, function: bytes) -> tuple[int, int, int]:
        """Total, running and workers of a function, as `status` counts them."""
        for line in self.peer().text(b"status").splitlines():
            name, *counts = line.split(b"\t")
            if name == function:
                total, running, workers = map(int, counts)
                return total, running, workers
        return 0, 0, 0


@pytest.fixture
def make_broker() -> Callable[..., BrokerHarness]:
    """Makes brokers: `make_broker(job_retries=2)`, `make_broker(store=...)`."""

    def make(store: Store | None = None, **settings: object) -> BrokerHarness:
        settings.setdefault("handle_prefix", b"H:test")
        settings.setdefault("admin_allow", EVERYBODY)
        settings.setdefault("grab_patience_s", 0.0)  # the clock stands still
        return BrokerHarness(BrokerSettings(**settings), store if store is not None else MemoryStore())  # type: ignore[arg-type]

    return make


@pytest.fixture
def batch_store() -> BatchStore:
    """A durable store that commits when the test says so."""
    return BatchStore()


@pytest.fixture
def broker(make_broker: Callable[..., BrokerHarness]) -> BrokerHarness:
    """A broker with default settings; its first handle is H:test:1."""
    return make_broker()


# --- real processes


class WirePeer:
    """A raw TCP connection to a server: bytes out, packets in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._parser = PacketParser(RESPONSE_MAGIC)
        self._packets: list[Received] = []

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.socket.sendall(encode_request(packet_type, *arguments))

    def receive(self) -> Received:
        """The next packet."""
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._packets += self._parser.feed(data)
            assert self._parser.violation is None
        return self._packets.pop(0)

    def ask(self, packet_type: int, *arguments: bytes) -> Received:
        self.send(packet_type, *arguments)
        return self.receive()

    def text(self, line: bytes) -> bytes:
        """The answer to a text command: up to the line `.` of a table, or one line."""
        self.socket.sendall(line + b"\n")
        words = line.split(b" ")
        is_table = words[0] in (b"status", b"workers", b"prioritystatus", b"show", b"policies")
        is_table = is_table or (words[0] in (b"dead", b"jobs") and words[1] in (b"list", b"show"))
        answer = b""
        while not (answer == b".\n" or answer.endswith(b"\n.\n") if is_table else answer.endswith(b"\n")):
            data = self.socket.recv(65536)
            if not data:
                break
            answer += data
        return answer

    def read_to_end(self) -> bytes:
        """Everything until the server closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := self.socket.recv(65536):
                data += chunk
        return data

    def sync(self) -> None:
        """Return when the server has carried out all that was sent before."""
        assert self.ask(PacketType.ECHO_REQ, b"sync") == (PacketType.ECHO_RES, b"sync")

    def close(self) -> None:
        self.socket.close()


class ServerProcess:
    """A real `gearman-server` on a free port."""

    def __init__(self, *options: str, **environment: str) -> None:
        self.supervisor, inherited = socket.socketpair()
        command = [sys.executable, "-m", "gearman_server", "--supervised-fd", str(inherited.fileno()), *options]
        if not {"-p", "--port"} & set(options):
            command += ["-p", "0"]
        self.process = subprocess.Popen(
            command,
            pass_fds=[inherited.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        inherited.close()
        self.supervisor.settimeout(DEADLINE_S)
        line = self.supervisor.makefile("r").readline()
        if not line:
            raise RuntimeError(f"the server did not start: {self.process.communicate(timeout=DEADLINE_S)[1]!r}")
        self.announced = json.loads(line)
        self.port = int(self.announced["listening"][0].rpartition(":")[2])
        self._peers: list[WirePeer] = []
        self._log = ""
        #: Lines of the log that were not what was waited for.
        self.passed: list[str] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def peer(self) -> WirePeer:
        peer = WirePeer(self.port)
        self._peers.append(peer)
        return peer

    def text(self, line: bytes) -> bytes:
        """A text command on a connection of its own."""
        peer = WirePeer(self.port)
        try:
            return peer.text(line)
        finally:
            peer.close()

    def wait_for_log(self, text: str) -> str:
        """The first line of the log, from the last one returned on, that contains `text`."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            *lines, self._log = self._log.split("\n")
            for index, line in enumerate(lines):
                if text in line:
                    self._log = "\n".join([*lines[index + 1 :], self._log])
                    return line
                self.passed.append(line)
            ready, _, _ = select.select([self.process.stderr], [], [], deadline - time.monotonic())
            data = os.read(self.process.stderr.fileno(), 65536) if ready else b""
            if not data:
                break
            self._log += data.decode()
        raise AssertionError(f"no log line with {text!r}; the log says:\n{self.passed}")

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(timeout=DEADLINE_S)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        for peer in self._peers:
            peer.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.supervisor.close()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts real servers: `start_server("--job-retries", "2", LANG="C")`. They are gone after the test."""
    servers: list[ServerProcess] = []

    def start(*options: str, **environment: str) -> ServerProcess:
        server = ServerProcess(*options, **environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """One real server."""
    return start_server()


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `gearman-server` with options to its end."""

    def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gearman_server", *options],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition that no event announces."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    return wait
