"""Which rows a relay may claim, in each kind of database: none out of order, none that another relay has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gearman_client import outbox
from gearman_manager.outbox.claims import Change, Openings
from gearman_manager.outbox.database import Database, parse_url
from gearman_manager.outbox.table import OutboxTable

from ...databases import MAKERS, StoreDatabase

LEASE_MS = 3000
ANY = Openings(["s"], [0], 1)


class Relay:
    """A relay's way to the table; `now_ms` is the test's."""

    def __init__(self, database: StoreDatabase, name: str) -> None:
        self.database = Database(parse_url(database.url))
        self.table = OutboxTable("gearman_outbox", name)

    def claim(self, now_ms: int, openings: Openings = ANY, blocked: Sequence[str] = ()) -> list[int]:
        """Claim what can be claimed; returns the ids."""
        with self.database.transaction() as connection:
            found, self.blocked = self.table.candidates(connection, now_ms, openings, blocked)
            ids = [row.id for row in found]
            self.table.claim(connection, {openings.servers[0]: ids}, now_ms, now_ms + LEASE_MS)
        return ids

    def put_back(self, *changes: Change) -> None:
        with self.database.transaction() as connection:
            self.table.put_back(connection, changes)

    def remove(self, *ids: int) -> None:
        with self.database.transaction() as connection:
            self.table.remove(connection, ids)

    def has_due(self, now_ms: int) -> bool:
        with self.database.transaction(only_reads=True) as connection:
            return self.table.has_due(connection, now_ms)


def again(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call it as a relay does: once more if another one had SQLite's lock for too long."""
    while True:
        try:
            return call(*arguments)
        except OperationalError as error:
            if "database is locked" not in str(error):
                raise


@pytest.fixture(params=MAKERS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreDatabase]:
    for made in MAKERS[request.param](tmp_path):
        with made.connect() as connection, connection.begin():
            outbox.create_table(connection)
        yield made


@pytest.fixture
def relays(database: StoreDatabase) -> Iterator[tuple[Relay, Relay]]:
    both = Relay(database, "a"), Relay(database, "b")
    yield both
    for relay in both:
        relay.database.close()


def add(database: StoreDatabase, *keys: str | None, **options: Any) -> None:
    """A row for each key; their ids count from 1."""
    with database.connect() as connection, connection.begin():
        for key in keys:
            outbox.background(connection, options.get("function", "f"), b"x", key=key)


def test_another_relay_has_a_key_until_its_lease_is_over(database: StoreDatabase, relays: tuple[Relay, Relay]) -> None:
    first, second = relays
    add(database, "k", None, "k")
    assert first.claim(1000) == [1, 2, 3]
    add(database, "k", None, "l")
    assert second.claim(2000) == [5, 6]
    assert second.blocked == {"k"}
    assert second.claim(2000, blocked=["k"]) == []
    assert second.has_due(2000)
    assert second.claim(1000 + LEASE_MS) == [1, 2, 3, 4]
    assert first.claim(1000 + LEASE_MS) == []
    assert not first.has_due(1000 + LEASE_MS)


def test_a_row_that_waits_holds_those_of_its_key_behind_it_alone(
    database: StoreDatabase, relays: tuple[Relay, Relay]
) -> None:
    first, second = relays
    add(database, "k", "k", "k", "l")
    assert first.claim(1000) == [1, 2, 3, 4]
    first.remove(1)
    first.put_back(Change(2, 9000, 1, "full", None), Change(3, 1000, 0, None, None), Change(4, 1000, 0, None, None))
    assert second.claim(1500) == [4]
    assert second.blocked == {"k"}
    second.remove(4)
    assert second.claim(9000) == [2, 3]
    second.put_back(Change(2, None, 1, "full", None), Change(3, 9000, 0, None, None))  # 2 is set aside
    assert first.claim(9500) == [3]


def test_a_row_in_the_middle_that_waits_parts_its_key(database: StoreDatabase, relays: tuple[Relay, Relay]) -> None:
    add(database, "k", "k", "k")
    database.execute("UPDATE gearman_outbox SET due_ms = 9000 WHERE id = 2")
    assert relays[0].claim(1000) == [1]


def test_a_doubtful_row_waits_for_its_server_and_a_held_function_for_its_end(
    database: StoreDatabase, relays: tuple[Relay, Relay]
) -> None:
    relay, _ = relays
    add(database, "k", "k")
    add(database, "k", None, function="g")
    assert relay.claim(1000, Openings(["s"], [0], 1, ["g"])) == [1, 2]
    relay.put_back(Change(1, 1000, 1, "lost", "s"), Change(2, 1000, 0, None, None))
    other = Openings(["other"], [0], 1)
    assert relay.claim(1000, other) == [4]
    assert relay.blocked == {"k"}
    assert relay.claim(1000, ANY) == [1, 2, 3]


def test_numbers_of_servers_choose_among_several(database: StoreDatabase, relays: tuple[Relay, Relay]) -> None:
    add(database, "k", "l", None)
    database.execute("UPDATE gearman_outbox SET server_number = id WHERE order_key IS NOT NULL")
    assert relays[0].claim(1000, Openings(["s"], [0], 2)) == [2, 3]
    assert relays[1].claim(1000, Openings(["t"], [1], 2)) == [1]


def test_what_a_relay_writes_late_changes_nothing_but_deletes(
    database: StoreDatabase, relays: tuple[Relay, Relay]
) -> None:
    late, other = relays
    add(database, None, None)
    assert late.claim(1000) == [1, 2]
    assert other.claim(5000) == [1, 2]
    late.put_back(Change(1, None, 5, "late", None))
    with late.database.transaction() as connection:
        late.table.renew(connection, [1, 2], 99_000)
    assert database.rows("is_aside, relay, due_ms", "gearman_outbox WHERE id = 1") == [(0, "b", 8000)]
    late.remove(2)
    assert database.rows("id", "gearman_outbox") == [(1,)]


def test_doubtful_rows_are_set_aside_once_nobody_can_be_asked(
    database: StoreDatabase, relays: tuple[Relay, Relay]
) -> None:
    relay, _ = relays
    add(database, "a", "b", "c")
    relay.claim(1000)
    with relay.database.transaction() as connection:
        assert relay.table.set_aside_doubtful(connection, 1500, [], 0) == []  # they are claimed
    relay.put_back(*(Change(number, 2000, 1, "lost", "s") for number in (1, 2, 3)))
    with relay.database.transaction() as connection:
        assert relay.table.set_aside_doubtful(connection, 2000, ["s"], 1000) == []
        assert relay.table.set_aside_doubtful(connection, 2000, ["s"], 1001) == [1, 2, 3]
    assert "does not know its submission any more" in database.rows("reason", "gearman_outbox")[0][0]
    database.execute("UPDATE gearman_outbox SET is_aside = 0")
    with relay.database.transaction() as connection:
        assert relay.table.set_aside_doubtful(connection, 2000, ["t"], 0) == [1, 2, 3]


def test_two_relays_at_the_same_time_keep_the_order_of_each_key(
    database: StoreDatabase, relays: tuple[Relay, Relay]
) -> None:
    keys = "abcdefgh"
    for _ in range(20):
        add(database, *keys)
    removed: list[int] = []
    failures = []

    def take(relay: Relay) -> None:
        try:
            while len(removed) < 20 * len(keys):
                ids = again(relay.claim, 1000)
                removed.extend(ids[:7])
                again(relay.remove, *ids[:7])
                again(relay.put_back, *(Change(number, 1000, 0, None, None) for number in ids[7:]))
        except Exception as error:  # noqa: BLE001 - for the test's thread
            failures.append(error)

    threads = [threading.Thread(target=take, args=[each]) for each in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for at in range(len(keys)):
        of_key = [number for number in removed if (number - 1) % len(keys) == at]
        assert of_key == list(range(at + 1, 20 * len(keys) + 1, len(keys)))
