"""Schedules that all servers of a cluster have: each due time makes one job, whatever becomes of the servers."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import Cluster, Until, submit

TICK = "tick: {every: 1s, function: f, workload: x}"
YEARLY = 'yearly: {cron: "0 0 1 1 *", function: f, unique: u}'


class Scheduled:
    """Servers with a file of schedules."""

    def __init__(self, cluster: Cluster, file: Path) -> None:
        self.cluster = cluster
        self.file = file

    def write(self, *schedules: str) -> None:
        self.file.write_text("schedules:" + "".join(f"\n  {line}" for line in schedules or ("{}",)) + "\n")

    def start(self) -> ServerProcess:
        return self.cluster.start("--policies", str(self.file))

    def reread(self, server: ServerProcess) -> None:
        server.signal(signal.SIGHUP)
        server.wait_for_log("policies read again")

    def seconds(self) -> list[int]:
        """The due times of the jobs. A job's time is that of the pass of the loop, which began a moment before."""
        rows = self.cluster.database.rows("submitted_at", "gearman_jobs ORDER BY submitted_at")
        return [int(row[0] + 0.2) for row in rows]

    def timing(self) -> str:
        ((timing,),) = self.cluster.database.rows("timing", "gearman_schedules")
        return str(timing)


@pytest.fixture
def scheduled(cluster: Cluster, tmp_path: Path) -> Scheduled:
    scheduled = Scheduled(cluster, tmp_path / "policies.yaml")
    scheduled.write(TICK)
    return scheduled


def listed(server: ServerProcess) -> list[list[bytes]]:
    return [line.split(b"\t") for line in server.text(b"schedules list").splitlines() if b"\t" in line]


def test_each_due_time_makes_one_job_while_servers_are_killed(scheduled: Scheduled, until: Until) -> None:
    servers = [scheduled.start() for _ in range(3)]
    for count in (1, 3):
        until(lambda count=count: len(scheduled.seconds()) >= count)  # type: ignore[misc]
        servers.pop(0).signal(signal.SIGKILL)
    until(lambda: len(scheduled.seconds()) >= 6)
    seconds = scheduled.seconds()
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


def test_the_job_of_a_lost_run_leaves_no_trace(scheduled: Scheduled, until: Until) -> None:
    servers = [scheduled.start() for _ in range(2)]
    until(lambda: len(scheduled.seconds()) >= 3)
    scheduled.write()
    for server in servers:
        scheduled.reread(server)

    def handles() -> list[bytes]:
        return [line.split(b"\t")[0] for server in servers for line in server.text(b"jobs list").splitlines()[:-1]]

    # The last run may be under way just now.
    until(lambda: sorted(handles()) == sorted(row[0] for row in scheduled.cluster.database.rows("handle")))
    assert not any("dropped" in line or "could not" in line for server in servers for line in server.passed)


def test_all_servers_list_the_same_runs(scheduled: Scheduled, until: Until) -> None:
    scheduled.write(YEARLY)
    one, other = scheduled.start(), scheduled.start()
    assert listed(one) == listed(other)
    assert listed(one)[0][3] == b"", "it has run"
    assert one.text(b"schedules trigger yearly").startswith(b"OK H:test:")
    until(lambda: listed(other)[0][3] != b"")
    assert listed(one) == listed(other)


def test_a_schedule_that_one_server_no_longer_has_goes_on_elsewhere_and_begins_anew_when_all_have_forgotten_it(
    scheduled: Scheduled, until: Until
) -> None:
    one, other = scheduled.start(), scheduled.start()
    until(lambda: len(scheduled.seconds()) >= 1)
    scheduled.write()
    scheduled.reread(one)
    so_far = len(scheduled.seconds())
    until(lambda: len(scheduled.seconds()) >= so_far + 2)
    scheduled.reread(other)
    until(lambda: scheduled.timing() == "")
    seconds = scheduled.seconds()
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    scheduled.write(TICK)
    scheduled.reread(other)
    until(lambda: len(scheduled.seconds()) > len(seconds))


def test_a_changed_timing_is_taken_over_by_all(scheduled: Scheduled, until: Until) -> None:
    scheduled.write(TICK.replace("1s", "1h"))
    one, other = scheduled.start(), scheduled.start()
    until(lambda: scheduled.cluster.database.rows("timing", "gearman_schedules") == [("every 3600 s",)])
    scheduled.write(TICK)
    scheduled.reread(one)
    until(lambda: len(scheduled.seconds()) >= 1)
    scheduled.reread(other)
    until(lambda: len(scheduled.seconds()) >= 3)
    seconds = scheduled.seconds()
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    assert scheduled.timing() == "every 1 s"


def test_no_server_waits_for_one_that_stands_still_with_a_mark_in_its_hands(scheduled: Scheduled, until: Until) -> None:
    server = scheduled.start()

    def ticks() -> int:
        return len(scheduled.cluster.database.rows("id", "gearman_jobs WHERE function_name = 'f'"))

    until(lambda: ticks() >= 1)
    with scheduled.cluster.database.connect() as connection, connection.begin():
        connection.execute(text("SELECT * FROM gearman_schedules FOR UPDATE")).all()
        so_far, began_at, longest_s = scheduled.seconds(), time.monotonic(), 0.0
        peer = server.peer()
        while time.monotonic() < began_at + 2.2:  # two due times at least
            submitted_at = time.monotonic()
            submit(peer, 1, function=b"g")
            longest_s = max(longest_s, time.monotonic() - submitted_at)
        assert longest_s < 1.0
        assert ticks() == len(so_far)
    until(lambda: ticks() > len(so_far))


def test_a_triggered_schedule_joins_the_job_of_another_server_that_has_its_key(
    scheduled: Scheduled, until: Until
) -> None:
    scheduled.write(YEARLY)
    with scheduled.file.open("a") as file:
        file.write("functions:\n  f: {unique_scope: cluster}\n")
    one, other = scheduled.start(), scheduled.start()
    packet_type, handle = one.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert packet_type == PacketType.JOB_CREATED
    assert other.text(b"schedules trigger yearly") == b"OK %s\n" % handle
    assert other.text(b"schedules trigger yearly") == b"OK %s\n" % handle
    until(lambda: listed(one)[0][3] != b"")
    assert listed(one) == listed(other)
    assert scheduled.cluster.database.rows("handle") == [(handle,)]


def test_a_schedule_is_triggered_while_another_server_has_its_mark_in_its_hands(scheduled: Scheduled) -> None:
    scheduled.write(YEARLY)
    server = scheduled.start()
    assert server.text(b"schedules trigger yearly").startswith(b"OK ")
    with scheduled.cluster.database.connect() as connection, connection.begin():
        connection.execute(text("SELECT * FROM gearman_schedules FOR UPDATE")).all()
        assert server.text(b"schedules trigger yearly").startswith(b"OK ")


def test_a_pause_holds_on_all_servers_and_ends_on_all(scheduled: Scheduled, until: Until) -> None:
    one, other = scheduled.start(), scheduled.start()
    until(lambda: len(scheduled.seconds()) >= 1)
    assert one.text(b"schedules pause tick") == b"OK\r\n"
    paused = len(scheduled.seconds())
    assert listed(other)[0][9] == listed(one)[0][9] != b"", "both know since when"
    # Both go on with another schedule, by which the time can be told.
    scheduled.write(TICK, "tock: {every: 1s, function: g}")
    for server in (one, other):
        scheduled.reread(server)
    until(lambda: len(scheduled.cluster.database.rows("id", "gearman_jobs WHERE function_name = 'g'")) >= 3)
    assert len(scheduled.cluster.database.rows("id", "gearman_jobs WHERE function_name = 'f'")) == paused
    assert other.text(b"schedules resume tick") == b"OK\r\n"
    other.signal(signal.SIGKILL)  # the one that knew of the pause first has to hear of its end
    until(lambda: len(scheduled.cluster.database.rows("id", "gearman_jobs WHERE function_name = 'f'")) >= paused + 2)
    until(lambda: listed(one)[0][9] == b"")
    assert [row[8] != b"" for row in listed(one)] == [True, True]


def test_a_server_that_has_not_heard_of_a_pause_or_its_end_changes_it_all_the_same(scheduled: Scheduled) -> None:
    scheduled.write(YEARLY)
    one, other = scheduled.start(), scheduled.start()

    def paused() -> bool:
        ((paused_at,),) = scheduled.cluster.database.rows("paused_at", "gearman_schedules")
        return paused_at is not None

    assert one.text(b"schedules pause yearly") == b"OK\r\n"
    for server in (one, other):  # it is paused already
        assert server.text(b"schedules pause yearly") == b"OK\r\n"
    assert paused()
    assert other.text(b"schedules resume yearly") == b"OK\r\n"
    assert not paused()
    assert one.text(b"schedules pause yearly") == b"OK\r\n"
    assert paused()
    assert one.text(b"schedules resume yearly") == b"OK\r\n"
    # Each has a line for what it has changed, and none for what was so already.
    for words in ("has paused", "has paused", "has resumed"):
        one.wait_for_log(f"{words} schedule yearly")
    other.wait_for_log("has resumed schedule yearly")
    assert not [line for line in [*one.passed, *other.passed] if "schedule yearly" in line]


def test_a_pause_outlives_a_server_that_no_longer_has_the_schedule(scheduled: Scheduled, until: Until) -> None:
    scheduled.write(YEARLY)
    one, other = scheduled.start(), scheduled.start()
    assert other.text(b"schedules pause yearly") == b"OK\r\n"
    scheduled.write()
    scheduled.reread(one)
    until(lambda: scheduled.timing() == "")
    assert listed(other)[0][9] != b""
    scheduled.write(YEARLY)
    scheduled.reread(one)  # which does not know of the pause any more
    until(lambda: scheduled.timing() != "")
    assert listed(one)[0][9] == listed(other)[0][9] != b""


def test_a_pause_that_is_not_written_yet_says_so(scheduled: Scheduled, until: Until) -> None:
    scheduled.write(YEARLY)
    server = scheduled.start()
    until(lambda: len(scheduled.cluster.database.rows("name", "gearman_schedules")) == 1)
    with scheduled.cluster.database.connect() as connection, connection.begin():
        connection.execute(text("SELECT * FROM gearman_schedules FOR UPDATE")).all()
        first = server.peer()
        assert first.text(b"schedules pause yearly").startswith(b"ERR NOT_STORED ")
        assert server.text(b"schedules pause yearly").startswith(b"ERR NOT_STORED ")

    def is_paused() -> bool:
        return scheduled.cluster.database.rows("paused_at", "gearman_schedules")[0][0] is not None

    until(is_paused)
    name = f":{first.socket.getsockname()[1]}: "
    assert name in server.wait_for_log("has paused schedule yearly"), "the first who asked"
