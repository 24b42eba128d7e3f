"""`max_running` of a cluster whose servers come and die: more servers than places, as many, and far fewer."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, submit

LIMITS = {b"one": 1, b"three": 3, b"hundred": 100}
#: The workers of a killed server may go on for so long before they tell another one.
WORD_S = 1.5


class Running:
    """Jobs that run on each server, with one worker for each function there."""

    def __init__(self) -> None:
        self._workers: dict[tuple[ServerProcess, bytes], StreamPeer] = {}
        self._handles: dict[tuple[ServerProcess, bytes], list[bytes]] = {}
        self._lost: dict[bytes, int] = {}
        self._lost_until = 0.0

    def serve(self, server: ServerProcess) -> None:
        """Have workers there."""
        for function in LIMITS:
            self._workers[server, function] = server.peer()
            self._handles[server, function] = []

    def lose(self, server: ServerProcess) -> None:
        """It was killed."""
        self._lost_until = time.monotonic() + WORD_S
        for function in LIMITS:
            self._lost[function] = len(self._handles.pop((server, function)))
            del self._workers[server, function]

    def end_some(self) -> None:
        """End one job in two."""
        for place, handles in self._handles.items():
            for handle in handles[::2]:
                self._workers[place].send(PacketType.WORK_COMPLETE, handle, b"")
            self._workers[place].sync()
            del handles[::2]

    def as_many_as_allowed(self) -> bool:
        """Take what there is. Whether that is all that may run."""
        for (server, function), worker in self._workers.items():
            began_at = time.monotonic()
            while (job := grab(worker, encode_request(PacketType.CAN_DO, function))) is not None:
                self._handles[server, function].append(job[0])
                gone = self._lost.get(function, 0) if began_at < self._lost_until else 0
                assert self._count(function) + gone <= LIMITS[function], function
                began_at = time.monotonic()
        return all(self._count(function) == limit for function, limit in LIMITS.items())

    def _count(self, function: bytes) -> int:
        return sum(len(handles) for (_, name), handles in self._handles.items() if name == function)


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_no_more_run_than_may_and_as_many_as_may_while_servers_come_and_die(
    cluster: Cluster, tmp_path: Path, until: Until
) -> None:
    policies = tmp_path / "policies.yaml"
    lines = [f"  {function.decode()}: {{max_running: {limit}}}" for function, limit in LIMITS.items()]
    policies.write_text("\n".join(["functions:", *lines]))
    running = Running()

    def start() -> ServerProcess:
        server = cluster.start("--policies", str(policies))
        for function, limit in LIMITS.items():
            submit(server.peer(), limit, function)
        running.serve(server)
        return server

    first, *_ = (start() for _ in range(3))
    until(running.as_many_as_allowed)
    start()
    running.end_some()
    until(running.as_many_as_allowed)
    first.signal(signal.SIGKILL)
    running.lose(first)
    until(running.as_many_as_allowed)
