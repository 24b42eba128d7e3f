"""The file of a SQLite store: whose it is, and what becomes of acknowledged jobs if somebody tampers with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import StoreDatabase

BACKGROUND = PacketType.SUBMIT_JOB_BG
CREATED = PacketType.JOB_CREATED


class Fault(NamedTuple):
    """What happens to the file, what the log says of it, and what brings the store back."""

    happens: Callable[[Path], object]
    log: str
    ends: Callable[[Path], object] | None


def delete(file: Path) -> None:
    file.unlink()


def delete_all(file: Path) -> None:
    for path in file.parent.glob("jobs.db*"):
        path.unlink()


def delete_log(file: Path) -> None:
    file.with_name("jobs.db-wal").unlink()


def move(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))


def move_back(file: Path) -> None:
    file.parent.with_name("elsewhere").rename(file.parent)


def replace(file: Path) -> None:
    other = file.with_name("other")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE gearman_jobs (id INTEGER)")
    other.replace(file)


FAULTS = {
    "deleted": Fault(delete, "jobs.db was deleted: it is made anew", None),
    "deleted with its log": Fault(delete_all, "jobs.db was deleted: it is made anew", None),
    "log deleted": Fault(delete_log, "jobs.db-wal was deleted or replaced", None),
    "folder moved": Fault(move, "jobs.db was moved away, or its folder: move it back", move_back),
    "replaced": Fault(replace, "jobs.db is another file now: move that away", delete),
}


def submit(server: ServerProcess, jobs: int) -> set[bytes]:
    """Submit jobs; the handles of those that were acknowledged."""
    peer, handles = server.peer(), set()
    for _ in range(jobs):
        packet_type, body = peer.ask(BACKGROUND, b"f", b"", b"w")
        if packet_type == CREATED:
            handles.add(body)
        else:
            assert body.startswith(b"QUEUE_ERROR\0")
    return handles


def waiting(server: ServerProcess) -> set[bytes]:
    """The handles of all jobs that the server has."""
    return {line.split(b"\t")[0] for line in server.text(b"show jobs").splitlines()[:-1]}


@pytest.fixture
def file_in_folder(tmp_path: Path, database_in: Callable[[Path], StoreDatabase]) -> StoreDatabase:
    """A database in a folder that can be moved."""
    (tmp_path / "store").mkdir()
    return database_in(tmp_path / "store")


@pytest.mark.parametrize("is_idle", [False, True], ids=["busy", "idle"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_acknowledged_jobs_outlive_a_file_that_is_tampered_with(
    fault: Fault, is_idle: bool, file_in_folder: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    server, file = start_durable(file_in_folder), Path(file_in_folder.file)
    acknowledged = submit(server, 3)
    assert len(acknowledged) == 3
    fault.happens(file)
    if is_idle:
        assert fault.log in server.wait_for_log("background jobs are refused")
    later = submit(server, 20)
    if not is_idle:
        assert fault.log in server.wait_for_log("background jobs are refused")
        assert len(later) < 20
    if fault.ends is not None:
        fault.ends(file)
    server.wait_for_log("NOTICE the store can be written again")
    last = submit(server, 3)
    assert len(last) == 3
    server.process.kill()
    server.process.wait()
    server = start_durable(file_in_folder)
    server.wait_for_log("jobs are back")
    assert waiting(server) == acknowledged | later | last


@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_no_job_is_acknowledged_into_a_file_that_somebody_else_has_written(
    how: str, file_in_folder: StoreDatabase, start_durable: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    file, copy = Path(file_in_folder.file), tmp_path / "copy"
    server = start_durable(file_in_folder)
    server.process.terminate()
    server.wait()
    shutil.copy(file, copy)
    server = start_durable(file_in_folder)
    if how == "cut":
        os.truncate(file, 0)
    else:
        shutil.copyfile(copy, file)
    assert submit(server, 5) == set()
    assert "jobs.db was overwritten while in use" in server.wait_for_log("background jobs are refused")


def test_nobody_else_can_read_the_files_of_a_store(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    mask = os.umask(0)
    try:
        server = start_durable(database)
        submit(server, 1)
        with sqlite3.connect(tmp_path / "gearmand") as connection:
            connection.execute("CREATE TABLE gearman_queue (unique_key, function_name, priority, data)")
        os.chmod(tmp_path / "gearmand", 0o600)
        urls = ("--from", f"sqlite:///{tmp_path}/gearmand", "--store", f"sqlite:///{tmp_path}/imported")
        assert run_command("import", *urls, "--job-handle-prefix", "H:test").returncode == 0
    finally:
        os.umask(mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-owner", "imported"} <= set(modes)
    assert set(modes.values()) == {0o600}


def symbolic(file: Path, folder: Path) -> Path:
    (folder / "link").symlink_to(file)
    return folder / "link"


def through_a_linked_folder(file: Path, folder: Path) -> Path:
    (folder / "link").symlink_to(file.parent)
    return folder / "link" / file.name


def hard(file: Path, folder: Path) -> Path:
    (folder / "link").hardlink_to(file)
    return folder / "link"


@pytest.mark.parametrize("link", [symbolic, through_a_linked_folder, hard])
def test_a_store_has_one_owner_whatever_its_name(
    link: Callable[[Path, Path], Path],
    file_in_folder: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    tmp_path: Path,
) -> None:
    server, file = start_durable(file_in_folder), Path(file_in_folder.file)
    acknowledged = submit(server, 3)
    other = link(file, tmp_path)
    arguments = ["--store", f"sqlite:///{other}", "-p", "0", "--job-handle-prefix", "H:test", "--verbose", "NOTICE"]
    command = [sys.executable, "-m", "gearman_server", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        line = second.stderr.readline()
        second.terminate()
    assert ("other names (hard links)" if link is hard else f"process {server.pid} on ") in line
    acknowledged |= submit(server, 3)
    server.process.kill()
    server.process.wait()
    server = start_durable(file_in_folder)
    server.wait_for_log("jobs are back")
    assert waiting(server) == acknowledged
