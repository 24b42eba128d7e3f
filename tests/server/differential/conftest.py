"""The same conversations with Debian's gearmand and with our server; the answers must be equal except for the handles.

DIFFERENCES lists the permitted exceptions with the reason, by conversation and step. A step sends one thing; then
every peer asks for an echo. The bytes that come before the echo are the server's reaction to the step.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

from ...gearmand import running_gearmand
from ..server_process import ServerProcess

DEADLINE_S = 20.0
#: For this long a test listens to a gearmand that may have nothing to say.
SILENCE_S = 0.3

_HANDLE = re.compile(rb"H:diff:\d+")
_TABLES = (b"status", b"prioritystatus", b"workers", b"show")

#: Conversation and step: the reason why our answer differs.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("long_arguments", "reducer 65"): "the message names the reducer",
    ("long_arguments", "reduce unique 65"): "gearmand forgets to measure it, and cuts it (defect 16)",
    ("long_arguments", "status handle 64"): "gearmand never answers (defect 15)",
    ("long_arguments", "status unique 64"): "gearmand never answers (defect 15)",
    ("long_arguments", "fail handle 64"): "a handle that no job can have belongs to no job",
    ("priorities_across_functions", "grab 1"): "priorities hold across the functions of a worker (defect 12)",
    ("priorities_across_functions", "grab 2"): "priorities hold across the functions of a worker (defect 12)",
    ("results", "exception"): "gearmand's substitute WORK_FAIL has a zero byte behind the handle (defect 8)",
    ("results", "fail after exception"): "workers by the protocol's text send both, and would end at the ERROR",
    ("odd_progress", "long denominator"): "gearmand forwards nothing and closes the worker's connection (defect 15)",
    ("abandoning", "status"): "what was abandoned is gone at once (defect 26)",
    ("abandoning", "submit the same"): "gearmand attaches the client to the doomed job (defect 7)",
    ("abandoning", "grab"): "gearmand's client waits for ever (defect 7)",
    ("cancelling", "cancel it twice"): "what was cancelled is gone, and its clients hear so once (defect 9)",
    ("cancelling", "status"): "what was cancelled is counted no more (defect 26)",
    ("cancelling", "its result"): "the client has had its WORK_FAIL (defect 9)",
    ("epochs", "future"): "nobody is woken for a job that can't be had yet",
    ("epochs", "no number"): "gearmand takes it for 0",
    ("epochs", "out of range"): "gearmand gives no answer, or closes the connection (defect 15)",
    ("registering", "workers"): "functions stand in the order in which they are served",
    ("tabs_in_names", "workers"): "functions stand in the order in which they are served",
    ("registering", "counted"): "registering twice counts once (defect 31)",
    ("functions", "cut name"): "gearmand takes the line ending for two bytes (defect 11)",
    **{
        ("refusals", step): "an ERROR says why the connection is closed"
        for step in ("no magic", "type 0", "type 43", "type 43 as a response")
    },
    ("refusals", "all yours"): "the packet needs no answer",
    ("too_few_arguments", "submit"): "gearmand looks for arguments in what follows (defect 3)",
    ("too_few_arguments", "complete"): "gearmand looks for arguments in what follows (defect 3)",
    ("too_few_arguments", "three strings"): "what the protocol's text describes is understood (defect 17)",
    ("odd_names", "can do nothing"): "an empty name would be an empty cell of the status table",
    ("odd_names", "submit to nothing"): "an empty name would be an empty cell of the status table",
}


class Talker:
    """One connection of a conversation."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_closed = False

    def read_until(self, ending: bytes | None, timeout_s: float) -> bytes:
        """The bytes before `ending`, before the connection closes, or within this time."""
        data = b""
        deadline = time.monotonic() + timeout_s
        while ending is None or not data.endswith(ending):
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                received = self.socket.recv(65536)
            except TimeoutError:
                return data
            except ConnectionResetError:
                received = b""
            if not received:
                self.is_closed = True
                return data
            data += received
        return data.removesuffix(ending or b"")


class Conversation:
    """Holds a conversation with the server on a port and records the server's reactions, step by step."""

    def __init__(self, port: int, patience_s: float) -> None:
        self._port = port
        self._patience_s = patience_s
        self._talkers: dict[str, Talker] = {}
        self._handles: list[bytes] = []
        self.said: dict[str, list[str]] = {}
        self.count = 0

    def step(self, name: str, who: str, packet_type: str | int, *arguments: bytes, wakes: tuple[str, ...] = ()) -> None:
        """One packet; `{2}` in an argument stands for the second handle of the conversation.

        The step waits for the peers that it wakes: sleepers need not all hear of a job at once.
        """
        number = PacketType[packet_type] if isinstance(packet_type, str) else packet_type
        self._send(who, encode_request(number, *map(self._filled, arguments)))
        woken = [f"{peer}: {self._decoded(self._talker(peer).read_until(_NOOP, DEADLINE_S), list)}" for peer in wakes]
        self._note(name, woken + self._hear(who))

    def text(self, name: str, who: str, line: bytes) -> None:
        """One text command."""
        self._send(who, self._filled(line) + b"\n")
        is_table = line.split(b" ")[0].lower() in _TABLES
        heard = self._hear(who, text_of=sorted if is_table else list)
        self._note(name, heard)

    def raw(self, name: str, who: str, data: bytes, *, is_answered: bool = False) -> None:
        """Sends bytes after which the server may close the connection, or gearmand may wait for more bytes."""
        talker = self._talker(who)
        self._send(who, data + _ECHO_REQUEST)
        heard = self._decoded(talker.read_until(_ECHO, DEADLINE_S if is_answered else self._patience_s), list)
        self._note(name, [f"{who}: {heard}", f"{who}: {'closed' if talker.is_closed else 'open'}"])
        if not is_answered:
            self._talkers.pop(who).socket.close()

    def wait(self, name: str, who: str) -> None:
        """Waits until the server sends something to this peer unasked."""
        self._note(name, [f"{who}: {self._decoded(self._talker(who).read_until(_NOOP, DEADLINE_S) + _NOOP, list)}"])

    def leave(self, name: str, who: str) -> None:
        """A peer closes its connection, and the server has noticed."""
        talker = self._talkers.pop(who)
        connections = self._connections()
        talker.socket.close()
        deadline = time.monotonic() + DEADLINE_S
        while self._connections() >= connections:
            assert time.monotonic() < deadline
        self._note(name, self._hear())

    def _connections(self) -> int:
        with contextlib.closing(socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE_S)) as asker:
            asker.sendall(b"workers\n")
            data = b""
            while not data.endswith(b"\n.\n"):
                data += asker.recv(65536)
        return data.count(b"\n")

    def _talker(self, who: str) -> Talker:
        if who not in self._talkers:
            self._talkers[who] = Talker(self._port)
        return self._talkers[who]

    def _send(self, who: str, data: bytes) -> None:
        self._talker(who).socket.sendall(data)

    def _hear(self, first: str | None = None, text_of: Callable[[Iterable[bytes]], list[bytes]] = list) -> list[str]:
        """The reactions to all peers, the sender's first: after its echo the packets to the others are on their way."""
        others = sorted(name for name in self._talkers if name != first)
        heard = []
        for who in [*([first] if first else []), *others]:
            talker = self._talkers[who]
            if talker.is_closed:
                continue
            with contextlib.suppress(OSError):
                talker.socket.sendall(_ECHO_REQUEST)
            said = self._decoded(talker.read_until(_ECHO, DEADLINE_S), text_of)
            heard += [f"{who}: {said}"] if said else []
            heard += [f"{who}: closed"] if talker.is_closed else []
        return heard

    def _note(self, name: str, heard: list[str]) -> None:
        assert name not in self.said, f"two steps are called {name!r}"
        self.count += 1
        self.said[name] = heard

    def _filled(self, argument: bytes) -> bytes:
        return re.sub(rb"\{(\d)\}", lambda match: self._handles[int(match[1]) - 1], argument)

    def _decoded(self, data: bytes, text_of: Callable[[Iterable[bytes]], list[bytes]]) -> list[str]:
        """Packets by name and lines of text, with every handle replaced by its number in the conversation."""
        for handle in _HANDLE.findall(data):
            if handle not in self._handles:
                self._handles.append(handle)
        parser = PacketParser(RESPONSE_MAGIC, accepts_text=True)
        packets, lines = [], []
        for packet_type, body in parser.feed(data):
            body = _HANDLE.sub(lambda match: b"<%d>" % (self._handles.index(match[0]) + 1), body)
            if packet_type:
                packets.append(f"{PacketType(packet_type).name} {body!r}")
            else:
                lines.append(re.sub(rb"^\d+ 127\.0\.0\.1 ", b"FD ADDRESS ", body))
        return packets + [repr(line) for line in text_of(lines)]

    def close(self) -> None:
        for talker in self._talkers.values():
            talker.socket.close()


_ECHO_REQUEST = encode_request(PacketType.ECHO_REQ, b"end of the step")
_ECHO = RESPONSE_MAGIC + _ECHO_REQUEST[4:8].replace(b"\x10", b"\x11") + _ECHO_REQUEST[8:]
_NOOP = RESPONSE_MAGIC + encode_request(PacketType.NOOP)[4:]


def held(
    conversation: Callable[[Conversation], None], port: int, patience_s: float = DEADLINE_S
) -> dict[str, list[str]]:
    talk = Conversation(port, patience_s)
    try:
        conversation(talk)
    finally:
        talk.close()
    return talk.said


@pytest.fixture
def assert_same(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Callable[..., None]:
    """Holds a conversation with both servers and compares the reactions."""

    def hold_and_compare(conversation: Callable[[Conversation], None]) -> None:
        server = start_server("--job-handle-prefix", "H:diff")
        ours = held(conversation, server.port)
        # One thread: with several, a connection can be gone from its lists before its jobs are.
        options = ("--job-handle-prefix", "H:diff", "--threads", "1")
        with running_gearmand(tmp_path, *options) as gearmand:
            theirs = held(conversation, gearmand.port, SILENCE_S)
        different = {step for step in ours if ours[step] != theirs[step]}
        allowed = {step for name, step in DIFFERENCES if name == conversation.__name__}
        unexpected = [f"{step}\n  ours:   {ours[step]}\n  theirs: {theirs[step]}" for step in different - allowed]
        assert not unexpected, "\n".join(sorted(unexpected))
        assert allowed <= different, f"no longer different: {sorted(allowed - different)}"

    return hold_and_compare
