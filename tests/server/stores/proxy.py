"""A way to a database that a test can cut, stall or slow down."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time


class Proxy:
    """Connections to a database that can be cut, stalled or slowed down."""

    def __init__(self, port: int, listening: socket.socket | None = None, host: str = "127.0.0.1") -> None:
        """`listening`: where it takes connections, if not at a free port of this machine."""
        self._host = host
        self._target = port
        self._listening = listening or socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        #: What passes is late by a random time up to this.
        self.delay_s = 0.0
        self.chance = random.Random()
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = None if self._is_cut else socket.create_connection((self._host, self._target))
                except OSError:  # the database has just ended
                    far = None
                if far is None:
                    near.close()
                    continue
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if self.delay_s:
                    time.sleep(self.chance.uniform(0.0, self.delay_s))
                sink.sendall(data)
        self._flows.wait()  # an end is told of as little as a byte
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Every connection ends, and no new one can be made."""
        self._is_cut = True
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """No byte passes any more, and no connection ends."""
        self._flows.clear()

    def heal(self) -> None:
        self._is_cut = False
        self._flows.set()

    def retarget(self, port: int, host: str = "127.0.0.1") -> None:
        """Lead to another database from now on."""
        self._host, self._target = host, port
        self.heal()

    def close(self) -> None:
        self.cut()
        self._flows.set()
        self._listening.close()
        for end in self._sockets:
            end.close()
