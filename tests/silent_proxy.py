"""A proxy before a job server that can go silent, as a NAT or a balancer that has forgotten a connection does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from gearman_client import Address
from gearman_client.packet import PacketType, encode_request

PRE_SLEEP = encode_request(PacketType.PRE_SLEEP)


class SilentProxy:
    """Passes bytes on, until `forget` makes it swallow them: the connections stay open, and nobody is told."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        #: The pairs of sockets whose bytes pass.
        self._passing: set[tuple[socket.socket, socket.socket]] = set()
        self._all: list[socket.socket] = []
        #: The last bytes that the near side of each connection has sent.
        self._ends: dict[socket.socket, bytes] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for_sleeper(self) -> None:
        """Return when the last thing that a worker has sent is that it sleeps."""
        while not any(end.endswith(PRE_SLEEP) for end in self._ends.values()):
            time.sleep(0.01)

    def forget(self) -> None:
        """Swallow the bytes of all connections that there are; new ones work."""
        self._passing.clear()

    def close(self) -> None:
        for sock in (self._listener, *self._all):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._target.host, self._target.port))
                pair = (near, far)
                self._all += pair
                self._passing.add(pair)
                for source, sink in (pair, (far, near)):
                    threading.Thread(target=self._copy, args=(pair, source, sink), daemon=True).start()

    def _copy(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source is pair[0]:
                    self._ends[source] = data[-len(PRE_SLEEP) :]
                if pair in self._passing:
                    sink.sendall(data)
            if pair in self._passing:
                sink.shutdown(socket.SHUT_WR)
                return
        self._passing.discard(pair)


@contextlib.contextmanager
def silent_proxy(target: Address) -> Iterator[SilentProxy]:
    """A proxy before `target`, closed at the end."""
    proxy = SilentProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
