"""A child takes over the links on its command line as the supervisor wrote them, and passes them to no process."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator

import pytest

from gearman_manager.ipc.links import Links, descriptor_options, read_arguments
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
    arguments = read_arguments(ArgumentParser(), "channel", options)
    inherited = Links.inherited(arguments)
    assert arguments.channel == channel
    assert (inherited.lifeline, inherited.doorbell) == (links.lifeline, links.doorbell)
    assert inherited.scoreboard.descriptor == links.scoreboard.descriptor
    assert inherited.scoreboard.slots == links.scoreboard.slots
    os.close(channel)


def test_processes_started_by_the_child_inherit_no_link(links: Links) -> None:
    channel = os.eventfd(0)
    descriptors = links.descriptors(channel=channel)
    for descriptor in descriptors.values():
        os.set_inheritable(descriptor, True)
    read_arguments(ArgumentParser(), "channel", descriptor_options(descriptors))
    assert not any(map(os.get_inheritable, descriptors.values()))
    os.close(channel)


def test_a_descriptor_that_is_missing_ends_the_child(links: Links) -> None:
    with pytest.raises(SystemExit):
        read_arguments(ArgumentParser(), "channel", descriptor_options(links.descriptors()))
