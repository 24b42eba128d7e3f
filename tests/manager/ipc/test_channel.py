"""The frames between supervisor and zygote: they arrive whole and with their descriptors, however they are cut."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.errors import ManagerError
from gearman_manager.ipc import channel


@given(st.lists(st.text(max_size=50), max_size=5), st.integers(1, 40))
def test_messages_are_whole_however_the_bytes_are_cut(texts: list[str], size: int) -> None:
    stream = b"".join(channel.encode({"type": "x", "text": text}) for text in texts)
    reader = channel.FrameReader()
    received = []
    for at in range(0, len(stream), size):
        received += reader.feed(stream[at : at + size], [])
    assert [message["text"] for message in received] == texts


def test_a_message_larger_than_the_socket_buffer_arrives_with_its_descriptors() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()

    def send() -> None:
        with theirs:
            channel.send(theirs, {"type": "a", "text": "x" * 1_000_000}, (write_end,))
            channel.send(theirs, {"type": "b"})

    sender = threading.Thread(target=send)
    sender.start()
    reader = channel.FrameReader()
    received: list[channel.Message] = []
    while (messages := channel.receive(ours, reader)) is not None:
        received += messages
    sender.join()
    assert [message["type"] for message in received] == ["a", "b"]
    (descriptor,) = received[0]["descriptors"]
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"through")
    assert os.read(read_end, 100) == b"through"
    for number in (descriptor, read_end, write_end):
        os.close(number)
    ours.close()


def test_a_frame_beyond_the_limit_is_refused_before_it_is_stored() -> None:
    with pytest.raises(ManagerError, match="beyond the limit"):
        channel.FrameReader().feed(b"\xff\xff\xff\xff", [])
