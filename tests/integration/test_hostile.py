"""Hostile or unlucky jobs, and a hostile system: the manager goes on, reports the problem, leaves nothing behind."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import nullcontext

import psutil
import pytest

from gearman_client import JobFailed
from gearman_manager.command.control_client import request

from . import neighbour
from .conftest import RunningManager, alive, eventually
from .observing import (
    NAPPING,
    SERVER,
    STOPS_WITHIN_S,
    WITHIN_S,
    WORKER,
    ZYGOTE,
    end_without_a_trace,
    launch,
    pids,
    replaced,
    titled,
)

# --- jobs


@pytest.mark.parametrize("output", ["None", "subprocess.DEVNULL"], ids=["into the log", "silently"])
def test_a_flood_of_output_that_outlives_its_worker_disturbs_no_other_worker_and_ends_with_the_manager(
    manager: RunningManager, output: str
) -> None:
    manager.write_module(
        "flood.py",
        f"""
        import subprocess
        import time
        from pathlib import Path

        def flood(job):
            flooding = subprocess.Popen(["yes"], start_new_session=True, env={{}}, stdout={output})
            Path(job.workload.decode()).write_text(f"{{flooding.pid}}\\n")
            time.sleep(600)
        """,
    )
    manager.start("functions: {flood: {crash_retries: 0}}\npools: {flood: {min: 1, max: 1, functions: [flood]}}\n")
    pid_file = manager.folder / "yes.pid"
    with manager.client() as client:
        client.submit_background("flood", str(pid_file))
    eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "`yes` runs")
    flooding = psutil.Process(int(pid_file.read_text()))
    try:
        (victim,) = titled(manager, WORKER)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: manager.settled() and titled(manager, WORKER) != [victim], "a replacement serves", WITHIN_S)
        end_without_a_trace(manager, flooding.pid)
    finally:
        if flooding.is_running():
            flooding.kill()


@pytest.mark.parametrize("mark", ["", "\\x1e"], ids=["as text", "as a record"])
def test_hostile_output_is_logged_as_plain_text(manager: RunningManager, mark: str) -> None:
    manager.write_module(
        "deep.py",
        f"""
        import os
        import signal

        def deep(job):
            os.write(1, b'{mark}' + b'{{"a":' * 8000)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    manager.start("functions: {deep: {crash_retries: 0}}\n")
    with manager.client(timeout_s=WITHIN_S) as client, pytest.raises(JobFailed):
        client.submit("deep", b"")
    eventually(lambda: '{"a":{"a":' in manager.log(), "it is in the log", WITHIN_S)
    eventually(manager.settled, "a replacement serves", WITHIN_S)
    end_without_a_trace(manager)


# --- system and operator


def test_a_zygote_that_hangs_does_not_delay_the_second_request_to_stop(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 2, max: 2}}\n")
    pids = manager.family()
    (zygote,) = titled(manager, ZYGOTE)
    os.kill(zygote, signal.SIGSTOP)
    os.kill(titled(manager, WORKER)[0], signal.SIGKILL)
    eventually(
        lambda: None in [worker["pid"] for worker in manager.workers("nap")], "a replacement is ordered", WITHIN_S
    )
    assert manager.process is not None
    manager.process.send_signal(signal.SIGTERM)
    eventually(lambda: ": stopping" in manager.log(), "it stops", WITHIN_S)
    assert manager.stop(within_s=STOPS_WITHIN_S) == 0
    eventually(lambda: not any(alive(pid) for pid in pids), "no process is left", WITHIN_S)
    assert "Traceback" not in manager.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_never_ends_does_not_delay_a_stop(manager: RunningManager, number: signal.Signals) -> None:
    started = manager.folder / "importing"
    manager.write_module("endless.py", f"import time\nopen({str(started)!r}, 'w').close()\ntime.sleep(45)\n")
    launch(manager, "run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    eventually(started.exists, "the import has begun", WITHIN_S)
    pids = manager.family()
    assert manager.stop(number, within_s=STOPS_WITHIN_S) == 0
    eventually(lambda: not any(alive(pid) for pid in pids), "no process is left", WITHIN_S)
    assert "Traceback" not in manager.log()


#: The title of the processes that are killed, and how many descriptors are left then, one case after the other. The job
#: server has two managers, because each of its ends doubles the wait before its next start.
SHORTAGES = [(NAPPING, (-100, 0, 1, 2)), (ZYGOTE, (-100, 0, 1, 2)), (SERVER, (-100, 0)), (SERVER, (1, 2))]


@pytest.mark.parametrize(("victim", "spares"), SHORTAGES, ids=["worker", "zygote", "server", "server again"])
def test_the_manager_waits_while_it_has_no_file_descriptors_and_recovers_afterwards(
    napping: RunningManager, victim: str, spares: tuple[int, ...]
) -> None:
    napping.write_module("neighbour.py", neighbour.MODULE)
    manager = napping.start("pools: {nap: {functions: [nap], min: 2, max: 2}}\n")
    assert manager.process is not None
    supervisor = psutil.Process(manager.process.pid)
    earlier = pids(manager, "nap")
    # From now on the history of actions stays open.
    request(manager.folder / "run" / "control.sock", "POST", "/restart")
    replaced(manager, earlier, "nap")
    eventually(lambda: request(manager.folder / "run" / "control.sock", "GET", "/actions")["actions"], "it is written")
    # A control connection, or an exit status that is waited for, takes one for a moment.
    descriptors = min(supervisor.num_fds() for _ in range(100))
    for spare in spares:
        exhaust_descriptors(manager, supervisor, descriptors, victim, spare)
    end_without_a_trace(manager)


def exhaust_descriptors(
    manager: RunningManager, supervisor: psutil.Process, descriptors: int, victim: str, spare: int
) -> None:
    """Kill a process while the supervisor has no descriptors left, and check that it comes back when there are some."""
    earlier = pids(manager, "nap")
    request(manager.folder / "run" / "control.sock", "POST", "/restart")  # forgets the kills of the case before
    replaced(manager, earlier, "nap")
    eventually(lambda: supervisor.num_fds() <= descriptors, "nothing is left of those", WITHIN_S)
    killed, logged = titled(manager, victim), len(manager.log())
    with nullcontext() if victim == SERVER else neighbour.undisturbed(manager):
        soft, hard = resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (max(descriptors + spare, 3), hard))
        os.kill(killed[0], signal.SIGKILL)
        eventually(
            lambda: "oo many open files" in manager.log()[logged:] or set(titled(manager, victim)) - set(killed),
            "it met the limit, or came through below it",
            WITHIN_S,
        )
        resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (soft, hard))
        eventually(lambda: len(titled(manager, victim)) == len(killed), "there are as many as before", WITHIN_S)
        # A replacement works only if the process that starts it is in order itself.
        napping = titled(manager, NAPPING)
        os.kill(napping[0], signal.SIGKILL)
        eventually(
            lambda: napping[0] not in titled(manager, NAPPING) and manager.settled(), "two workers serve", WITHIN_S
        )
    eventually(lambda: supervisor.num_fds() <= descriptors, "no descriptor was lost", WITHIN_S)


def test_replaced_workers_leave_no_descriptors_behind(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1, max_jobs: 1}}\n")
    assert manager.process is not None
    supervisor = psutil.Process(manager.process.pid)
    before = supervisor.num_fds()
    with manager.client(timeout_s=WITHIN_S) as client:
        assert len({client.submit("nap", "0") for _ in range(40)}) == 40
    eventually(lambda: manager.settled() and supervisor.num_fds() <= before, "as few as before", WITHIN_S)


@pytest.mark.parametrize("moment", ["stopping", "stopped"])
def test_a_second_interrupt_at_the_very_end_still_gives_a_clean_end(manager: RunningManager, moment: str) -> None:
    for _ in range(5):
        launch(manager)
        assert manager.process is not None
        eventually(lambda: ": generation 1: " in manager.log(), "it runs", WITHIN_S)
        manager.process.send_signal(signal.SIGINT)
        eventually(lambda: f": {moment}" in manager.log(), f"it says {moment}", WITHIN_S)
        assert manager.stop(signal.SIGINT, within_s=STOPS_WITHIN_S) == 0, manager.log()
        assert "Traceback" not in manager.log()


def test_many_interrupts_give_one_clean_end(manager: RunningManager) -> None:
    launch(manager)
    assert manager.process is not None
    eventually(lambda: ": generation 1: " in manager.log(), "it runs", WITHIN_S)
    deadline = time.monotonic() + WITHIN_S
    while manager.process.poll() is None and time.monotonic() < deadline:
        manager.process.send_signal(signal.SIGINT)
    assert manager.process.returncode == 0, manager.log()
    assert "Traceback" not in manager.log()
