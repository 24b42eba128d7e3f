"""Messages between the supervisor and a zygote: JSON frames over a Unix stream socket, with descriptors beside them.

A frame is four bytes of length and a JSON object; its `fds` is the number of descriptors that come along (SCM_RIGHTS).
The framing is pure; `send` and `receive` take any socket that can pass descriptors. Both ends are ours, so a broken
frame is a defect and raises.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from collections import deque
from struct import Struct
from typing import Any, Final

from gearman_manager.errors import ManagerError

Message = dict[str, Any]

_LENGTH: Final = Struct(">I")
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 65536
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(16 * array("i").itemsize)


def encode(message: Message, descriptors: tuple[int, ...] = ()) -> bytes:
    """One message as a frame."""
    body = json.dumps(message | {"fds": len(descriptors)}).encode()
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Collects received bytes into whole messages. Each message holds its descriptors as `descriptors`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._descriptors: deque[int] = deque()

    def feed(self, data: bytes, descriptors: list[int]) -> list[Message]:
        """Take in the result of one read; returns the messages that are complete now."""
        self._pending += data
        self._descriptors.extend(descriptors)
        messages = []
        while (body := self._next_body()) is not None:
            message: Message = json.loads(body)
            message["descriptors"] = [self._descriptors.popleft() for _ in range(message["fds"])]
            messages.append(message)
        return messages

    def close(self) -> None:
        """Close the descriptors of messages that were never completed."""
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _next_body(self) -> bytes | None:
        if len(self._pending) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._pending)
        if length > MAX_MESSAGE_BYTES:
            raise ManagerError(f"a message of {length} bytes between supervisor and zygote is beyond the limit")
        end = _LENGTH.size + length
        if len(self._pending) < end:
            return None
        body = bytes(self._pending[_LENGTH.size : end])
        del self._pending[:end]
        return body


def send(sock: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Write one message on a blocking socket; descriptors go with its first bytes."""
    frame = encode(message, descriptors)
    sent = socket.send_fds(sock, [frame], list(descriptors)) if descriptors else sock.send(frame)
    if sent < len(frame):
        sock.sendall(frame[sent:])


def receive(sock: socket.socket, reader: FrameReader) -> list[Message] | None:
    """Read once; returns None if the other side is gone."""
    # Not socket.recv_fds: it drops its flags, and the descriptors must be close-on-exec from the start.
    data, ancillary, flags, _ = sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
    descriptors = array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if flags & socket.MSG_CTRUNC:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ManagerError("a descriptor was lost on the way: this process has too many open files")
    return reader.feed(data, list(descriptors)) if data else None
