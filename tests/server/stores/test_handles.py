"""Handles name one job for ever, whatever happens to the store: another one, a new one, an old copy, none at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client import Client
from gearman_client.errors import ResultUnknown
from gearman_client.packet import PacketType
from gearman_server.jobs.job_table import cut_handle_prefix
from gearman_server.jobs.replies import MAX_HANDLE_BYTES
from gearman_server.jobs.store import first_number

from ..server_process import ServerProcess
from .conftest import StoreDatabase

IN_2026_S = 1_790_000_000.0


def submit(server: ServerProcess, count: int = 3) -> set[bytes]:
    """Submit background jobs to a server; their handles."""
    peer = server.peer()
    answers = [peer.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w") for _ in range(count)]
    assert {packet_type for packet_type, _ in answers} == {PacketType.JOB_CREATED}
    return {handle for _, handle in answers}


def test_a_result_is_never_that_of_another_servers_job(
    database_in: Callable[[Path], StoreDatabase], start_durable: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rules = tmp_path / f"{name}.yaml"
        rules.write_text("functions: {f: {keep_result: 1h}}")
        servers.append(start_durable(database_in(tmp_path / name), "--policies", str(rules)))
    handles = [submit(server, 1).pop() for server in servers]
    worker = servers[0].peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.JOB_ASSIGN
    worker.send(PacketType.WORK_COMPLETE, handles[0], b"of the first")
    worker.sync()
    with Client([f"127.0.0.1:{server.port}" for server in servers]) as client:
        # As text, such as from a URL, a handle does not say whose it is.
        assert client.result(handles[0].decode(), timeout_s=5) == b"of the first"
    with Client([f"127.0.0.1:{servers[1].port}"]) as client, pytest.raises(ResultUnknown):
        client.result(handles[0].decode(), timeout_s=5)


def test_servers_without_a_store_that_start_together_give_out_different_handles(
    start_server: Callable[..., ServerProcess],
) -> None:
    servers = [start_server("--job-handle-prefix", "H:test") for _ in range(3)]
    handles = [submit(server) for server in servers]
    assert len(set().union(*handles)) == 9


def test_a_store_that_was_replaced_repeats_no_handle(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    file, copy = Path(database.file), tmp_path / "copy"
    server = start_durable(database)
    server.process.terminate()
    server.wait()
    shutil.copy(file, copy)
    server = start_durable(database)
    given = submit(server)
    server.process.terminate()
    server.wait()
    shutil.copy(copy, file)  # an old backup
    server = start_durable(database)
    given |= submit(server)
    server.process.terminate()
    server.wait()
    file.unlink()  # a new store
    given |= submit(start_durable(database))
    assert len(given) == 9


@pytest.mark.parametrize("unix_s", [0.0, IN_2026_S, 3.7e9, 1e12, -5.0])
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_the_first_number_fits_with_any_clock(unix_s: float, chance: float) -> None:
    number = first_number(unix_s, chance)
    assert 0 < number < 2**63 - 2**31
    assert len(b"%s:%d" % (cut_handle_prefix(b"H" * 200), number)) < MAX_HANDLE_BYTES


def test_a_later_start_counts_from_a_higher_number() -> None:
    assert first_number(IN_2026_S + 2, 0.0) > first_number(IN_2026_S, 1.0) + 1_000_000_000
