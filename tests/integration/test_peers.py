"""Debian's Gearman: its tools with our job server, and its job server in place of ours.

A test compares the whole output of a peer, standard error included, so that any message fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from signal import SIGTERM

import pytest

from gearman_client import JobFailed, Timeout

from ..gearmand import Gearmand, running_gearmand
from .conftest import GATE, SAMPLE_WORKERS, RunningManager, eventually, port_of
from .peers.programs import DEADLINE_S, LANGUAGES, Command, ended, installed, run, running
from .peers.transcripts import BINARY, CANNOT, NOT_UTF8, TRANSCRIPTS

SAMPLE_FUNCTIONS = (
    "fetch_url",
    "newsletter",
    "reverse",
    "send_email",
    "slow_reverse",
    "text_totals",
    "thumbnail",
    "word_count",
)
GEARMAN, GEARADMIN = "/usr/bin/gearman", "/usr/bin/gearadmin"


def tool(program: str, manager: RunningManager, *arguments: str) -> Command:
    """One of Debian's tools, with the address of the job server."""
    package = "gearman-tools"
    return [installed(program, package), "-h", "127.0.0.1", "-p", port_of(manager), *arguments]


# --- Debian's tools


def test_gearman_prints_the_result(samples: RunningManager) -> None:
    assert run(tool(GEARMAN, samples, "-f", "reverse", "Rasmus")) == (0, "sumsaR", "")


def test_gearman_sends_its_standard_input(samples: RunningManager) -> None:
    expected = '{"lines": 2, "words": 3, "characters": 14}'
    assert run(tool(GEARMAN, samples, "-f", "word_count"), "one two\nthree\n") == (0, expected, "")


def test_gearman_shows_the_progress_while_it_waits(samples: RunningManager) -> None:
    # In lines, as on a terminal: in a pipe the tool would write the progress after the result.
    lines = [installed("stdbuf", "coreutils"), "-oL", *tool(GEARMAN, samples, "-f", "slow_reverse", "Rasmus")]
    progress = "".join(f"{percent}% Complete\n" for percent in range(10, 101, 10))
    assert run(lines) == (0, f"{progress}sumsaR", "")


def test_gearman_reports_a_failure(samples: RunningManager) -> None:
    assert run(tool(GEARMAN, samples, "-f", "word_count"), b"\xff") == (1, "", "Job failed\n")


def test_gearman_runs_jobs_of_several_functions_at_once(samples: RunningManager) -> None:
    command = tool(GEARMAN, samples, "-P", "-f", "reverse", "-f", "word_count", "a b")
    code, output, errors = run(command)
    assert (code, errors) == (0, "")
    answers = ("reverse: b a", 'word_count: {"lines": 1, "words": 2, "characters": 3}')
    assert output in ("".join(answers), "".join(reversed(answers)))


def test_gearman_submits_a_background_job_and_ends(samples: RunningManager, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code, output, errors = run(tool(GEARMAN, samples, "-v", "-b", "-f", "gate", str(gate)))
    assert (code, errors) == (0, "")
    created = re.fullmatch(r"Task created: (H:.+:[0-9]+)\n", output)
    assert created, output
    with samples.client() as client:
        eventually(lambda: client.status(created[1]).numerator == 3, "the job runs")
        gate.touch()
        eventually(lambda: not client.status(created[1]).known, "the job has ended")


def test_gearman_as_a_worker_serves_our_client(samples: RunningManager) -> None:
    # Runs cat, unless the workload asks for a failure.
    program = ["sh", "-c", 'text=$(cat); printf %s "$text"; [ "$text" != bad ]']
    with running(tool(GEARMAN, samples, "-w", "-f", "debian_cat", "--", *program)) as worker:
        pieces: list[bytes] = []
        with samples.client(timeout_s=DEADLINE_S) as client:
            assert client.submit("debian_cat", "good") == b"good"
            with pytest.raises(JobFailed):
                client.submit("debian_cat", "bad", on_data=pieces.append)
            assert client.submit("debian_cat", "good again") == b"good again"
        assert pieces == [b"bad"]
        worker.terminate()
        # The tool prints this for every failed job, with gearmand too.
        assert ended(worker) == (-SIGTERM, "", "gearman: gearman_worker_work : GEARMAN_UNKNOWN_STATE\n")


def test_gearadmin_lists_the_functions(samples: RunningManager) -> None:
    code, output, errors = run(tool(GEARADMIN, samples, "--status"))
    assert (code, errors) == (0, "")
    *lines, dot = output.splitlines()
    assert dot == "."
    assert all(re.fullmatch(r"\w+\t\d+\t\d+\t\d+", line) for line in lines), output
    for function in SAMPLE_FUNCTIONS:
        assert any(re.fullmatch(rf"{function}\t0\t0\t[1-9]", line) for line in lines), output


def test_gearadmin_lists_the_workers_by_manager_pool_and_number(samples: RunningManager) -> None:
    code, output, errors = run(tool(GEARADMIN, samples, "--workers"))
    assert (code, errors) == (0, "")
    *lines, dot = output.splitlines()
    assert dot == "."
    matches = [re.fullmatch(r"\d+ 127\.0\.0\.1 gm:([^/ ]+)/(\w+)/\d+ : (\w+)", line) for line in lines]
    workers = [match.groups() for match in matches if match]
    (name,) = {manager for manager, _pool, _function in workers}
    assert {(pool, function) for _manager, pool, function in workers} == {
        (function, function) for function in (*SAMPLE_FUNCTIONS, "gate")
    }
    others = {line.partition(" 127.0.0.1 ")[2] for line, match in zip(lines, matches, strict=True) if not match}
    assert others == {"- :", f"gm:{name} :"}, output


# --- Debian's job server instead of ours


@pytest.fixture
def gearmand(tmp_path: Path) -> Iterator[Gearmand]:
    """Debian's job server."""
    with running_gearmand(tmp_path) as server:
        yield server


@pytest.fixture
def guest(manager: RunningManager, gearmand: Gearmand) -> RunningManager:
    """A manager with one worker for each function, all of them connected to Debian's job server."""
    manager.write_module("gate.py", GATE)
    manager.config_file.write_text(
        f"run_dir: run\nservers: ['{gearmand.address}']\n"
        f"workers_dir: [{SAMPLE_WORKERS}, workers]\ndefaults: {{min: 1, max: 1}}\n"
    )
    manager.launch()
    eventually(manager.settled, "all workers registered at gearmand")
    manager.address = str(gearmand.address)
    return manager


def workers_by_function(manager: RunningManager) -> Mapping[str, int]:
    """gearadmin's worker counts of the functions that have workers."""
    code, output, errors = run(tool(GEARADMIN, manager, "--status"))
    assert (code, errors) == (0, "")
    columns = [line.split("\t") for line in output.splitlines() if line != "."]
    return {function: int(workers) for function, _total, _running, workers in columns if workers != "0"}


ALL_REGISTERED = dict.fromkeys((*SAMPLE_FUNCTIONS, "gate"), 1)


def test_our_workers_answer_jobs_of_gearmand(guest: RunningManager, gearmand: Gearmand) -> None:
    assert workers_by_function(guest) == ALL_REGISTERED
    assert run(tool(GEARMAN, guest, "-f", "reverse", "Rasmus")) == (0, "sumsaR", "")
    with guest.client(timeout_s=DEADLINE_S) as client:
        assert client.submit("reverse", BINARY) == BINARY[::-1]
    # A manager without a job server of its own must end none.
    assert guest.stop() == 0
    assert run(tool(GEARADMIN, guest, "--getpid")) == (0, f"{gearmand.pid}\n", "")


def test_the_client_of_a_failed_job_is_not_left_waiting_by_gearmand(
    guest: RunningManager, peer: Callable[[str, str], Command]
) -> None:
    expected = (1, "", f"ValueError: {NOT_UTF8}Job failed\n")
    assert run(tool(GEARMAN, guest, "-f", "word_count"), b"\xff") == expected
    for language in LANGUAGES:
        if (language, "failure") not in CANNOT:
            assert run([*peer(language, "client"), port_of(guest), "failure"]) == (0, TRANSCRIPTS["failure"], "")
    with guest.client(timeout_s=DEADLINE_S) as client, pytest.raises(JobFailed):
        client.submit("word_count", b"\xff")


def test_our_workers_survive_a_restart_of_gearmand_and_register_again(
    guest: RunningManager, gearmand: Gearmand
) -> None:
    before = guest.workers("reverse")
    for _ in range(2):
        gearmand.kill()
        gearmand.start()
        eventually(lambda: workers_by_function(guest) == ALL_REGISTERED, "all workers registered again")
        assert run(tool(GEARMAN, guest, "-f", "reverse", "Rasmus")) == (0, "sumsaR", "")
    (after,) = guest.workers("reverse")
    assert [(after["name"], after["pid"])] == [(worker["name"], worker["pid"]) for worker in before]
    assert after["done"] == 2


def test_a_worker_whose_gearmand_died_during_its_job_serves_the_next_one(
    guest: RunningManager, gearmand: Gearmand, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with guest.client() as client:
        handle = client.submit_background("gate", str(gate))
        eventually(lambda: client.status(handle).running, "the job runs")
    (worker,) = guest.workers("gate")
    gearmand.kill()
    gearmand.start()
    with guest.client() as client:
        # The restarted server knows the function by this job alone, and the worker is still busy with the lost one.
        with pytest.raises(Timeout):
            client.submit("gate", str(gate), timeout_s=0.2)
        gate.touch()
        assert client.submit("gate", str(gate), timeout_s=DEADLINE_S) == str(worker["pid"]).encode()
