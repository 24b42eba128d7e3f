"""A TLS handshake, step by step, with a time limit: a silent peer blocks nobody.

A step can take a millisecond, above all the server's signature, and very many peers can come at once: so each step has
its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gearman_server.edge.tls import TlsStream
from gearman_server.jobs.access import Identity
from gearman_server.loop import READABLE, WRITABLE

if TYPE_CHECKING:
    from gearman_server.loop import Loop

HANDSHAKE_TIMEOUT_S: Final = 10.0


class Handshake:
    """Drives a stream's handshake, and calls `ended` once: with None, or with the error that it ended with."""

    def __init__(
        self,
        stream: TlsStream,
        identity: Identity,
        loop: Loop,
        queue: Callable[[Callable[[], None]], None],
        ended: Callable[[Handshake, Exception | None], None],
    ) -> None:
        """`queue` calls what it is handed when others have had their turns."""
        self.stream = stream
        #: It has the subject of the client's certificate once the handshake has succeeded.
        self.identity = identity
        self._queue = queue
        self._ended: Callable[[Handshake, Exception | None], None] | None = ended
        self._readable = loop.io(stream.fileno(), READABLE)
        self._readable.start(self._on_readable)
        self._writable = loop.io(stream.fileno(), WRITABLE)
        self._timer = loop.timer(HANDSHAKE_TIMEOUT_S)
        self._timer.start(self.abort, f"it took longer than {HANDSHAKE_TIMEOUT_S:g} s")

    def abort(self, reason: str) -> None:
        """End it. The stream stays open until `ended` closes it."""
        self._end(ConnectionAbortedError(reason))

    def _on_readable(self) -> None:
        self._readable.stop()
        self._queue(self._advance)

    def _advance(self) -> None:
        if self._ended is None:
            return  # it was aborted before its turn
        try:
            if not self.stream.shake_hands():
                self.stream.acknowledge_at_once()
                self._watch_writable()
                if not self._readable.active:
                    self._readable.start(self._on_readable)
                return
            self.identity = replace(self.identity, tls_subject=self.stream.subject)
        except Exception as error:  # noqa: BLE001 - the loop's boundary: this peer is not let in
            self._end(error)
            return
        self._end(None)

    def _watch_writable(self) -> None:
        if self.stream.has_unsent and not self._writable.active:
            self._writable.start(self._advance)
        elif not self.stream.has_unsent:
            self._writable.stop()

    def _end(self, failure: Exception | None) -> None:
        for watcher in (self._readable, self._writable, self._timer):
            watcher.stop()
            watcher.close()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, failure)
