"""Servers of the cluster as clients of one another: who is one, and what each tells the others of itself. Pure.

A server publishes a random word with its beats, in the store that they share. Whoever says that word on a connection is
a server of the same cluster: it may what this machine's administrators may.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gearman_client.extensions import PEER_HELLO
from gearman_client.packet import encode_response
from gearman_server.errors import RefusedError

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.requests.submissions import Handler


def encode_facts(facts: Mapping[str, Any]) -> bytes:
    """What a server tells with its beats."""
    return json.dumps(facts, separators=(",", ":")).encode()


def read_facts(facts: bytes) -> Mapping[str, Any]:
    """What a server has told; nothing if that can't be read."""
    try:
        read = json.loads(facts)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def word_of(facts: bytes) -> str:
    """The word of the server that told these facts; empty if it has none."""
    return str(read_facts(facts).get("word", ""))


class Peers:
    """Recognizes the connections of other servers."""

    def __init__(self, word: str) -> None:
        self.word = word
        #: This server's id; 0 while it has none.
        self.id = 0

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {PEER_HELLO: self._hello}

    def _hello(self, session: Session, body: bytes, _now: float) -> None:
        """The body is the id and the word of the server that the peer wants to reach."""
        number, _, word = body.partition(b"\0")
        if not hmac.compare_digest(word, self.word.encode()) or number != b"%d" % self.id:
            raise RefusedError(b"NOT_A_PEER", b"This is not the server that the peer means")
        session.is_peer = True
        session.reply(encode_response(PEER_HELLO, number))
