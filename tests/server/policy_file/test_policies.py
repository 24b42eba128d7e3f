"""`--policies`: what a file may say, and what then becomes of jobs that don't end well."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearman_client.packet import PacketType
from gearman_server.errors import PolicyFileError
from gearman_server.jobs.policies import FunctionPolicy, Rate
from gearman_server.policy_file.file import read_policies

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a policies file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "policies.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def broker_with(make_broker: Callable[..., BrokerHarness]) -> Callable[..., BrokerHarness]:
    """A broker whose function `f` has a policy."""

    def make(job_retries: int | None = None, **policy: Any) -> BrokerHarness:
        broker = make_broker(job_retries=job_retries)
        broker.broker.use_policies({b"f": FunctionPolicy(**policy)})
        return broker

    return make


def lose(broker: BrokerHarness, handle: bytes, times: int) -> None:
    """Workers come, grab the job and die."""
    for attempt in range(times):
        worker = broker.worker(b"f")
        assert worker.grab() == handle, f"attempt {attempt}"
        worker.leave()


# --- the file


def test_what_a_file_can_say(written: Callable[..., Path]) -> None:
    path = written(
        "functions:\n  f: {timeout: 1.5m, crash_retries: 2}\n  'on': {timeout: 500ms}\n  g:\n  h: {timeout: 0}\n"
    )
    file = read_policies(str(path))
    assert file.by_function == {
        b"f": FunctionPolicy(timeout_s=90, crash_retries=2),
        b"on": FunctionPolicy(timeout_s=0.5),
        b"g": FunctionPolicy(),
        b"h": FunctionPolicy(),
    }


def test_every_key_of_a_function_can_be_written(written: Callable[..., Path]) -> None:
    keys = "retries: 5, backoff: 1m, max_backoff: 1h, max_queue: 100, max_running: 3, rate: 100/m, keep_result: 2h"
    file = read_policies(str(written(f"functions: {{f: {{{keys}}}, g: {{max_backoff: 1s, max_running: 0}}}}")))
    assert file.by_function == {
        b"f": FunctionPolicy(
            retries=5,
            backoff_s=60,
            max_backoff_s=3600,
            max_queue=100,
            max_running=3,
            rate=Rate(100, 60),
            keep_result_s=7200,
        ),
        b"g": FunctionPolicy(backoff_s=10, max_backoff_s=10),  # the first wait is no longer than any other
    }


@pytest.mark.parametrize("text", ["", "functions:\n", "functions: {}\n", "---\n"])
def test_a_file_may_say_nothing(written: Callable[..., Path], text: str) -> None:
    assert read_policies(str(written(text))).by_function == {}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("functions: {f: {timeout: 30}}", ["1: functions.f.timeout: a duration needs a unit: write 30s"]),
        ("functions: {f: {timeout: soon}}", ["1: functions.f.timeout: a duration such as 500ms"]),
        ("functions: {f: {timeout: [1s]}}", ["1: functions.f.timeout: a duration such as 500ms"]),
        (
            "functions:\n  f: {backoff: 1h,\n    max_backoff: 1m}",
            ["3: functions.f.max_backoff: max_backoff is less than backoff: raise it"],
        ),
        ("functions: {f: {timeout: 9999d}}", ["1: functions.f.timeout: '9999d' is too long"]),
        ("functions: {f: {crash_retries: -1}}", ["1: functions.f.crash_retries: a whole number from 0 up is expected"]),
        (
            "functions: {f: {crash_retrys: 1}}",
            ["1: functions.f.crash_retrys: unknown key, did you mean crash_retries?"],
        ),
        ("functions: {f: {retries: many}}", ["1: functions.f.retries: a whole number from 0 up is expected"]),
        ("functions: {f: {max_running: 1.5}}", ["1: functions.f.max_running: a whole number from 0 up is expected"]),
        ("functions: {f: {rate: 10}}", ["1: functions.f.rate: a rate from 1 to 100000 in a second"]),
        ("functions: {f: {rate: 0/s}}", ["1: functions.f.rate: a rate from 1 to 100000 in a second"]),
        ("functions: {f: {rate: 100001/s}}", ["1: functions.f.rate: a rate from 1 to 100000 in a second"]),
        ("functions: {f: {rate: [1/s]}}", ["1: functions.f.rate: a rate from 1 to 100000 in a second"]),
        ("functions: {f: {}, f: {}}", ["1: functions.f: the key is repeated"]),
        ("functions: {[1]: {}}", ["1: functions: a key is plain text"]),
        ("functions: [f]", ["1: functions: a mapping"]),
        ("functions: {f: 3}", ["1: functions.f: a mapping"]),
        ("f: {timeout: 3s}", ["1: f: unknown key. Allowed here: functions"]),
        ("just text", ["1: a mapping"]),
        ("functions:\n\tf: {}", ["2: not valid YAML: "]),
        ("functions: {f: *nothing}", ["1: not valid YAML: "]),
        (
            "pools: {}\nfunctions:\n  f: {timeout: x}\n  g:\n    min: 1\n    timeout: 1\n",
            ["1: pools: ", "3: functions.f.timeout: ", "5: functions.g.min: ", "6: functions.g.timeout: "],
        ),
    ],
)
def test_all_that_is_wrong_is_named_by_file_line_and_key(
    written: Callable[..., Path], text: str, problems: list[str]
) -> None:
    path = written(text)
    with pytest.raises(PolicyFileError) as refused:
        read_policies(str(path))
    assert len(refused.value.problems) == len(problems)
    for problem, expected in zip(refused.value.problems, problems, strict=True):
        assert problem.startswith(f"{path}:{expected}")


def test_a_file_that_is_no_text_or_endless_is_refused(written: Callable[..., Path]) -> None:
    path = written("")
    path.write_bytes(b"functions:\n  f: \xff\n")
    with pytest.raises(PolicyFileError, match=r"policies\.yaml:2: the text is not UTF-8"):
        read_policies(str(path))
    path.write_bytes(b"#" * (5 << 20))
    with pytest.raises(PolicyFileError, match="more than 4 MiB"):
        read_policies(str(path))
    path.write_text("[" * 100_000)
    with pytest.raises(PolicyFileError, match="nested too deeply"):
        read_policies(str(path))


# --- lost workers


@pytest.mark.parametrize("crash_retries", [0, 1, 3])
def test_a_job_gets_so_many_further_attempts_after_its_worker_was_lost(
    broker_with: Callable[..., BrokerHarness], crash_retries: int
) -> None:
    broker = broker_with(crash_retries=crash_retries)
    client = broker.peer()
    handle = client.submit(b"f")
    lose(broker, handle, crash_retries)
    assert client.take() == []
    lose(broker, handle, 1)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.status(b"f") == (0, 0, 0)


@pytest.mark.parametrize(("job_retries", "attempts"), [(1, 4), (9, 4)])
def test_a_policy_wins_over_job_retries(
    broker_with: Callable[..., BrokerHarness], job_retries: int, attempts: int
) -> None:
    broker = broker_with(job_retries=job_retries, crash_retries=3)
    lose(broker, broker.peer().submit(b"f"), attempts)
    assert broker.status(b"f") == (0, 0, 0)


@pytest.mark.parametrize(("job_retries", "attempts"), [(1, 1), (3, 3)])
def test_job_retries_holds_where_the_policy_says_nothing(
    broker_with: Callable[..., BrokerHarness], job_retries: int, attempts: int
) -> None:
    broker = broker_with(job_retries=job_retries, timeout_s=30)
    lose(broker, broker.peer().submit(b"f"), attempts)
    assert broker.status(b"f") == (0, 0, 0)


def test_with_neither_there_is_no_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    lose(broker, broker.peer().submit(b"f"), 50)
    assert broker.status(b"f") == (1, 0, 0)


def test_giving_the_function_up_and_overrunning_an_announced_timeout_count_as_lost(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(crash_retries=2)
    client, worker = broker.peer(), broker.peer()
    handle = client.submit(b"f")
    for _ in range(2):
        worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
        assert worker.grab() == handle
        worker.send(PacketType.CANT_DO, b"f")
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    assert worker.grab() == handle
    assert client.take() == []
    broker.advance(1.1)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


# --- timeouts


def test_the_servers_own_timer_acts_two_seconds_after_the_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(31.9)
    assert client.take() == []
    broker.advance(0.2)
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0timeout")]
    assert broker.status(b"f") == (0, 0, 1)
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"late")[0][0] == PacketType.ERROR


@pytest.mark.parametrize(("announced_ms", "is_requeued"), [(b"5000", True), (b"60000", False)])
def test_of_two_limits_the_earlier_one_acts_in_its_own_way(
    broker_with: Callable[..., BrokerHarness], announced_ms: bytes, is_requeued: bool
) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", announced_ms)
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(61)
    assert broker.status(b"f") == (1, 0, 1) if is_requeued else (0, 0, 1)
    assert client.take() == ([] if is_requeued else [(PacketType.WORK_FAIL, handle)])


def test_a_job_that_ends_in_time_is_not_failed_and_leaves_nothing_behind(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]
    broker.advance(100)
    assert client.take() == []
    assert broker.broker.next_due is None


def test_new_policies_hold_for_what_is_assigned_from_then_on(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    first, second = client.submit(b"f"), client.submit(b"f")
    worker.grab()
    broker.broker.use_policies({b"f": FunctionPolicy(timeout_s=1)})
    worker.grab()
    broker.advance(3.1)
    assert client.take() == [(PacketType.WORK_FAIL, second)]
    broker.advance(30)
    assert client.take() == [(PacketType.WORK_FAIL, first)]


# --- the running server


def test_a_broken_file_stops_the_start_with_every_problem_on_its_line(
    run_command: Callable[..., subprocess.CompletedProcess[str]], written: Callable[..., Path]
) -> None:
    path = written("functions:\n  f: {timeout: 3}\n  g: {min: 1}\n")
    for options in ((), ("--check-args",)):
        ended = run_command("-p", "0", "--policies", str(path), *options)
        assert ended.returncode == 1
        lines = ended.stderr.splitlines()
        assert [line.split(": ")[1:3] for line in lines] == [
            [f"{path}:2", "functions.f.timeout"],
            [f"{path}:3", "functions.g.min"],
        ]


def test_a_file_that_is_not_there_stops_the_start(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ended = run_command("-p", "0", "--policies", str(tmp_path / "none.yaml"))
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "none.yaml: the file of --policies can't be read: No such file" in ended.stderr


def test_a_timeout_acts_on_a_worker_that_nobody_supervises(
    start_server: Callable[..., ServerProcess], written: Callable[..., Path]
) -> None:
    path = written("functions:\n  f: {timeout: 100ms}\n")
    server = start_server("--policies", str(path), "-v")
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    assert client.receive() == (PacketType.WORK_FAIL, handle)
    server.wait_for_log("this attempt has failed: timeout")


def test_sighup_rereads_the_file_and_a_broken_one_changes_nothing(
    start_server: Callable[..., ServerProcess], written: Callable[..., Path]
) -> None:
    path = written("functions:\n  f: {crash_retries: 1}\n")
    server = start_server("--policies", str(path), "-v")
    written("functions:\n  f: {crash_retries: x}\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log(f"the policies stay as they were: {path}:2: functions.f.crash_retries: ")
    client = server.peer()
    client.send(PacketType.SUBMIT_JOB, b"f", b"", b"w")
    handle = client.receive()[1]

    def lose_worker() -> None:
        worker = server.peer()
        worker.send(PacketType.CAN_DO, b"f")
        assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
        worker.close()

    lose_worker()
    server.wait_for_log("back in its queue")
    written("functions:\n  f: {crash_retries: 2}\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log(f"policies read again from {path}")
    lose_worker()
    server.wait_for_log("back in its queue")
    lose_worker()
    assert client.receive() == (PacketType.WORK_FAIL, handle)


def test_the_policies_can_be_asked_for(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(job_retries=3)
    assert broker.peer().text(b"policies") == b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\n.\n"
    policy = FunctionPolicy(
        timeout_s=0.5, retries=1, crash_retries=0, max_queue=7, max_running=2, rate=Rate(5, 60), keep_result_s=3600
    )
    broker.broker.use_policies({b"a b": policy, b"g": FunctionPolicy()})
    assert broker.peer().text(b"policies") == (
        b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\n"
        b"a b\t0.5\t1\t0\t10\t600\t7\t2\t5/60\t3600\n"
        b"g\t-\t0\t2\t10\t600\t-\t-\t-\t-\n.\n"
    )
