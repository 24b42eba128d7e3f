"""The dead letters of a cluster: every server lists, shows, revives and drops all of them, and each is revived once."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import Cluster, Until, grab, numbered, run_all, submit, waiting

Pair = tuple[ServerProcess, ServerProcess]


def kill(server: ServerProcess, count: int, workload: bytes = b"w") -> list[bytes]:
    """Background jobs that fail; their handles."""
    handles = submit(server.peer(), count, workload=workload)
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    for handle in handles:
        assert (grab(worker, b"") or (b"",))[0] == handle
        worker.send(WORK_FAILURE, handle, b"fail", b"", b"", b"boom", b"line 1\nline 2")
    assert worker.text(b"dead show " + handles[-1]).startswith(b"handle"), "they are written"
    worker.close()
    return handles


def listed(server: ServerProcess, conditions: bytes = b"") -> list[bytes]:
    """The handles in `dead list`, all pages together."""
    handles, after = [], b""
    while True:
        *lines, end = server.text(b"dead list " + conditions + after).splitlines()
        assert end == b"."
        rows = [line.split(b"\t") for line in lines]
        handles += [row[0] for row in rows if len(row) > 2]
        if not rows or len(rows[-1]) > 2:
            return handles
        after = b" after=" + rows[-1][1]


def first_line(server: ServerProcess, command: bytes) -> bytes:
    peer = server.peer()
    peer.socket.sendall(command + b"\n")
    return peer.socket.makefile("rb").readline()


def test_whoever_buried_a_letter_every_server_has_it(pair: Pair, until: Until) -> None:
    one, other = pair
    first, second = kill(one, 2), kill(other, 1)
    until(lambda: listed(other) == [*first, *second])
    assert listed(one) == [*first, *second]
    fields = dict(line.split(b"\t") for line in other.text(b"dead show " + first[0]).splitlines()[:-1])
    assert fields[b"error"] == b"boom"
    assert fields[b"traceback"] == rb"line 1\x0aline 2"
    assert fields[b"workload"] == b"w0"
    assert other.text(b"dead drop %s H:no:1" % first[0]) == b"OK 1\n"
    assert first_line(one, b"dead show " + first[0]).startswith(b"ERR UNKNOWN_JOB")
    assert one.text(b"dead retry " + b" ".join(second)) == b"OK 1\n"
    assert listed(other) == [first[1]]
    assert run_all(one.peer()) == [b"w0"]


def test_lists_are_pages_whose_cursor_any_server_knows(pair: Pair) -> None:
    one, other = pair
    handles = kill(one, 7)
    assert listed(other, b"limit=3") == handles
    *_, cursor, _ = one.text(b"dead list limit=3").splitlines()
    after = cursor.split(b"\t")[1]
    lines = other.text(b"dead list limit=3 after=" + after).splitlines()
    assert [line.split(b"\t")[0] for line in lines[:3]] == handles[3:6]
    assert listed(other, b"function=g") == []
    assert listed(other, b"function=f older=3600") == []
    assert first_line(other, b"dead list after=x").startswith(b"ERR UNKNOWN_CURSOR")
    assert other.text(b"dead drop").startswith(b"ERR INVALID_ARGUMENTS")


def test_letters_that_came_after_a_moment_are_neither_counted_nor_changed(pair: Pair) -> None:
    one, other = pair
    early = kill(one, 2)
    moment = first_line(one, b"jobs clock").split()[1]
    late = kill(one, 1)
    assert other.text(b"dead count") == b"dead\t3\n.\n"
    assert other.text(b"dead count until=" + moment) == b"dead\t2\n.\n"
    assert listed(other, b"until=" + moment) == early
    assert listed(other, b"since=" + moment) == late
    assert listed(other, b"text=W1") == [early[1]]
    assert listed(other, b"limit=2 text=boom") == listed(other, b"text=line%202") == [*early, *late]
    assert listed(other, b"unique=none") == listed(other, b"text=nothing") == []
    assert other.text(b"dead count text=w1") == b"dead\t1\n.\n"
    assert other.text(b"dead drop %s text=nothing" % b" ".join(early)) == b"OK 0\n"
    assert one.text(b"dead retry %s function=g" % b" ".join(early)) == b"OK 0\n"
    assert other.text(b"dead drop all until=" + moment) == b"OK 2\n"
    assert listed(one) == late


def test_three_servers_that_revive_the_same_letters_make_each_job_once(cluster: Cluster, until: Until) -> None:
    servers = [cluster.start() for _ in range(3)]
    handles = kill(servers[0], 60)
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda server=server: answers.append(server.text(b"dead retry all")))
        for server in servers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(int(answer.removeprefix(b"OK ")) for answer in answers) == 60, answers
    assert sorted(row[0] for row in cluster.database.rows("handle")) == sorted(handles)
    assert sum(waiting(server) for server in servers) == 60
    ran = [workload for server in servers for workload in run_all(server.peer())]
    assert sorted(ran) == sorted(numbered(60))
    assert listed(servers[1]) == []


def test_the_letters_of_a_killed_server_are_there_and_can_be_revived(pair: Pair, until: Until) -> None:
    dead, living = pair
    kill(dead, 3)
    dead.signal(signal.SIGKILL)
    assert living.text(b"dead retry function=f") == b"OK 3\n"
    until(lambda: sorted(run_all(living.peer())) == numbered(3))
    assert listed(living) == []


def test_the_bounds_hold_for_the_table_as_a_whole(cluster: Cluster, until: Until) -> None:
    one, other = (cluster.start("--dead-letters", "4") for _ in range(2))
    first = kill(one, 3)
    second = kill(other, 3)
    until(lambda: len(cluster.database.rows("id", "gearman_dead")) == 4)
    assert listed(one) == listed(other) == [*first[2:], *second]


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_the_letters_of_a_function_can_be_kept_for_a_shorter_time(
    cluster: Cluster, until: Until, tmp_path: Path
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {retention: 30s}}")
    server = cluster.start("--policies", str(policies))
    kill(server, 1)
    cluster.database.execute("UPDATE gearman_dead SET died_at = died_at - 40")
    kept = kill(server, 1)
    until(lambda: listed(server) == kept)


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_letters_grow_too_old_whoever_buried_them(cluster: Cluster, until: Until) -> None:
    dead = cluster.start()
    kill(dead, 1)
    dead.signal(signal.SIGKILL)
    cluster.database.execute("UPDATE gearman_dead SET died_at = died_at - 1000000")
    cluster.start()
    until(lambda: cluster.database.rows("id", "gearman_dead") == [])
