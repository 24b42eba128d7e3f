"""The client's end of a connection to the job server in this process: a real socket, so that every kind of client can
wait for it, of which the other end is a conversation.

What a client sends is handled before `send` returns, in the same thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable

from gearman_client.testing.broker import Broker
from gearman_client.testing.conversation import Conversation


class EagerSocket(socket.socket):
    """A connected socket. Answers that do not fit into the kernel's buffer follow as the client reads."""

    def __init__(self, broker: Broker, on_close: Callable[[EagerSocket], object]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours.family, ours.type, ours.proto, fileno=ours.detach())
        self._theirs = theirs
        self._theirs.setblocking(False)
        self._backlog: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._on_close = on_close
        self._conversation = Conversation(broker, self._deliver)

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:  # type: ignore[override]
        """Hand the bytes to the server, which takes all."""
        if self.fileno() < 0 or self._theirs.fileno() < 0:
            raise BrokenPipeError("the connection is closed")
        self._conversation.feed(bytes(data))
        return len(data)

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]
        """As `send`."""
        self.send(data, flags)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read, and make room for more."""
        data = super().recv(size, flags)
        self._pump()
        return data

    def hang_up(self) -> None:
        """The server closes the connection."""
        self._conversation.end()
        with self._lock:
            self._theirs.close()

    def close(self) -> None:
        """The client closes the connection."""
        self._on_close(self)
        self.hang_up()
        super().close()

    def __del__(self) -> None:
        """A program may keep its client for all its life: no warning about a socket that is not one of the network."""
        super().close()
        self._theirs.close()

    def _deliver(self, data: bytes) -> None:
        with self._lock:
            self._backlog.append(data)
        self._pump()

    def _pump(self) -> None:
        """Give the kernel what it takes. The end of the backlog is always behind bytes that can be read."""
        with self._lock:
            while self._backlog and self._theirs.fileno() >= 0:
                data = self._backlog.popleft()
                sent = 0
                with contextlib.suppress(BlockingIOError):
                    sent = self._theirs.send(data)
                if sent < len(data):
                    self._backlog.appendleft(data[sent:])
                    return
