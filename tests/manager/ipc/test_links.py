"""A child takes over the links on its command line as the supervisor wrote them, and passes them to no process."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator

import pytest

from gearman_manager.ipc.links import Links, descriptor_options, read_arguments, ring
from gearman_manager.ipc.scoreboard import Scoreboard


@pytest.fixture
def links() -> Iterator[Links]:
    scoreboard = Scoreboard.create(2)
    read_end, write_end = os.pipe()
    doorbell = os.eventfd(0)
    yield Links(scoreboard, read_end, doorbell)
    for descriptor in (scoreboard.descriptor, read_end, write_end, doorbell):
        os.close(descriptor)


def test_a_child_reads_the_links_that_were_written_for_it(links: Links) -> None:
    channel = os.eventfd(0)
    options = descriptor_options(links.descriptors(channel=channel))
    arguments = read_arguments(ArgumentParser(), ["channel"], options)
    part = Scoreboard.take_over(os.dup(links.scoreboard.descriptor), 0, 1)
    inherited = Links.inherited(arguments, part)
    assert arguments.channel == channel
    assert (inherited.lifeline, inherited.doorbell) == (links.lifeline, links.doorbell)
    assert inherited.scoreboard is part
    os.close(channel)


def test_processes_started_by_the_child_inherit_no_link(links: Links) -> None:
    channel = os.eventfd(0)
    descriptors = links.descriptors(channel=channel)
    for descriptor in descriptors.values():
        os.set_inheritable(descriptor, True)
    read_arguments(ArgumentParser(), ["channel"], descriptor_options(descriptors))
    assert not any(map(os.get_inheritable, descriptors.values()))
    os.close(channel)


def test_the_bell_can_be_rung_after_a_job_has_filled_or_closed_it(links: Links) -> None:
    os.write(links.doorbell, (2**64 - 2).to_bytes(8, sys.byteorder))
    os.set_blocking(links.doorbell, True)
    ring(links.doorbell)
    assert os.eventfd_read(links.doorbell) == 2**64 - 2
    gone = os.eventfd(0)
    os.close(gone)
    ring(gone)


def test_a_descriptor_that_is_missing_ends_the_child(links: Links) -> None:
    with pytest.raises(SystemExit):
        read_arguments(ArgumentParser(), ["channel"], descriptor_options(links.descriptors()))
