"""A stream with a slow reader: a pipe, a socket or a terminal that nobody reads, and one that is read again later."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gearman_process.logs.patient_stream import PATIENCE_S, PIPE_BYTES, PatientStream


def socket_ends() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


LINE = "x" * 999 + "\n"
ENDS: dict[str, Callable[[], tuple[int, int]]] = {"pipe": os.pipe, "socket": socket_ends, "terminal": os.openpty}


@pytest.fixture(params=ENDS)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The reading end, which does not block, and the writing end, which does."""
    ours, theirs = ENDS[request.param]()
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_all(descriptor: int) -> bytes:
    said = b""
    with suppress(BlockingIOError):
        while data := os.read(descriptor, 65536):
            said += data
    return said


def fill(stream: PatientStream) -> int:
    """Write lines until one is not taken; returns the number of lines that were taken."""
    for number in range(PIPE_BYTES):
        try:
            stream.write(LINE)
        except TimeoutError:
            return number
    raise AssertionError("it takes all")


def test_only_the_first_unread_line_waits_a_moment_for_the_reader(ends: tuple[int, int]) -> None:
    stream = PatientStream.beside(ends[1])
    before = time.monotonic()
    fill(stream)
    assert time.monotonic() - before >= PATIENCE_S
    before = time.monotonic()
    for _ in range(100):
        with pytest.raises(TimeoutError, match="nobody read them in time"):
            stream.write(LINE)
    assert time.monotonic() - before < 100 * PATIENCE_S / 2
    stream.close()


def test_when_the_reader_returns_lines_get_through_again_and_each_starts_a_new_line(ends: tuple[int, int]) -> None:
    stream = PatientStream.beside(ends[1])
    fill(stream)
    said = b""
    while data := read_all(ends[0]):  # a terminal gives at most a page at a time
        said += data
    stream.write("next\n")
    said += read_all(ends[0])
    assert said.replace(b"\r", b"").endswith(b"\nnext\n")
    stream.close()


def test_its_descriptor_is_its_own_and_is_not_inherited(ends: tuple[int, int]) -> None:
    stream = PatientStream.beside(ends[1])
    assert stream.fileno() != ends[1]
    assert not os.get_inheritable(stream.fileno())
    stream.close()
    assert os.get_blocking(ends[1])
    os.write(ends[1], b"still open")


def test_a_reader_that_has_gone_is_an_error() -> None:
    ours, theirs = os.pipe()
    stream = PatientStream(theirs)
    os.close(ours)
    with pytest.raises(BrokenPipeError):
        stream.write("lost\n")
    stream.close()


def test_surrogates_are_written_escaped() -> None:
    ours, theirs = os.pipe()
    stream = PatientStream(theirs)
    stream.write("\udcff ü\n")
    assert os.read(ours, 100).decode() == "\\udcff ü\n"
    stream.close()
    os.close(ours)
