"""Real server processes, and connections to them."""

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
from collections.abc import Callable

from ..warm import start_with_piped_errors
from .stream_peer import DEADLINE_S, StreamPeer


class ServerProcess:
    """A real `gearman-server` on a free port."""

    def __init__(self, *options: str, **environment: str) -> None:
        self.supervisor, inherited = socket.socketpair()
        command = [sys.executable, "-m", "gearman_server", "--supervised-fd", str(inherited.fileno()), *options]
        if not {"-p", "--port"} & set(options):
            command += ["-p", "0"]
        warm = None if environment else start_with_piped_errors("gearman_server", command[3:], [inherited.fileno()])
        self.process: subprocess.Popen[bytes] = warm or subprocess.Popen(
            command,
            pass_fds=[inherited.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        inherited.close()
        assert self.process.stderr is not None
        self.stderr = self.process.stderr
        self.supervisor.settimeout(DEADLINE_S)
        line = self.supervisor.makefile("r").readline()
        if not line or "failed" in line:
            raise RuntimeError(f"the server did not start: {self.process.communicate(timeout=DEADLINE_S)[1]!r}")
        self.announced = json.loads(line)
        self.port = int(self.announced["listening"][0].rpartition(":")[2])
        #: How its peers get there.
        self.connect: Callable[[], socket.socket] = self._connect_here
        self._peers: list[StreamPeer] = []
        self._log = ""
        #: Lines of the log that were read and did not match.
        self.passed: list[str] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        """Its first address."""
        return f"127.0.0.1:{self.port}"

    def peer(self) -> StreamPeer:
        peer = self._connected()
        self._peers.append(peer)
        return peer

    def text(self, line: bytes) -> bytes:
        """The answer to a text command, on a connection of its own."""
        peer = self._connected()
        try:
            return peer.text(line)
        finally:
            peer.close()

    def _connected(self) -> StreamPeer:
        return StreamPeer(self.connect())

    def _connect_here(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def wait_for_log(self, text: str) -> str:
        """The first line of the log that contains `text`, from the last returned line on."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            *lines, self._log = self._log.split("\n")
            for index, line in enumerate(lines):
                if text in line:
                    self._log = "\n".join([*lines[index + 1 :], self._log])
                    return line
                self.passed.append(line)
            ready, _, _ = select.select([self.stderr], [], [], deadline - time.monotonic())
            data = os.read(self.stderr.fileno(), 65536) if ready else b""
            if not data:
                break
            self._log += data.decode()
        raise AssertionError(f"no log line with {text!r}; the log says:\n{self.passed}")

    def wait(self) -> int:
        """Wait for the end; the exit status."""
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
        if not self.stderr.closed:  # it may have been stopped before
            self._print_log()
        self.stderr.close()

    def _print_log(self) -> None:
        """Show the log beside the failure, if the test has failed."""
        os.set_blocking(self.stderr.fileno(), False)
        with contextlib.suppress(BlockingIOError):  # a child that lives longer holds the pipe
            while data := os.read(self.stderr.fileno(), 65536):
                self._log += data.decode(errors="replace")
        print(f"the log of the server {self.address}, process {self.pid}:", *self.passed, self._log, sep="\n")
