"""Connections to the other servers of the cluster, on their Gearman ports: a greenlet for each.

A link tells of a death long before the lease is over: when a server's process ends, its connections end, and its port
refuses new ones. That counts only for a server that was reached at this address before, and proved to be the one that
is meant, so that a wrong address accuses nobody. A wrong accusation costs time, and no job: the fence sees to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import gevent
from gevent import socket as green_socket

from gearman_client.address import parse_address
from gearman_client.errors import AddressError
from gearman_client.extensions import PEER_HELLO, RESULT
from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request
from gearman_server.cluster.members import MemberState
from gearman_server.cluster.peers import word_of

if TYPE_CHECKING:
    from gearman_server.cluster.members import Member

_CONNECT_S: Final = 1.0
#: The time until the next attempt after one that failed.
_RETRY_S: Final = 0.5
#: A question gets no answer after this time.
PATIENCE_S: Final = 2.0
_RECEIVE_BYTES: Final = 1 << 16
#: Packets without an answer wait for a connection with so many bytes at most.
_MAX_UNTOLD_BYTES: Final = 8 << 20
#: A server to which there is no link yet is told of what was told to the others so long ago (seconds).
_TOLD_S: Final = 10.0

Answer = Callable[["bytes | None"], None]
#: What a server tells of a job for whose result this one waits there; no question is answered by these.
_TOLD: Final = frozenset((int(PacketType.WORK_STATUS), int(PacketType.WORK_DATA), int(PacketType.WORK_WARNING), RESULT))


class Listener(Protocol):
    """Hears what servers tell."""

    def heard(self, packet_type: int, body: bytes) -> None:
        """Such a packet has come."""

    def lost(self, owner: int) -> None:
        """The connection to that server is gone."""


class Link:
    """The connection to one server."""

    def __init__(self, member: Member, report_refusal: Callable[[int], None], listener: Listener | None) -> None:
        self.member = member
        self._listener = listener
        self._report_refusal = report_refusal
        #: The socket once its peer has proved to be the server that is meant; it never waits.
        self._socket: socket.socket | None = None
        #: Whether that was ever so.
        self._was_known = False
        self._questions: deque[tuple[float, Answer]] = deque()
        #: Packets without an answer that are not sent yet.
        self._untold: deque[bytes] = deque()
        self._untold_bytes = 0
        self._greenlet = gevent.spawn(self._run)

    def ask(self, request: bytes, answer: Answer) -> None:
        """Send a request, and call `answer` with the body of the reply."""
        if self._socket is None:
            answer(None)
            return
        self._questions.append((monotonic() + PATIENCE_S, answer))
        try:
            is_sent = self._socket.send(request) == len(request)
        except OSError:
            is_sent = False
        if not is_sent:
            self._end()

    def send_now(self, request: bytes) -> bool:
        """Send a request that no question waits for, or return False."""
        if self._socket is None or self._untold:
            return False
        try:
            if self._socket.send(request) == len(request):
                return True
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._end()
        return False

    def tell(self, packet: bytes) -> None:
        """Send a packet that has no answer, now or once there is a connection."""
        self._untold.append(packet)
        self._untold_bytes += len(packet)
        while self._untold_bytes > _MAX_UNTOLD_BYTES:
            self._untold_bytes -= len(self._untold.popleft())
        self._tell_all()

    def _tell_all(self) -> None:
        try:
            while self._socket is not None and self._untold:
                sent = self._socket.send(self._untold[0])
                packet = self._untold.popleft()
                self._untold_bytes -= len(packet)
                if sent < len(packet):
                    self._end()  # it takes no more: the rest would be taken for the next packet
        except BlockingIOError:
            pass  # the next packet, or look at the clock, tries again
        except OSError:
            self._end()

    def close(self) -> None:
        """End it."""
        self._greenlet.kill(block=False)
        self._end()

    def look_at_the_clock(self) -> None:
        """End a connection whose peer does not answer: what comes later could not be told from the next answers."""
        if self._questions and self._questions[0][0] < monotonic():
            self._end()
        if self._untold:
            self._tell_all()

    def _run(self) -> None:
        while True:
            began_at = monotonic()
            has_worked = self._serve_one()
            self._end()
            if not has_worked or monotonic() - began_at < _RETRY_S:
                gevent.sleep(_RETRY_S)

    def _serve_one(self) -> bool:
        """One connection, until its end. Returns whether the peer was the right one: then the next attempt follows at
        once, since a refusal would tell of its death."""
        try:
            address = parse_address(self.member.address)
            connection = green_socket.create_connection((address.host, address.port), timeout=_CONNECT_S)
        except ConnectionRefusedError:
            if self._was_known:
                self._report_refusal(self.member.id)
            return False
        except (OSError, UnicodeError, AddressError):
            return False  # the lease decides
        is_right = False
        with contextlib.suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(encode_request(PEER_HELLO, b"%d" % self.member.id, word_of(self.member.facts).encode()))
            parser = PacketParser(RESPONSE_MAGIC, accepts_text=True)
            while parser.violation is None and (data := connection.recv(_RECEIVE_BYTES)):
                for packet_type, body in parser.feed(data):
                    if packet_type == PEER_HELLO:
                        is_right = True
                        self._begin(connection)
                    elif packet_type in _TOLD and self._listener is not None:
                        self._listener.heard(packet_type, body)
                    elif self._questions:
                        self._questions.popleft()[1](body)
        return is_right

    def _begin(self, connection: socket.socket) -> None:
        self._was_known = True
        connection.settimeout(None)
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._socket.setblocking(False)
        self._tell_all()

    def _end(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # the greenlet hears of it
            connection.close()
            if self._listener is not None:
                self._listener.lost(self.member.id)
        questions, self._questions = self._questions, deque()
        for _, answer in questions:
            answer(None)


class Links:
    """A link to each of the other servers that live."""

    def __init__(self, report_refusal: Callable[[int], None]) -> None:
        """`report_refusal` is called with the id of a server whose port refuses connections, and did not before."""
        self._report_refusal = report_refusal
        self._links: dict[int, Link] = {}
        #: Hears what servers tell unasked; set before there are any.
        self.listener: Listener | None = None
        #: What all were told lately, and when (monotonic seconds), for those to which there is no link yet.
        self._told: deque[tuple[float, bytes]] = deque()
        self._told_bytes = 0

    def follow(self, members: Sequence[Member], own_id: int) -> None:
        """Have links to these servers, those of them that live. Call it often: it looks at the clock too."""
        others = {
            member.id: member
            for member in members
            if member.id != own_id and member.state is MemberState.ALIVE and member.address and member.facts
        }
        for number in [number for number in self._links if number not in others]:
            self._links.pop(number).close()
        for number, member in others.items():
            if number not in self._links:
                link = self._links[number] = Link(member, self._report_refusal, self.listener)
                self._forget_told()
                for _, packet in self._told:
                    link.tell(packet)
            self._links[number].look_at_the_clock()

    @property
    def ids(self) -> Sequence[int]:
        """The other servers that live."""
        return list(self._links)

    def ask(self, owner: int, request: bytes, answer: Answer) -> None:
        """Send a request to that server. `answer` gets the body of the reply, or the line; None: there is none."""
        link = self._links.get(owner)
        if link is None:
            answer(None)
        else:
            link.ask(request, answer)

    def watch(self, owner: int, request: bytes) -> bool:
        """Send a request whose answers are told as they come. False: there is no connection to that server."""
        link = self._links.get(owner)
        return link is not None and link.send_now(request)

    def tell_all(self, packet: bytes) -> None:
        """Send a packet that has no answer to all of them."""
        self._told.append((monotonic(), packet))
        self._told_bytes += len(packet)
        self._forget_told()
        for link in self._links.values():
            link.tell(packet)

    def _forget_told(self) -> None:
        oldest = monotonic() - _TOLD_S
        while self._told and (self._told[0][0] < oldest or self._told_bytes > _MAX_UNTOLD_BYTES):
            self._told_bytes -= len(self._told.popleft()[1])

    def close(self) -> None:
        """End all of them."""
        for link in self._links.values():
            link.close()
        self._links.clear()
