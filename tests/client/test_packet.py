"""The codec, as properties: the parser returns the packets that were encoded, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client import ProtocolError
from gearman_client.packet import (
    ARGUMENT_COUNTS,
    HEADER,
    HEADER_BYTES,
    MAX_KNOWN_HEADERS,
    MAX_LINE_BYTES,
    MAX_LINES,
    MOST_RUN,
    REQUEST_MAGIC,
    RESPONSE_MAGIC,
    PacketParser,
    PacketType,
    encode_request,
    encode_response,
    split_arguments,
)

types_with_arguments = st.sampled_from(sorted(kind for kind, count in ARGUMENT_COUNTS.items() if count))
leading = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"0"))


@st.composite
def packets(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    kind = draw(st.sampled_from(sorted(ARGUMENT_COUNTS)))
    count = ARGUMENT_COUNTS[kind]
    arguments = [draw(leading) for _ in range(count - 1)]
    if count:
        arguments.append(draw(st.binary(max_size=40)))
    return int(kind), arguments


def feed_in_pieces(parser: PacketParser, data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += parser.feed(data[start:stop])
    return found


@given(st.lists(packets(), max_size=6), st.data())
def test_packets_come_out_as_they_were_sent_however_the_bytes_are_cut(
    sent: list[tuple[int, list[bytes]]], data: st.DataObject
) -> None:
    stream = b"".join(encode_request(kind, *arguments) for kind, arguments in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser = PacketParser(REQUEST_MAGIC)
    found = feed_in_pieces(parser, stream, cuts)
    assert [(kind, split_arguments(kind, body)) for kind, body in found] == sent
    assert parser.pending_bytes == 0
    assert parser.violation is None


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Packets with the same header one after the other; some hold that header."""
    kind, length, number = draw(st.integers(1, 3)), draw(st.integers(0, 30)), draw(st.integers(1, 2 * MOST_RUN + 3))
    bodies = [b"%d" % at for at in range(number)]
    for at in draw(st.lists(st.integers(0, number - 1), max_size=2)):
        bodies[at] = b"x" * draw(st.integers(0, 20)) + HEADER.pack(REQUEST_MAGIC, kind, length)
    return [(kind, body[:length].ljust(length, b"\0")) for body in bodies]


@given(st.lists(runs(), max_size=4), st.data())
def test_packets_with_equal_headers_come_out_as_they_were_sent(
    sent: list[list[tuple[int, bytes]]], data: st.DataObject
) -> None:
    packets = [packet for run in sent for packet in run]
    stream = b"".join(encode_request(*packet) for packet in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=2)))
    assert feed_in_pieces(PacketParser(REQUEST_MAGIC), stream, cuts) == packets


@given(packets())
def test_every_split_of_a_packet_in_two_gives_the_packet_once_it_is_complete(packet: tuple[int, list[bytes]]) -> None:
    kind, arguments = packet
    stream = encode_response(kind, *arguments)
    for cut in range(1, len(stream)):
        parser = PacketParser(RESPONSE_MAGIC)
        assert parser.feed(stream[:cut]) == []
        assert parser.feed(stream[cut:]) == [(kind, b"\0".join(arguments))]


@given(st.lists(packets(), min_size=1, max_size=4))
def test_byte_by_byte_is_the_same_as_all_at_once(sent: list[tuple[int, list[bytes]]]) -> None:
    stream = b"".join(encode_response(kind, *arguments) for kind, arguments in sent)
    slow, fast = PacketParser(RESPONSE_MAGIC), PacketParser(RESPONSE_MAGIC)
    assert [packet for byte in stream for packet in slow.feed(bytes([byte]))] == fast.feed(stream)


@given(st.lists(st.one_of(packets(), st.text("abc xyz", max_size=12)), max_size=6), st.data())
def test_text_lines_and_packets_may_alternate_on_one_connection(
    sent: list[str | tuple[int, list[bytes]]], data: st.DataObject
) -> None:
    stream = b""
    expected: list[tuple[int, bytes]] = []
    for unit in sent:
        if isinstance(unit, str):
            stream += unit.encode() + b"\n"
            expected.append((0, unit.encode()))
        else:
            kind, arguments = unit
            stream += encode_request(kind, *arguments)
            expected.append((kind, b"\0".join(arguments)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
    assert feed_in_pieces(parser, stream, cuts) == expected


@given(st.binary(max_size=200), st.booleans())
def test_garbage_never_raises_and_nothing_after_a_violation_is_parsed(garbage: bytes, accepts_text: bool) -> None:
    parser = PacketParser(REQUEST_MAGIC, accepts_text=accepts_text)
    parser.feed(garbage)
    if parser.violation is not None:
        assert parser.feed(encode_request(PacketType.ECHO_REQ, b"x")) == []


@given(types_with_arguments, st.binary(max_size=60))
def test_arguments_are_split_inside_the_body_only(kind: int, body: bytes) -> None:
    count = ARGUMENT_COUNTS[kind]
    if body.count(b"\0") < count - 1:
        with pytest.raises(ProtocolError, match="arguments"):
            split_arguments(kind, body)
    else:
        arguments = split_arguments(kind, body)
        assert len(arguments) == count
        assert b"\0".join(arguments) == body


def test_the_last_argument_may_hold_zero_bytes() -> None:
    assert split_arguments(PacketType.WORK_COMPLETE, b"H:1\0a\0b\0") == [b"H:1", b"a\0b\0"]


def test_an_unknown_type_has_no_arguments() -> None:
    with pytest.raises(ProtocolError, match="unknown packet type 4711"):
        split_arguments(4711, b"")


def test_the_packet_before_a_violation_is_still_returned() -> None:
    parser = PacketParser(RESPONSE_MAGIC)
    assert parser.feed(encode_response(PacketType.NOOP) + b"\0BAD" + bytes(8)) == [(PacketType.NOOP, b"")]
    assert parser.violation is not None


def test_the_magic_of_the_other_direction_gives_a_negative_type() -> None:
    assert PacketParser(RESPONSE_MAGIC).feed(encode_request(PacketType.NOOP)) == [(-PacketType.NOOP, b"")]


def test_a_body_above_the_limit_is_a_violation_before_any_of_it_is_stored() -> None:
    parser = PacketParser(REQUEST_MAGIC, max_body_bytes=100)
    assert parser.feed(HEADER.pack(REQUEST_MAGIC, PacketType.ECHO_REQ, 101)) == []
    assert "101" in str(parser.violation)
    assert parser.pending_bytes <= HEADER_BYTES


def test_a_header_that_announces_a_large_body_takes_no_memory_until_bytes_come() -> None:
    parser = PacketParser(REQUEST_MAGIC)
    parser.feed(HEADER.pack(REQUEST_MAGIC, PacketType.ECHO_REQ, 200 * 1024 * 1024))
    assert parser.pending_bytes == HEADER_BYTES


def test_an_endless_text_line_is_a_violation() -> None:
    parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
    assert parser.feed(b"x" * MAX_LINE_BYTES) == []
    assert parser.violation is not None


def test_the_byte_example_of_the_reference_is_met_exactly() -> None:
    assert encode_request(PacketType.SUBMIT_JOB, b"reverse", b"u1", b"test") == (
        bytes.fromhex("00524551 00000007 0000000f") + b"reverse\0u1\0test"
    )
    assert encode_response(PacketType.NOOP) == bytes.fromhex("00524553 00000006 00000000")


def test_many_text_lines_come_in_several_answers_and_nothing_is_lost() -> None:
    parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
    echo = encode_request(PacketType.ECHO_REQ, b"x")
    packets = parser.feed(b"version\n" * (3 * MAX_LINES) + echo + b"sta")
    assert len(packets) == MAX_LINES
    while parser.has_more:
        more = parser.feed(b"")
        assert len(more) <= MAX_LINES + 1
        packets += more
    assert packets == [(0, b"version")] * (3 * MAX_LINES) + [(PacketType.ECHO_REQ, b"x")]
    assert parser.feed(b"tus\n") == [(0, b"status")]
    assert not parser.has_more


def test_a_parser_of_short_packets_refuses_a_length_that_another_has_accepted() -> None:
    packet = encode_request(PacketType.ECHO_REQ, b"x" * 1000)
    assert PacketParser(REQUEST_MAGIC).feed(packet) == [(PacketType.ECHO_REQ, b"x" * 1000)]
    for arrived in (packet, packet + packet):
        strict = PacketParser(REQUEST_MAGIC, max_body_bytes=999)
        assert strict.feed(arrived) == []
        assert "announces 1000 bytes, the limit is 999" in str(strict.violation)


def test_a_stream_of_ever_new_headers_takes_no_more_memory() -> None:
    parser = PacketParser(REQUEST_MAGIC)
    lengths = range(MAX_KNOWN_HEADERS + 100)
    for length in lengths:
        assert parser.feed(HEADER.pack(REQUEST_MAGIC, PacketType.ECHO_REQ, length) + bytes(length)) == [
            (PacketType.ECHO_REQ, bytes(length))
        ]
    assert len(parser._known_headers) <= MAX_KNOWN_HEADERS
