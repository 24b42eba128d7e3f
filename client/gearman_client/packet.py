"""The packet codec: turns bytes into packets and packets into bytes. Pure; shared by client, worker and job server.

A packet is a header of 12 bytes (magic, type, body length, big-endian) and a body: arguments joined by single zero
bytes, with no terminator after the last one. Where a packet could start, a first byte other than zero starts a line of
the text protocol instead. The numbers are those of the official protocol text; where gearmand differs, we follow
gearmand.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final

from gearman_client.errors import ProtocolError

REQUEST_MAGIC: Final = b"\0REQ"
RESPONSE_MAGIC: Final = b"\0RES"
HEADER: Final = Struct(">4sII")
HEADER_BYTES: Final = HEADER.size
_unpack_header: Final = HEADER.unpack_from
DEFAULT_MAX_BODY_BYTES: Final = 256 * 1024 * 1024
MAX_LINE_BYTES: Final = 8192
#: The packets in one answer of a parser after which a text line is the last.
MAX_LINES: Final = 128
#: The first bytes of every TLS connection since SSL 3: the type of the record, and the version's first half.
_TLS_HANDSHAKE: Final = b"\x16\x03"


class PacketType(IntEnum):
    """Packet types by number. TEXT_LINE is ours and never appears in a binary header."""

    TEXT_LINE = 0
    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42


_T = PacketType

#: The number of arguments of each packet type.
ARGUMENT_COUNTS: Final[dict[int, int]] = {
    _T.CAN_DO: 1,
    _T.CANT_DO: 1,
    _T.RESET_ABILITIES: 0,
    _T.PRE_SLEEP: 0,
    _T.NOOP: 0,
    _T.SUBMIT_JOB: 3,
    _T.JOB_CREATED: 1,
    _T.GRAB_JOB: 0,
    _T.NO_JOB: 0,
    _T.JOB_ASSIGN: 3,
    _T.WORK_STATUS: 3,
    _T.WORK_COMPLETE: 2,
    _T.WORK_FAIL: 1,
    _T.GET_STATUS: 1,
    _T.ECHO_REQ: 1,
    _T.ECHO_RES: 1,
    _T.SUBMIT_JOB_BG: 3,
    _T.ERROR: 2,
    _T.STATUS_RES: 5,
    _T.SUBMIT_JOB_HIGH: 3,
    _T.SET_CLIENT_ID: 1,
    _T.CAN_DO_TIMEOUT: 2,
    _T.ALL_YOURS: 0,
    _T.WORK_EXCEPTION: 2,
    _T.OPTION_REQ: 1,
    _T.OPTION_RES: 1,
    _T.WORK_DATA: 2,
    _T.WORK_WARNING: 2,
    _T.GRAB_JOB_UNIQ: 0,
    _T.JOB_ASSIGN_UNIQ: 4,
    _T.SUBMIT_JOB_HIGH_BG: 3,
    _T.SUBMIT_JOB_LOW: 3,
    _T.SUBMIT_JOB_LOW_BG: 3,
    _T.SUBMIT_JOB_SCHED: 8,
    _T.SUBMIT_JOB_EPOCH: 4,
    _T.SUBMIT_REDUCE_JOB: 5,
    _T.SUBMIT_REDUCE_JOB_BACKGROUND: 5,
    _T.GRAB_JOB_ALL: 0,
    _T.JOB_ASSIGN_ALL: 5,
    _T.GET_STATUS_UNIQUE: 1,
    _T.STATUS_RES_UNIQUE: 6,
}

#: (type, body). A negative type means that the header carried the magic of the other direction. Type 0 is a text line;
#: its body is the line without the line feed.
Packet = tuple[int, bytes]


#: The headers seen lately are not taken apart again, by the magic of their direction: most packets have one of few.
MAX_KNOWN_HEADERS: Final = 4096
_OTHER: Final = (0, 1 << 40)
_known_headers: Final[dict[bytes, dict[bytes, tuple[int, int]]]] = {REQUEST_MAGIC: {}, RESPONSE_MAGIC: {}}


def encode_request(packet_type: int, *arguments: bytes) -> bytes:
    """The bytes of a packet to the job server."""
    body = b"\0".join(arguments)
    return HEADER.pack(REQUEST_MAGIC, packet_type, len(body)) + body


def encode_response(packet_type: int, *arguments: bytes) -> bytes:
    """The bytes of a packet from the job server."""
    body = b"\0".join(arguments)
    return HEADER.pack(RESPONSE_MAGIC, packet_type, len(body)) + body


def split_arguments(packet_type: int, body: bytes) -> list[bytes]:
    """The arguments of a packet, split strictly within its body.

    Raises:
        ProtocolError: the body holds fewer arguments than the type takes, or the type is unknown.
    """
    count = ARGUMENT_COUNTS.get(packet_type)
    if count is None:
        raise ProtocolError(f"unknown packet type {packet_type}")
    if count == 0:
        return []
    arguments = body.split(b"\0", count - 1)
    if len(arguments) != count:
        name = PacketType(packet_type).name
        raise ProtocolError(f"{name} takes {count} arguments, its body holds {len(arguments)}")
    return arguments


#: Lists of workloads, which may hold any bytes: first their lengths, so many bytes each, then all workloads.
_LENGTH_BYTES: Final = 4
_MAX_COUNT_DIGITS: Final = 9


def count_of(digits: bytes, most: int) -> int:
    """The number of jobs in such a packet.

    Raises:
        ValueError: it is no number from 1 to `most`.
    """
    count = int(digits) if digits.isdigit() and len(digits) <= _MAX_COUNT_DIGITS else 0
    if not 1 <= count <= most:
        raise ValueError(f"{digits[:20]!r} is no number of jobs from 1 to {most}")
    return count


def encode_workloads(workloads: Sequence[bytes]) -> bytes:
    """The lengths of these workloads, and the workloads."""
    lengths = struct.pack(f">{len(workloads)}I", *map(len, workloads))
    return b"".join((lengths, *workloads))


def split_workloads(data: bytes, count: int) -> list[bytes]:
    """So many workloads, which are all that these bytes hold.

    Raises:
        ValueError: they hold something else.
    """
    at = count * _LENGTH_BYTES
    if len(data) < at:
        raise ValueError(f"{len(data)} bytes hold no {count} lengths")
    if len(data) == at and not any(data):
        return [b""] * count  # as in many of the shortest jobs
    lengths: tuple[int, ...] = struct.unpack_from(f">{count}I", data)
    if at + sum(lengths) != len(data):
        raise ValueError(f"{count} workloads of {sum(lengths)} bytes together, but there are {len(data) - at}")
    workloads = []
    for length in lengths:
        workloads.append(data[at : at + length])
        at += length
    return workloads


#: Packets with equal headers are taken together if there may be at least so many, and no more than so many at once.
LEAST_RUN: Final = 8
MOST_RUN: Final = 64
MAX_RUN_BODY_BYTES: Final = 512


def _take_run(data: bytes, at: int, header: bytes, known: tuple[int, int], packets: list[Packet]) -> tuple[int, int]:
    """Take the packets from `at` on that have this header, of which the first is whole.

    Many requests and answers are so. To cut them by their header takes half the time of one after the other: as long as
    each piece has the length that the header says, it is a body. Returns the position after them, and the number of
    packets for which there has to be room to try that again in these data.
    """
    packet_type, length = known
    size = HEADER_BYTES + length
    bodies = data[at : at + MOST_RUN * size].split(header)
    del bodies[0]  # in front of the first header
    lengths = list(map(len, bodies))
    if lengths.count(length) != len(bodies):
        whole = 0
        while lengths[whole] == length:
            whole += 1
        del bodies[whole:]
        start = at + whole * size + HEADER_BYTES
        if start + length <= len(data):  # behind it follows another header, or this one is a part of it
            bodies.append(data[start : start + length])
    packets += [(packet_type, body) for body in bodies]
    return at + len(bodies) * size, LEAST_RUN if len(bodies) >= LEAST_RUN else len(data)


class PacketParser:
    """Cuts a byte stream into packets, however the bytes arrive.

    `feed` returns the complete packets; "need more bytes" is an empty list. A stream that breaks the protocol sets
    `violation`: the packets before the violation are still returned, and nothing after it is parsed.
    Memory grows only with the bytes that arrive, whatever length a header announces.
    """

    __slots__ = (
        "_accepts_text",
        "_known_headers",
        "_magic",
        "_max_body_bytes",
        "_needed",
        "_other_magic",
        "_pending",
        "has_more",
        "violation",
    )

    def __init__(
        self, magic: bytes, *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES, accepts_text: bool = False
    ) -> None:
        self._magic = magic
        self._known_headers = _known_headers[magic]
        self._other_magic = RESPONSE_MAGIC if magic == REQUEST_MAGIC else REQUEST_MAGIC
        self._max_body_bytes = max_body_bytes
        self._accepts_text = accepts_text
        self._pending = bytearray()
        #: The number of bytes that `_pending` must hold before it is worth parsing again.
        self._needed = 0
        #: Whether there may be more complete packets: lines are short, so one call of `feed` returns no more than
        #: MAX_LINES of them. The next call returns the next ones, of no bytes too.
        self.has_more = False
        self.violation: ProtocolError | None = None

    @property
    def pending_bytes(self) -> int:
        """The number of bytes held of an incomplete packet."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Packet]:
        """Take the bytes of one read, and return every packet that is now complete, in order; see `has_more`."""
        pending = self._pending
        if pending or self.violation is not None:
            data = self._behind_pending(data)
            if not data:
                return []
        at, end = 0, len(data)
        known_headers, max_body_bytes = self._known_headers, self._max_body_bytes
        if end >= HEADER_BYTES:
            # Most reads of a server return exactly one whole packet.
            header = data[:HEADER_BYTES]
            packet_type, length = known_headers.get(header) or self._take_apart(header)
            if length + HEADER_BYTES == end and length <= max_body_bytes:
                return [(packet_type, data[HEADER_BYTES:])]
        packets: list[Packet] = []
        last_header = end - HEADER_BYTES
        last, least = _OTHER, LEAST_RUN
        while True:
            # The hot path: whole packets of the expected direction. Everything else is handled below.
            while at <= last_header:
                start = at + HEADER_BYTES
                header = data[at:start]
                known = known_headers.get(header) or self._take_apart(header)
                packet_type, length = known
                stop = start + length
                if stop > end or length > max_body_bytes:
                    break
                if known is last and length <= MAX_RUN_BODY_BYTES and end - at >= least * (stop - at):
                    at, least = _take_run(data, at, header, known, packets)
                else:
                    packets.append((packet_type, data[start:stop]))
                    at, last = stop, known
            if at == end:
                return packets
            stop = self._take_other(data, at, packets)
            if stop == at or self.has_more:
                if self.violation is None:
                    pending += data[stop:]
                self.has_more = at < stop < end
                return packets
            at = stop

    def _behind_pending(self, data: bytes) -> bytes:
        """The bytes to parse, once there are enough; empty: nothing yet, or nothing any more."""
        pending = self._pending
        if self.violation is not None:
            return b""
        pending += data
        if len(pending) < self._needed:
            return b""
        data = bytes(pending)
        pending.clear()
        self.has_more = False
        return data

    def _take_apart(self, header: bytes) -> tuple[int, int]:
        """The type and the length in a header that is not known yet; if it is none of a packet of the expected
        direction, the length is above all bounds."""
        found, packet_type, length = _unpack_header(header)
        if found != self._magic or not packet_type:
            return _OTHER
        if len(self._known_headers) >= MAX_KNOWN_HEADERS:
            self._known_headers.clear()
        known = self._known_headers[header] = (packet_type, length)
        return known

    def _take_other(self, data: bytes, at: int, packets: list[Packet]) -> int:
        """Take anything else: a text line, a packet with the other direction's magic, incomplete or invalid bytes.

        Returns the position after it, or `at` when more bytes are needed or the stream breaks the protocol.
        """
        if data[at] != 0 and self._accepts_text:
            return self._take_line(data, at, packets)
        if len(data) - at < HEADER_BYTES:
            self._needed = HEADER_BYTES
            return at
        found, packet_type, length = HEADER.unpack_from(data, at)
        stop: int = at + HEADER_BYTES + length
        if found not in (self._magic, self._other_magic):
            self.violation = ProtocolError("a packet starts with neither magic of the protocol")
        elif packet_type == PacketType.TEXT_LINE:
            self.violation = ProtocolError("a packet has type 0, which does not exist")
        elif length > self._max_body_bytes:
            self.violation = ProtocolError(f"a packet announces {length} bytes, the limit is {self._max_body_bytes}")
        elif stop > len(data):
            self._needed = HEADER_BYTES + length
        else:
            packets.append((packet_type if found == self._magic else -packet_type, data[at + HEADER_BYTES : stop]))
            return stop
        return at

    def _take_line(self, data: bytes, at: int, packets: list[Packet]) -> int:
        if data.startswith(_TLS_HANDSHAKE, at):
            # Its peer chose some of its bytes: none of them may count as a command.
            self.violation = ProtocolError("a TLS handshake, on a port that does not speak TLS")
            return at
        stop = data.find(b"\n", at, at + MAX_LINE_BYTES)
        if stop >= 0:
            packets.append((int(PacketType.TEXT_LINE), data[at:stop]))
            self.has_more = len(packets) >= MAX_LINES
            self._needed = 0
            return stop + 1
        if len(data) - at >= MAX_LINE_BYTES:
            self.violation = ProtocolError(f"a text line is longer than {MAX_LINE_BYTES} bytes")
        self._needed = 0
        return at
