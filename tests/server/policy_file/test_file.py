"""`--policies`: the contents of the file, the messages for mistakes, and the reload by SIGHUP."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_server.errors import PolicyFileError
from gearman_server.jobs.policies import BrakeRule, FunctionPolicy, KeyPolicy, Rate
from gearman_server.policy_file.file import read_policies

from ..server_process import ServerProcess


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a policies file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "policies.yaml"
        path.write_text(text)
        return path

    return write


def test_a_file_with_defaults_and_functions_is_read(written: Callable[..., Path]) -> None:
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
    keys += ", allow_options: [timeout, tags], unique_scope: cluster, retention: 7d"
    keys += ", brake: {failures: 20/90s, hold: 5s, probe: 2}"
    others = "g: {max_backoff: 1s, max_running: 0, brake: {failures: 0}}, h: {brake: {failures: 3/m, hold: }}"
    file = read_policies(str(written(f"functions: {{f: {{{keys}}}, {others}}}")))
    assert file.by_function == {
        b"f": FunctionPolicy(
            retries=5,
            backoff_s=60,
            max_backoff_s=3600,
            max_queue=100,
            max_running=3,
            rate=Rate(100, 60),
            keep_result_s=7200,
            allow_options=frozenset({"tags", "timeout"}),
            brake=BrakeRule(Rate(20, 90), hold_s=5.0, probe=2),
            is_unique_in_cluster=True,
            retention_s=7 * 86400.0,
        ),
        b"g": FunctionPolicy(backoff_s=10, max_backoff_s=10),  # the first wait is no longer than the maximum
        b"h": FunctionPolicy(brake=BrakeRule(Rate(3, 60), hold_s=30.0, probe=1)),
    }
    keys = "unique_scope: server, per_key: {max_running: 5, rate: 10/s}, fair: yes, weights: {a: 10, '': 2}"
    file = read_policies(str(written(f"functions: {{f: {{{keys}}}, g: {{per_key: {{max_running: 0}}, fair: false}}}}")))
    rules = KeyPolicy(max_running=5, rate=Rate(10, 1), is_fair=True, weights={b"a": 10, b"": 2})
    assert file.by_function == {b"f": FunctionPolicy(keys=rules), b"g": FunctionPolicy()}


@pytest.mark.parametrize("text", ["", "functions:\n", "functions: {}\n", "---\n"])
def test_a_file_may_be_empty(written: Callable[..., Path], text: str) -> None:
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
        ("functions: {f: {retention: 0s}}", ["1: functions.f.retention: more than 0 is expected; to keep it as long"]),
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
        (
            "functions: {f: {allow_options: [retries, timeot]}}",
            ["1: functions.f.allow_options: 'timeot' is no option of a job, did you mean timeout? Known are at"],
        ),
        (
            "functions: {f: {allow_options: [[a]]}}",
            ["1: functions.f.allow_options: a mapping is no option of a job"],
        ),
        (
            "functions: {f: {allow_options: tags}}",
            ["1: functions.f.allow_options: a list of options is expected"],
        ),
        (
            "functions: {f: {unique_scope: everywhere}}",
            ["1: functions.f.unique_scope: server or cluster is expected, not 'everywhere'"],
        ),
        ("functions: {f: {fair: 2}}", ["1: functions.f.fair: true or false is expected"]),
        ("functions: {f: {per_key: 5}}", ["1: functions.f.per_key: a mapping such as {max_running: 5, rate: 100/m}"]),
        (
            "functions: {f: {per_key: {rates: 5}}}",
            ["1: functions.f.per_key: rates: unknown key. Allowed"],
        ),
        ("functions: {f: {per_key: {rate: 5}}}", ["1: functions.f.per_key: rate: a rate from 1 to 100000 in a sec"]),
        ("functions: {f: {per_key: {rate: 1/s, rate: 2/s}}}", ["1: functions.f.per_key.rate: the key is repeated"]),
        ("functions: {f: &a {per_key: *a}}", ["1: functions.f.per_key: per_key: unknown key"]),
        (
            "functions: {f: {fair: true, weights: {a: 0}}}",
            ["1: functions.f.weights: 'a': a whole number from 1"],
        ),
        (
            "functions: {f: {weights: {a: 2}}}",
            ["1: functions.f.weights: keys take no turns without fair"],
        ),
        ("functions: {f: {rate: [1/s]}}", ["1: functions.f.rate: a rate from 1 to 100000 in a second"]),
        ("functions: {f: {brake: 20/1m}}", ["1: functions.f.brake: a mapping such as {failures: 20/1m, hold: 30s"]),
        ("functions: {f: {brake: [1]}}", ["1: functions.f.brake: a mapping such as {failures: 20/1m, hold: 30s"]),
        ("functions: {f: {brake: {hold: 1s}}}", ["1: functions.f.brake: failures: a rate from 1 to 100000"]),
        ("functions: {f: {brake: {failures: 20}}}", ["1: functions.f.brake: failures: a rate from 1 to 100000"]),
        ("functions: {f: {brake: {failures: 1/s, hold: 9}}}", ["1: functions.f.brake: hold: a duration needs a unit"]),
        ("functions: {f: {brake: {failures: 1/s, hold: 0s}}}", ["1: functions.f.brake: hold: more than 0 is expected"]),
        ("functions: {f: {brake: {failures: 1/s, probe: 0}}}", ["1: functions.f.brake: probe: more than 0 is"]),
        ("functions: {f: {brake: {failures: 1/s, probe: [1]}}}", ["1: functions.f.brake: probe: a whole number"]),
        ("functions: {f: {brake: {failures: 1/s, stop: 1}}}", ["1: functions.f.brake: stop: unknown key. Allowed"]),
        (
            "functions: {f: {brake: {failures: 1/s, hold: 1s,\n hold: 1s}}}",
            ["2: functions.f.brake.hold: the key is repeated"],
        ),
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
def test_every_mistake_is_reported_with_file_line_and_key(
    written: Callable[..., Path], text: str, problems: list[str]
) -> None:
    path = written(text)
    with pytest.raises(PolicyFileError) as refused:
        read_policies(str(path))
    assert len(refused.value.problems) == len(problems)
    for problem, expected in zip(refused.value.problems, problems, strict=True):
        assert problem.startswith(f"{path}:{expected}")


def test_a_file_that_is_no_text_or_too_long_is_refused(written: Callable[..., Path]) -> None:
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


# --- the running server


def test_a_broken_file_stops_the_start_with_one_line_for_each_problem(
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


def test_a_missing_file_stops_the_start(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ended = run_command("-p", "0", "--policies", str(tmp_path / "none.yaml"))
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "none.yaml: the file of --policies can't be read: No such file" in ended.stderr


def test_sighup_reloads_the_file_and_a_broken_one_changes_nothing(
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
