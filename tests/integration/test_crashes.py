"""kill -9 on every kind of process at the worst moment: the job is done nevertheless, and every process comes back."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import threading
import time
from textwrap import dedent
from typing import Any

import psutil
import pytest

from gearman_client import GearmanError, JobFailed

from .conftest import RunningManager, alive, eventually

POOL = "pools: {nap: {functions: [nap], min: 4, max: 4}}\n"


class Submitted:
    """A foreground job in a thread of its own."""

    def __init__(self, manager: RunningManager, seconds: float) -> None:
        self.answer: bytes | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(manager, seconds))
        self._thread.start()

    def _run(self, manager: RunningManager, seconds: float) -> None:
        try:
            with manager.client() as client:
                self.answer = client.submit("nap", str(seconds))
        except GearmanError as error:
            self.error = error

    def result(self) -> bytes | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.answer


def busy_worker(manager: RunningManager) -> dict[str, Any]:
    busy = eventually(lambda: [w for w in manager.workers("nap") if w["jobs"]], "a worker has the job")
    worker: dict[str, Any] = busy[0]
    return worker


def test_a_job_whose_worker_was_killed_is_run_by_another_and_the_worker_replaced(napping: RunningManager) -> None:
    manager = napping.start(POOL)
    job = Submitted(manager, 0.5)
    victim = busy_worker(manager)
    os.kill(victim["pid"], signal.SIGKILL)
    assert job.result() not in (None, str(victim["pid"]).encode())
    eventually(manager.settled, "a replacement registered")
    assert victim["pid"] not in [worker["pid"] for worker in manager.workers("nap")]
    status = manager.status()
    assert f"{victim['name']} pid {victim['pid']}: killed by SIGKILL" in status["pools"]["nap"]["last_error"]
    assert victim["jobs"][0]["handle"] in manager.log()


def test_a_killed_worker_is_replaced_at_once(napping: RunningManager) -> None:
    """The goal is a median of 50 ms from kill to registration; the test allows ten times that for a busy machine."""
    manager = napping.start(POOL)
    host, _, port = manager.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as admin:
        delays = [_replacement_delay_s(manager, admin) for _ in range(5)]
    assert statistics.median(delays) < 0.5, delays


def _replacement_delay_s(manager: RunningManager, admin: socket.socket) -> float:
    victim = manager.workers("nap")[0]
    before = _client_ids(admin)
    killed_at = time.monotonic()
    os.kill(victim["pid"], signal.SIGKILL)
    eventually(lambda: _client_ids(admin) - before, "a new worker is known to the server")
    return time.monotonic() - killed_at


def _client_ids(admin: socket.socket) -> set[bytes]:
    """The client ids of the workers that have registered the function."""
    admin.sendall(b"workers\n")
    answer = b""
    while not answer.endswith(b"\n.\n"):
        answer += admin.recv(65536)
    return {line.split()[2] for line in answer.splitlines() if line.endswith(b" : nap")}


def test_workers_outlive_a_killed_zygote_and_a_new_zygote_takes_over(napping: RunningManager) -> None:
    manager = napping.start(POOL)
    before = {worker["pid"] for worker in manager.workers("nap")}
    job = Submitted(manager, 1.0)
    busy = busy_worker(manager)
    zygote = manager.pid_of("gearman-manager: zygote")
    os.kill(zygote, signal.SIGKILL)
    assert job.result() == str(busy["pid"]).encode()
    assert {worker["pid"] for worker in manager.workers("nap")} == before
    eventually(lambda: "takes over generation 1" in manager.log(), "a new zygote")
    os.kill(busy["pid"], signal.SIGKILL)
    eventually(lambda: busy["pid"] not in {w["pid"] for w in manager.workers("nap")}, "the death is noticed")
    eventually(manager.settled, "the new zygote forks a replacement")
    assert "killed by SIGKILL" in manager.status()["pools"]["nap"]["last_error"]


def test_a_killed_job_server_comes_back_on_its_port_and_the_workers_reconnect(napping: RunningManager) -> None:
    manager = napping.start(POOL)
    before = {worker["pid"] for worker in manager.workers("nap")}
    os.kill(manager.pid_of("gearman-server: "), signal.SIGKILL)
    eventually(lambda: "starting it again" in manager.log(), "the death is noticed")

    def answered() -> bytes | None:
        try:
            with manager.client(timeout_s=5) as client:
                return client.submit("nap", "0")
        except GearmanError:
            return None

    assert int(eventually(answered, "a job is answered again")) in before
    assert {worker["pid"] for worker in manager.workers("nap")} == before


def test_when_the_supervisor_is_killed_jobs_finish_no_process_stays_and_the_port_is_free(
    napping: RunningManager,
) -> None:
    manager = napping.start(POOL)
    host, _, port = manager.address.rpartition(":")
    job = Submitted(manager, 1.0)
    worker = busy_worker(manager)
    family = manager.family()
    assert manager.process is not None
    manager.process.kill()
    manager.process.wait()
    eventually(lambda: _can_bind(host, int(port)), "the port is free while the job still runs", within_s=2)
    assert alive(worker["pid"])
    assert job.result() == str(worker["pid"]).encode()
    eventually(lambda: not any(alive(pid) for pid in family), "no process is left")


def _can_bind(host: str, port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            sock.listen()
        except OSError:
            return False
        return True


HANGS = {
    "an import": "import time\nopen({file!r}, 'w').close()\ntime.sleep(60)\n\ndef stuck(job): ...\n",
    "a busy import": "open({file!r}, 'w').close()\nwhile True: pass\n\ndef stuck(job): ...\n",
    "a worker's setup": """
        import time

        class stuck:
            def setup(self, settings):
                open({file!r}, 'w').close()
                time.sleep(60)
            def run(self, job): ...
        """,
}


@pytest.mark.parametrize("where", HANGS)
def test_user_code_that_never_returns_does_not_outlive_a_killed_supervisor(manager: RunningManager, where: str) -> None:
    begun = manager.folder / "begun"
    manager.write_module("stuck.py", dedent(HANGS[where]).format(file=str(begun)))
    manager.config_file.write_text("run_dir: run\nservers: ['127.0.0.1:1']\n")
    manager.launch()
    eventually(begun.exists, "it has begun")
    family = manager.family()
    assert manager.process is not None
    manager.process.kill()
    manager.process.wait()
    eventually(lambda: not any(alive(pid) for pid in family), "no process is left", within_s=5)


def test_a_worker_of_which_the_killed_supervisor_had_not_heard_does_not_outlive_it_either(
    manager: RunningManager,
) -> None:
    begun = manager.folder / "begun"
    manager.write_module(
        "stuck.py",
        f"""
        import os, time

        class stuck:
            def setup(self, settings):
                if os.path.exists({str(manager.folder / "hangs")!r}):
                    with open({str(begun)!r}, "w") as file:
                        file.write(str(os.getpid()))
                    time.sleep(60)
            def run(self, job): ...
        """,
    )
    manager.start("")
    assert manager.process is not None
    (manager.folder / "hangs").touch()
    zygote = manager.pid_of("gearman-manager: zygote")
    os.kill(zygote, signal.SIGSTOP)
    (worker,) = manager.workers("stuck")
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: [w["state"] for w in manager.workers("stuck")] == ["ordered"], "a worker is ordered")
    os.kill(manager.process.pid, signal.SIGSTOP)
    os.kill(zygote, signal.SIGCONT)
    eventually(lambda: begun.exists() and begun.read_text(), "the worker has begun")
    pid = int(begun.read_text())
    manager.process.kill()
    manager.process.wait()
    eventually(lambda: not alive(pid) and not alive(zygote), "no process is left")


def test_a_pool_that_keeps_crashing_is_retried_ever_more_slowly_and_its_neighbour_serves(
    napping: RunningManager,
) -> None:
    napping.write_module(
        "doomed.py",
        """
        class doomed:
            def setup(self, settings):
                raise RuntimeError("no database at all")
            def run(self, job):
                pass
        """,
    )
    manager = napping
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    manager.launch()
    pool = eventually(
        lambda: (report := manager.try_status()) and report["pools"]["doomed"]["failing"] and report["pools"]["doomed"],
        "the pool is marked as failing",
    )
    eventually(lambda: "replaced in " in manager.log(), "a replacement has to wait")
    assert "no database at all" in pool["last_error"]
    (manager.address,) = manager.status()["servers"]
    with manager.client(timeout_s=10) as client:
        assert client.submit("nap", "0")


@pytest.mark.parametrize(("functions", "attempts"), [("", 4), ("functions: {poison: {crash_retries: 1}}\n", 2)])
def test_a_job_that_kills_its_worker_fails_after_its_crash_retries(
    manager: RunningManager, functions: str, attempts: int
) -> None:
    manager.write_module(
        "poison.py",
        """
        import os
        import signal

        def poison(job):
            print(f"attempt {job.attempt}")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    manager.start(f"pools: {{poison: {{functions: [poison], min: 2, max: 2}}}}\n{functions}")
    with manager.client(timeout_s=30) as client, pytest.raises(JobFailed):
        client.submit("poison", b"")

    def made() -> list[str]:
        return sorted(line.rpartition(": attempt ")[2] for line in manager.log().splitlines() if ": attempt " in line)

    eventually(lambda: len(made()) >= attempts, "what the last worker printed is in the log")
    assert made() == [str(number + 1) for number in range(attempts)]

    def ends() -> list[str]:
        return [line for line in manager.log().splitlines() if "failed for good" in line]

    eventually(ends, "the log says that it failed for good")
    (line,) = ends()
    assert " ERROR " in line
    assert " poison H:" in line
    assert f"attempts: {attempts}; its worker's connection ended" in line


STARTS = {
    "a child": 'subprocess.Popen(["sleep", "600"]).pid',
    "one in its own session": 'subprocess.Popen(["sleep", "600"], start_new_session=True).pid',
    "a daemon with a child": 'subprocess.check_output(["setsid", "--fork", "sh", "-c", DAEMON])',
}


@pytest.mark.parametrize("what", STARTS)
def test_processes_started_by_a_killed_worker_are_gone_too(manager: RunningManager, what: str) -> None:
    manager.write_module(
        "child.py",
        f"""
        import subprocess
        import time

        DAEMON = "sleep 600 >/dev/null 2>&1 & echo $$; exec sleep 600 >/dev/null 2>&1"

        def child(job):
            pid = {STARTS[what]}
            job.data(b"%d" % int(pid))
            time.sleep(600)
        """,
    )
    manager.start("functions: {child: {crash_retries: 0}}\n")
    pids: list[int] = []
    with manager.client() as client:
        thread = threading.Thread(target=_submit_quietly, args=(client, pids))
        thread.daemon = True
        thread.start()
        eventually(lambda: pids, "the child's pid")
        below = [child.pid for child in psutil.Process(pids[0]).children()]
        os.kill(manager.workers("child")[0]["pid"], signal.SIGKILL)
        eventually(
            lambda: not any(alive(pid) for pid in [*pids, *below]), "the worker's child is gone, and its children"
        )


def _submit_quietly(client: Any, pids: list[int]) -> None:
    with pytest.raises(GearmanError):
        client.submit("child", b"", on_data=lambda data: pids.append(int(data)))
