"""Real server processes, and raw TCP peers of them."""

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

from gearman_client.packet import (
    RESPONSE_MAGIC,
    PacketParser,
    PacketType,
    encode_request,
)

DEADLINE_S = 20.0

Received = tuple[int, bytes]


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
