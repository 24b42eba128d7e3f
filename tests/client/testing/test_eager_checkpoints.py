"""Checkpoints in the process of a test: the next attempt goes on where the last one was."""

from __future__ import annotations

from typing import Any

import pytest

from gearman_client import Client, JobException
from gearman_client.testing import EagerServer


def test_the_next_attempt_goes_on_and_the_job_shows_its_cursor() -> None:
    seen: list[Any] = []

    def walk(job: Any) -> str:
        for item in job.iterate("abcd"):
            seen.append(item)
            if len(seen) in (2, 4):
                raise ValueError("broken")
        return "".join(seen)

    def by_hand(job: Any) -> None:
        seen.append(job.cursor)
        job.checkpoint({"page": 1 if job.cursor is None else job.cursor["page"] + 1})
        raise ValueError("broken")

    with EagerServer() as server, Client() as client:
        server.register("walk", walk, retries=2)
        server.register("by_hand", by_hand, retries=1)
        assert client.submit("walk", b"") == b"abbccd"
        seen.clear()
        client.submit_background("by_hand", b"")
        server.run_all()
        assert seen == [None, {"page": 1}]
        assert server.submitted("by_hand")[0].cursor == {"page": 2}


def test_a_wrong_cursor_fails_the_job() -> None:
    with EagerServer() as server, Client() as client:
        server.register("f", lambda job: job.checkpoint(b"bytes"))
        with pytest.raises(JobException, match="a cursor is a value that JSON can hold"):
            client.submit("f", b"")
