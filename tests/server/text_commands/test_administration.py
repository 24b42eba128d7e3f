"""Permission to change things by text command, and `shutdown` where it is allowed."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from types import TracebackType

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import EVERYBODY, THIS_MACHINE

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess

REFUSED = b"ERR NOT_ALLOWED Not+from+this+address:+the+operator+says+who+may+with+--admin-allow\r\n"


CHANGES = [
    b"cancel job %s",
    b"create function g",
    b"drop function f",
    b"maxqueue f 1",
    b"maxqueue f",
    b"CANCEL",
    b"shutdown",
]


@pytest.mark.parametrize("line", CHANGES)
def test_a_foreign_address_can_change_nothing_and_gets_a_refusal(
    make_broker: Callable[..., BrokerHarness], line: bytes
) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE, allow_shutdown=True)
    client = broker.peer()
    line = line.replace(b"%s", client.submit(b"f"))
    assert client.text(line) == REFUSED
    assert client.text(b"status") == b"f\t1\t0\t0\n.\n"
    assert client.text(b"show maxqueue f") == b"f\t0\t0\t0\n.\n"
    assert client.take() == []


@pytest.mark.parametrize("line", [b"status", b"workers", b"version", b"show jobs", b"show maxqueue f", b"getpid"])
def test_every_address_may_ask(make_broker: Callable[..., BrokerHarness], line: bytes) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    assert not broker.peer().text(line).startswith(b"ERR")


@pytest.mark.parametrize("line", [b"create function g", b"maxqueue f 1"])
@pytest.mark.parametrize(("address", "unix_uid"), [("127.0.0.1", None), ("127.0.1.1", None), ("::1", None), ("", 1)])
def test_this_machine_may_change_things(
    make_broker: Callable[..., BrokerHarness], line: bytes, address: str, unix_uid: int | None
) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    assert broker.peer(address, unix_uid).text(line) == b"OK\r\n"


@pytest.mark.parametrize(
    "line", [b"dead drop H:x:1", b"jobs purge function=f", b"schedules trigger x", b"jobs list after=9"]
)
def test_refusals_leave_nothing_in_memory(make_broker: Callable[..., BrokerHarness], line: bytes) -> None:
    # An exception that is raised again and again gathers a traceback, with its frames, at every raise.
    client = make_broker(admin_allow=THIS_MACHINE).peer()

    def refuse_and_count() -> int:
        for _ in range(100):
            assert client.text(line).startswith(b"ERR ")
        gc.collect()
        return sum(isinstance(kept, TracebackType) for kept in gc.get_objects())

    before = refuse_and_count()
    assert refuse_and_count() - before < 10


# --- shutdown


@pytest.mark.parametrize("line", [b"shutdown", b"shutdown graceful"])
def test_shutdown_is_unknown_unless_the_operator_allowed_it(server: ServerProcess, line: bytes) -> None:
    assert server.text(line) == b"ERR UNKNOWN_COMMAND Unknown+server+commandshutdown\r\n"
    server.peer().sync()


def test_shutdown_answers_and_ends_the_server_at_once(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--allow-shutdown", "-v")
    operator, client = server.peer(), server.peer()
    client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert operator.text(b"shutdown") == b"OK\n"
    assert operator.read_to_end() == b""
    assert server.wait() == 0
    server.wait_for_log("ended: the command shutdown")


def test_shutdown_graceful_lets_the_running_job_end(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--allow-shutdown")
    operator, client, worker = server.peer(), server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    assert operator.text(b"shutdown graceful") == b"OK\n"
    assert operator.read_to_end() == b""
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")
    assert server.wait() == 0


def test_shutdown_with_another_word_is_refused(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=EVERYBODY, allow_shutdown=True)
    answer = broker.peer().text(b"shutdown tomorrow")
    assert answer == b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+shutdown\r\n"


# --- the command line


def test_admin_allow_names_the_permitted_networks(start_server: Callable[..., ServerProcess]) -> None:
    assert start_server("--admin-allow", "192.0.2.0/24").text(b"create function f") == REFUSED
    both = start_server("--admin-allow", "192.0.2.0/24", "--admin-allow", "127.0.0.0/8")
    assert both.text(b"create function f") == b"OK\r\n"


def test_by_default_only_this_machine_is_permitted(server: ServerProcess) -> None:
    assert server.text(b"create function f") == b"OK\r\n"


def test_a_bad_network_gives_one_line_that_names_the_option(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    ended = run_command("--admin-allow", "10.0.0.0/99", "-p", "0")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "--admin-allow" in ended.stderr
