"""What becomes of rows, in which waves they are sent, and which go to which server: tables, without a database."""

from __future__ import annotations

import pytest

from gearman_client import Address, parse_address
from gearman_client.client.server_choice import hash_of
from gearman_client.connection.ring import Ring
from gearman_manager.outbox.batch import Answer, Answered, waves_of
from gearman_manager.outbox.claims import Candidate, Change
from gearman_manager.outbox.outcomes import MOST_LOSSES, Asked, Holds, outcome_of
from gearman_manager.outbox.planning import MAX_BYTES, MAX_ROWS, Homes, openings_of, plan
from gearman_manager.outbox.row import OutboxRow, UnsendableRow, packet_of

NOW = 1_000_000
ASKED = Asked("s", "s")


def row(number: int, key: str | None = None, *, attempts: int = 0, in_doubt: bool = False) -> OutboxRow:
    return OutboxRow(number, "f", key, attempts, in_doubt, 0, b"")


def candidate(number: int, key: str | None = None, **given: object) -> Candidate:
    return Candidate(number, key, None, None, 0, 10)._replace(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempts", "in_doubt", "answer", "code", "change"),
    [
        (3, False, Answer.UNSENT, "", Change(1, NOW, 3, "why", None)),
        (3, True, Answer.UNSENT, "", Change(1, NOW, 3, "why", "s")),
        (3, False, Answer.REFUSED, "QUEUE_ERROR", Change(1, NOW + 500, 4, "s: QUEUE_ERROR: why", None)),
        (5, False, Answer.REFUSED, "QUEUE_ERROR", Change(1, None, 5, "s: QUEUE_ERROR: why", None)),
        (5, True, Answer.REFUSED, "QUEUE_ERROR", Change(1, NOW + 500, 1, "s: QUEUE_ERROR: why", "s")),
        (0, True, Answer.REFUSED, "INVALID_OPTION", Change(1, None, 0, "s: INVALID_OPTION: why", "s")),
        (0, False, Answer.REFUSED, "INVALID_OPTION", Change(1, None, 0, "s: INVALID_OPTION: why", None)),
        (4, False, Answer.LOST, "", Change(1, NOW + 50, 1, "why", "s")),
        (4, True, Answer.LOST, "", Change(1, NOW + 800, 5, "why", "s")),
    ],
)
def test_a_row_that_is_not_handed_over(
    attempts: int, in_doubt: bool, answer: Answer, code: str, change: Change
) -> None:
    answered = Answered(row(1, attempts=attempts, in_doubt=in_doubt), answer, code, "why")
    outcome = outcome_of(ASKED, [answered], Holds(), NOW, retries=5)
    assert outcome.changes == [change]
    assert bool(outcome.aside) == (change.due_ms is None)


def test_a_row_that_no_server_survives_is_set_aside() -> None:
    answered = Answered(row(1, attempts=MOST_LOSSES, in_doubt=True), Answer.LOST, text="why")
    outcome = outcome_of(ASKED, [answered], Holds(), NOW, retries=5)
    assert [(change.due_ms, change.server) for change in outcome.changes] == [(None, "s")]


def test_a_function_is_held_for_longer_and_longer_until_a_job_is_taken() -> None:
    holds, now, waits = Holds(), NOW, []
    for _ in range(9):
        until = holds.hold("f", now)
        assert holds.hold("f", now) == until
        assert holds.held(now) == ["f"]
        waits.append(until - now)
        now = until
        assert holds.held(now) == []
    assert waits == [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    outcome_of(ASKED, [Answered(row(1), Answer.CREATED)], holds, now, retries=5)
    assert holds.hold("f", now) == now + 500


def test_waves_have_one_row_of_a_key_and_doubtful_rows_come_alone_and_first() -> None:
    rows = [row(1, "a"), row(2), row(3, "b", in_doubt=True), row(4, "a"), row(5, "b"), row(6), row(7, in_doubt=True)]
    assert [[each.id for each in wave] for wave in waves_of(rows)] == [[3], [7], [1, 2, 5, 6], [4]]


def homes_of(*servers: str, names: dict[Address, str] | None = None) -> Homes:
    return Homes(Ring([parse_address(server) for server in servers], names))


def test_rows_go_where_a_client_would_send_them_or_to_the_next_server() -> None:
    servers = ["s0:1", "s1:1", "s2:1"]
    homes = homes_of(*servers)
    keys = [f"key {number}" for number in range(20)]
    rows = [candidate(at, key, server_number=hash_of(key.encode())) for at, key in enumerate(keys)]
    everywhere = openings_of(homes, servers, servers, [])
    planned = plan(rows, everywhere, homes, servers)
    for server, some in planned.items():
        assert {f"s{hash_of(str(each.order_key).encode()) % 3}:1" for each in some} == {server}
    without = openings_of(homes, ["s0:1", "s2:1"], ["s0:1", "s2:1"], [])
    assert (without.numbers, without.slots) == ([0], 1), "any row may go"
    moved = plan(rows, without, homes, ["s0:1", "s2:1"])
    assert set(planned["s1:1"]) <= set(moved["s2:1"])
    busy = openings_of(homes, servers, ["s0:1"], [])
    assert (busy.numbers, busy.slots) == ([0], 3)
    assert plan(rows, busy, homes, servers).keys() == {"s0:1"}


def test_in_a_cluster_rows_go_where_a_client_would_send_them_whatever_the_order_of_the_servers() -> None:
    servers = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]
    keys = [f"key {number}" for number in range(50)]
    rows = [candidate(at, key, server_number=hash_of(key.encode())) for at, key in enumerate(keys)]
    homes, turned = homes_of(*servers, names={}), homes_of(*reversed(servers), names={})
    planned = plan(rows, openings_of(homes, servers, servers, []), homes, servers)
    assert planned == plan(rows, openings_of(turned, servers, servers, []), turned, servers)
    assert planned.keys() == set(servers)
    busy = openings_of(homes, servers, servers[:1], [])
    fits = [row.id for row in rows if row.server_number is not None and row.server_number % busy.slots in busy.numbers]
    assert fits == [row.id for row in planned[servers[0]]]


def test_a_key_keeps_to_one_server_and_its_rows_behind_one_that_waits_wait_too() -> None:
    servers = ["s0:1", "s1:1"]
    homes = homes_of(*servers)
    openings = openings_of(homes, servers, servers, [])
    rows = [
        candidate(1, "k", server_number=0),
        candidate(2, "k", server_number=1),
        candidate(3, "k", server_number=0),
        candidate(4, server="s1:1"),
        candidate(5, "l", server="elsewhere:1"),
        candidate(6, "l"),
    ]
    planned = plan(rows, openings, homes, servers)
    assert {server: [each.id for each in some] for server, some in planned.items()} == {"s0:1": [1], "s1:1": [4]}


def test_batches_are_bounded() -> None:
    homes = homes_of("s:1")
    openings = openings_of(homes, ["s:1"], ["s:1"], [])
    many = [candidate(number) for number in range(MAX_ROWS + 5)]
    assert len(plan(many, openings, homes, ["s:1"])["s:1"]) == MAX_ROWS
    large = [candidate(1, workload_bytes=2 * MAX_BYTES), candidate(2)]
    assert [each.id for each in plan(large, openings, homes, ["s:1"])["s:1"]] == [1]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (("", "", "s", "", b""), "must not be empty"),
        (("f", "a\0b", "s", "", b""), "holds a zero byte"),
        (("f", "", "", "", b""), "1 to 64 bytes"),
        (("f", "", "s", "tag", b""), "key=value is expected"),
        (("f", "", "s", "tag=%00", b""), "no zero byte"),
    ],
)
def test_a_row_that_is_written_wrongly(columns: tuple[str, str, str, str, bytes], text: str) -> None:
    with pytest.raises(UnsendableRow, match=text):
        packet_of(*columns)
