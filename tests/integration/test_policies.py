"""Policies of functions in a configuration, carried out by the bundled job server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gearman_client import Client, JobException, JobFailed, ServerError, connect_admin

from ..server.server_process import ServerProcess
from .conftest import RunningManager, eventually

FLAKY = """
from gearman_manager import function


@function(retries=2)
def flaky(job):
    if job.attempt < int(job.workload):
        raise ValueError(f"attempt {job.attempt} is too early")
    return str(job.attempt)
"""


def test_the_retries_of_decorator_and_file_apply_to_a_function_that_raises(manager: RunningManager) -> None:
    manager.write_module("flaky.py", FLAKY)
    manager.start("functions: {flaky: {backoff: 50ms}}\n")
    with manager.client(timeout_s=30) as client:
        assert client.submit("flaky", "3") == b"3"
        with pytest.raises(JobException, match="attempt 3 is too early"):
            client.submit("flaky", "4")


def test_a_job_whose_result_can_not_be_sent_is_not_done_again(manager: RunningManager, tmp_path: Path) -> None:
    done = tmp_path / "done"
    manager.write_module(
        "mail.py",
        f"""
        def mail(job):
            with open({str(done)!r}, "a") as file:
                file.write("sent\\n")
            return {{"by": object()}}
        """,
    )
    manager.start("functions: {mail: {retries: 2, backoff: 50ms}}\n")
    with manager.client(timeout_s=30) as client, pytest.raises(JobException, match=r"\['by'\] is of type object"):
        client.submit("mail", b"")
    assert done.read_text() == "sent\n"


def test_a_job_that_runs_into_its_timeout_is_tried_again(manager: RunningManager) -> None:
    manager.write_module(
        "slow_once.py",
        """
        import time

        def slow_once(job):
            time.sleep(60 if job.attempt == 1 else 0)
            return str(job.attempt)
        """,
    )
    manager.start("functions: {slow_once: {timeout: 100ms, retries: 1, backoff: 50ms}}\n")
    with manager.client(timeout_s=30) as client:
        assert client.submit("slow_once", b"") == b"2"


def test_no_workers_are_started_for_jobs_above_max_running(napping: RunningManager) -> None:
    manager = napping.start(
        "pools: {nap: {functions: [nap], min: 1, max: 10, scale: {utilisation: 0.5}}}\n"
        "functions: {nap: {max_running: 2}}\n"
    )
    with manager.client(timeout_s=30) as client:
        for _ in range(15):
            client.submit_background("nap", "0.2")
        client.submit("nap", "0")
    assert len(manager.workers("nap")) == 2
    assert "→ 3 workers" not in manager.log()


def test_jobs_that_wait_for_their_rate_do_not_make_the_pool_grow(napping: RunningManager) -> None:
    manager = napping.start(
        "pools: {nap: {functions: [nap], min: 1, max: 10, scale: {backlog_per_worker: 1}}}\n"
        "functions: {nap: {rate: 2/s}}\n"
    )
    with manager.client(timeout_s=30) as client:
        for _ in range(5):
            client.submit_background("nap", "0")
        started = time.monotonic()
        client.submit("nap", "0")
    assert time.monotonic() - started > 1
    assert "→ 3 workers" not in manager.log()


def test_a_full_queue_refuses_a_job(napping: RunningManager) -> None:
    manager = napping.start("functions: {nap: {max_queue: 1}}\npools: {nap: {max: 1}}\n")
    with manager.client(timeout_s=30) as client, connect_admin(manager.address) as admin:
        client.submit_background("nap", "1")
        eventually(lambda: [row.running for row in admin.status()] == [1], "it runs")
        client.submit_background("nap", "1")
        with pytest.raises(ServerError, match="QUEUE_ERROR"):
            client.submit_background("nap", "1")


def test_a_function_can_ask_for_a_later_attempt_or_for_none(manager: RunningManager) -> None:
    manager.write_module(
        "picky.py",
        """
        from gearman_manager import Reject, Retry, function

        @function(retries=3)
        def picky(job):
            if job.workload == b"bad":
                raise Reject("nobody wants this")
            if job.attempt < 6:
                raise Retry("not yet", after="10ms")
            return str(job.attempt)
        """,
    )
    manager.start("functions: {picky: {backoff: 1h}}\n")
    with manager.client(timeout_s=30) as client:
        assert client.submit("picky", b"") == b"6"
        with pytest.raises(JobException, match="Reject: nobody wants this"):
            client.submit("picky", b"bad")
    assert "the job is to be tried again: not yet" in manager.log()


def test_on_a_foreign_job_server_check_and_status_name_the_keys_that_can_not_hold(
    napping: RunningManager, gearmand: str
) -> None:
    napping.write_module("later.py", "from gearman_manager import Retry\ndef later(job):\n    raise Retry('busy')\n")
    napping.config_file.write_text(
        f"run_dir: run\nservers: ['{gearmand}']\nfunctions: {{nap: {{max_running: 2, timeout: 1m}}}}\n"
    )
    sentence = "functions.nap.max_running: 2 can't hold: this job server is no gearman-server and has no policies"
    checked = napping.command("check")
    assert checked.stderr == f"{gearmand}: {sentence}\n"
    napping.launch()
    eventually(napping.settled, "it runs")
    eventually(lambda: napping.status()["servers"][gearmand]["notices"] == [sentence], "status says so too")
    assert sentence in napping.command("status").stdout
    assert f"job server {gearmand}: {sentence}" in napping.log()
    with Client([gearmand], timeout_s=20) as client, pytest.raises(JobFailed):
        client.submit("later", b"")
    untold = f"{gearmand} is no job server of ours and can't be told: the job has failed"
    eventually(lambda: untold in napping.log(), "its worker says so")


def test_a_job_server_that_comes_back_with_other_policies_is_asked_again_at_once(
    napping: RunningManager, tmp_path: Path
) -> None:
    """Without that, it would be asked a minute after the last time."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("functions: {nap: {retries: 3, keep_result: 1h}}\n")
    server = ServerProcess("--policies", str(rules))
    address, port = f"127.0.0.1:{server.port}", str(server.port)
    try:
        napping.config_file.write_text(
            f"run_dir: run\nservers: ['{address}']\nfunctions: {{nap: {{retries: 3, keep_result: 1h}}}}\n"
        )
        napping.launch()
        eventually(napping.settled, "it runs")
        assert napping.status()["servers"][address]["notices"] == []
        server.stop()
        eventually(lambda: not napping.status()["servers"][address]["up"], "its end is noticed")
        server = ServerProcess("-p", port)
        notices = eventually(lambda: napping.status()["servers"][address]["notices"], "the gaps are known")
        says = "does not hold: this job server's own policies say"
        assert notices == [f"functions.nap.keep_result: 1h {says} none", f"functions.nap.retries: 3 {says} 0"]
        assert f"job server {address}: {notices[0]}" in napping.log()
        server.stop()
        server = ServerProcess("-p", port, "--policies", str(rules))
        eventually(lambda: napping.status()["servers"][address]["notices"] == [], "they are gone")
        assert f"job server {address}: all of the functions' keys hold there again" in napping.log()
    finally:
        server.stop()


def test_check_reports_a_server_that_can_not_be_asked(napping: RunningManager) -> None:
    napping.config_file.write_text("servers: ['127.0.0.1:1']\nfunctions: {nap: {rate: 1/s}}\n")
    checked = napping.command("check")
    assert "127.0.0.1:1: can't be asked, so whether the functions' keys hold there is open: " in checked.stderr


def test_a_failure_without_a_text_is_reported_by_its_type_alone(manager: RunningManager) -> None:
    manager.write_module("later.py", "from gearman_manager import Retry\ndef later(job): raise Retry(attempts=1)\n")
    manager.start("")
    with manager.client(timeout_s=30) as client, pytest.raises(JobException) as failed:
        client.submit("later", b"")
    assert failed.value.data.splitlines()[0] == b"Retry"
