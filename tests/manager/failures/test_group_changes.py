"""Retries and drops of a group's dead letters, on real job servers: of those that were known, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from gearman_client import Address
from gearman_manager.control import turns
from gearman_manager.control.bulk_changes import BulkChange
from gearman_manager.control.server_access import ServerAccess
from gearman_manager.failures import groups
from gearman_manager.failures.group_changes import GroupChanges

from ..control.test_matching_jobs import MANY, Servers
from .test_groups import Kept, failure


class Group:
    """The failures of jobs that have died on two real job servers."""

    def __init__(self, servers: Servers, kept: Kept) -> None:
        self.servers = servers
        self.kept = kept
        self.changes = GroupChanges(kept.groups, servers.jobs.servers, cast(Any, SimpleNamespace()))

    def die(self, count: int, server: int = 0) -> list[str]:
        handles = self.servers.bury(count, server=server)
        address = str(self.servers.addresses[server])
        self.kept.take(*(failure(handle=handle, server=address, function="f") for handle in handles))
        return handles

    def change(self, what: str, letters: list[tuple[str, str]], expected: int = 0) -> tuple[int, int]:
        change = BulkChange(f"dead {what}", "", expected)
        self.changes._change(what, letters, change)
        assert change.problems == []
        return change.done, change.left

    @property
    def shown(self) -> dict[str, Any]:
        [found] = self.kept.listed("f")
        return self.kept.groups.show(found["id"], 9)


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setattr(groups, "PAUSE_S", 0.0)
    with ExitStack() as stack:
        kept = Kept(tmp_path / "history.db")
        stack.callback(kept.close)
        yield Group(Servers(stack), kept)


def test_the_letters_of_all_servers_are_changed_in_parts_but_not_those_that_came_later(group: Group) -> None:
    first, other = group.die(MANY), group.die(2, server=1)
    mark, name = group.shown["mark"], group.shown["id"]
    late = group.die(1)
    group.servers.jobs.change_each("dead drop", first[:3])
    letters = group.kept.groups.letters(name, mark)
    assert len(letters) == MANY + 2
    assert group.change("retry", letters) == (MANY - 1, 0)
    assert group.servers.listed("dead") == late
    assert group.shown["dead"] == 1
    assert len(group.servers.jobs.page("jobs", {"server": str(group.servers.addresses[1])})["jobs"]) == len(other)
    assert group.change("drop", group.kept.groups.letters(name, 2**60)) == (1, 0)
    assert group.shown["dead"] == 0


def test_letters_that_can_not_be_tried_again_stay_in_the_group(group: Group) -> None:
    [handle, free] = group.die(2)
    address = group.servers.addresses[0]
    with group.servers.client(address) as client:
        client.submit_background("f", b"", unique="u")
        blocked = group.servers.take()
        group.servers.servers[0].text(f"fail job {blocked} broken".encode())
        client.submit_background("f", b"", unique="u")
    group.kept.take(failure(handle=blocked, server=str(address), function="f"))
    name = group.shown["id"]
    assert group.change("retry", group.kept.groups.letters(name, 2**60)) == (2, 1)
    assert group.kept.groups.letters(name, 2**60) == [(blocked, str(address))]
    assert {handle, free} <= set(group.servers.listed("jobs"))


def test_a_server_that_is_known_by_another_name_now_is_asked_too(group: Group) -> None:
    handles = group.die(2)
    renamed = [(handle, "old-name:4730") for handle in handles]
    assert group.change("drop", renamed) == (2, 0)


def test_a_server_of_the_same_cluster_has_the_letters_too() -> None:
    one, two, three = (Address("127.0.0.1", port) for port in (1, 2, 3))
    access = ServerAccess(lambda: [one, two, three], lambda: [[one, two], [three]])
    changes = GroupChanges(cast(Any, None), access, cast(Any, None))
    asked = changes._by_server([("H:1", str(two)), ("H:2", str(three)), ("H:3", "gone:1")])
    assert asked == {str(one): ["H:1", "H:3"], str(three): ["H:2", "H:3"]}


def test_of_very_many_letters_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    server = Address("127.0.0.1", 1)
    changes = GroupChanges(cast(Any, None), ServerAccess(lambda: [server], lambda: [[server]]), cast(Any, None))
    asking = gevent.spawn(changes._by_server, [(f"H:{number}", str(server)) for number in range(3)])
    gevent.sleep(0)
    assert not asking.ready()
    assert asking.get() == {str(server): ["H:0", "H:1", "H:2"]}
