"""Processes behind pidfds. Each is a real one."""

from __future__ import annotations

import os
import select
import subprocess

from gearman_manager.host import process


def test_a_descriptor_that_is_opened_again_outlives_the_first_one_and_names_the_same_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as popen:
        first = os.pidfd_open(popen.pid)
        polled = select.epoll()
        polled.register(first, select.EPOLLIN)
        other = process.open_again(first, popen.pid)
        assert other is not None
        os.close(first)
        popen.kill()
        assert select.select([other], [], [], 10)[0], "it hears of the end"
        # The poll set has forgotten the process with the first descriptor; a duplicate would have kept it there.
        assert polled.poll(0) == []
        polled.close()
        os.close(other)


def test_a_process_that_has_ended_is_not_opened_again() -> None:
    popen = subprocess.Popen(["true"])
    first = os.pidfd_open(popen.pid)
    select.select([first], [], [], 10)
    assert process.open_again(first, popen.pid) is None  # it is a zombie
    popen.wait()
    assert process.open_again(first, popen.pid) is None
    os.close(first)
