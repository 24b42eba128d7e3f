"""Versions, stores and connections of job servers, ours and others'."""

from __future__ import annotations

from pathlib import Path

from gearman_client import Address
from gearman_client.address import parse_address
from gearman_manager.control.server_facts import NOTHING, ServerFacts

from ...gearmand import Gearmand, running_gearmand
from ...server.server_process import ServerProcess


def test_ours_tell_all_others_their_version_and_those_that_are_down_nothing(tmp_path: Path) -> None:
    ours = ServerProcess("--store", f"sqlite:///{tmp_path}/jobs.db")
    try:
        with running_gearmand(tmp_path) as other:
            unused = Address("127.0.0.1", Gearmand(tmp_path).port)
            own = parse_address(ours.address)
            facts = ServerFacts(lambda: [own, other.address, unused])
            found = facts()
            assert set(found) == {str(own), str(other.address)}
            assert found[str(own)] == {"version": "0.1.0", "store": "sqlite", "connections": 1, "jobs": 0}
            version = found[str(other.address)]["version"]
            assert found[str(other.address)] == {**NOTHING, "version": version}
            assert version[0].isdigit()
            assert facts() is found, "they are asked seldom"
    finally:
        ours.stop()
