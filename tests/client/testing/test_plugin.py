"""The fixtures as users have them: test suites of their own, run by pytest in a process of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 100.0
Suite = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_suite(tmp_path: Path) -> Suite:
    """Writes files into an empty folder, and runs pytest there: run_suite({"test_a.py": text}, "-k", "x")."""

    def run(files: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        for name, text in {"pytest.ini": "[pytest]\n", **files}.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(textwrap.dedent(text))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    return run


SHOP = """
from gearman_client import Client

client = Client("jobs.example.invalid:4730", timeout_s=5)


def order(address):
    client.submit_background("send_email", json={"to": address}, unique=address)
    return client.submit("price", "apple")
"""


def test_a_suite_uses_the_eager_server(run_suite: Suite) -> None:
    outcome = run_suite(
        {
            "shop.py": SHOP,
            "test_shop.py": """
            import shop


            def test_an_order_sends_a_mail(gearman_eager):
                gearman_eager.register("price", lambda job: b"3")
                assert shop.order("a@example.com") == b"3"
                (mail,) = gearman_eager.submitted("send_email")
                assert mail.json() == {"to": "a@example.com"}


            def test_each_test_has_a_server_of_its_own(gearman_eager):
                assert gearman_eager.jobs == []


            def test_a_mail_is_tried_again(gearman_eager):
                @gearman_eager.register("send_email", retries=2)
                def send_email(job):
                    if job.attempt < 3:
                        raise OSError("no route")

                gearman_eager.register("price", lambda job: b"3")
                shop.order("b@example.com")
                (mail,) = gearman_eager.run_all()
                assert (mail.state, mail.attempts) == ("complete", 3)


            def test_that_fails_and_shows_the_functions_traceback(gearman_eager):
                gearman_eager.register("price", lambda job: 1 / 0)
                assert shop.order("c@example.com") == b"3"
            """,
        }
    )
    assert "3 passed" in outcome.stdout
    assert "1 failed" in outcome.stdout
    assert "ZeroDivisionError: division by zero" in outcome.stdout
    assert "Captured log call" in outcome.stdout


def test_pytest_loads_nothing_heavy_for_a_suite_without_the_fixtures(run_suite: Suite) -> None:
    outcome = run_suite(
        {
            "test_none.py": """
            import sys

            def test_modules():
                assert "gearman_client.testing.plugin" in sys.modules
                assert "gearman_client.testing.eager_server" not in sys.modules
                assert "gearman_manager" not in sys.modules
            """
        }
    )
    assert outcome.returncode == 0, outcome.stdout


def test_the_fixtures_are_listed_with_their_explanation(run_suite: Suite) -> None:
    listed = run_suite({"test_none.py": ""}, "--fixtures").stdout
    assert "gearman_eager" in listed
    assert "every client of the test submits its jobs to it" in listed


def test_a_timeout_of_pytest_goes_on_after_one_of_a_function(run_suite: Suite) -> None:
    outcome = run_suite(
        {
            "test_time.py": """
            import threading
            import pytest
            from gearman_client import Client, JobException


            @pytest.mark.timeout(2, method="signal")
            def test_both(gearman_eager):
                gearman_eager.register("endless", lambda job: threading.Event().wait(), timeout="20ms")
                with pytest.raises(JobException, match="JobTimeout"):
                    Client("x").submit("endless", b"")
                threading.Event().wait()
            """
        }
    )
    assert "Timeout (>2.0s) from pytest-timeout" in outcome.stdout


WORKER = """
import os

from gearman_manager import function


@function(keep_result="1h")
def append(job):
    name, text = job.json()
    with open(name, "a") as file:
        file.write(text)
    return str(os.getpid())
"""
REAL_SUITE = """
import os
from gearman_client import Client


def test_a_job_runs_in_a_worker(gearman_real, tmp_path):
    file = str(tmp_path / "file")
    with Client(timeout_s=30) as client:
        pid = client.submit("append", json=[file, "a"])
        client.submit_background("append", json=[file, "b"])
        gearman_real.wait_until_idle()
        assert open(file).read() == "ab"
    assert pid != os.getpid()


def test_the_session_has_one_server(gearman_real, tmp_path):
    with gearman_real.client(timeout_s=30) as client:
        handle = client.submit_background("append", json=[str(tmp_path / "file"), "c"])
        assert client.result(handle).isdigit()
    print("PID", os.getpid(), "LOG", gearman_real._folder)
"""


def test_a_suite_uses_a_real_server_with_its_worker_modules(run_suite: Suite) -> None:
    outcome = run_suite(
        {
            "pytest.ini": "[pytest]\ngearman_workers = workers\n",
            "workers/append.py": WORKER,
            "test_real.py": REAL_SUITE,
        },
        "-s",
    )
    assert "2 passed" in outcome.stdout, outcome.stdout
    folder = Path(outcome.stdout.partition("LOG ")[2].split()[0])
    assert folder.name.startswith("gearman-")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "set `gearman_workers = FOLDER` in pytest's configuration"),
        (
            {
                "conftest.py": """
                import sys
                sys.modules["gearman_manager"] = None
                """,
                "pytest.ini": "[pytest]\ngearman_workers = workers\n",
            },
            "needs gearman-manager, which is not installed in this environment: pip install gearman-manager",
        ),
        (
            {"pytest.ini": "[pytest]\ngearman_workers = workers\n", "workers/broken.py": "import no_such_module\n"},
            "broken.py:1",
        ),
        (
            {
                "conftest.py": """
                import pytest
                @pytest.fixture(scope="session")
                def gearman_real_config():
                    return {"workers_dir": "workers", "pols": {}}
                """,
                "workers/append.py": WORKER,
            },
            "pols",
        ),
    ],
)
def test_a_real_server_that_can_not_be_started_says_why(run_suite: Suite, files: dict[str, str], text: str) -> None:
    suite = {"test_real.py": "def test_it(gearman_real):\n    pass\n"}
    outcome = run_suite({**suite, **files})
    assert "1 error" in outcome.stdout
    assert text in outcome.stdout, outcome.stdout
    assert "Traceback" not in outcome.stdout
    assert "During handling" not in outcome.stdout


def test_a_session_that_is_killed_leaves_no_manager(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers/nap.py").write_text("def nap(job):\n    return b''\n")
    program = (
        "import signal\nfrom gearman_client.testing import RealServer\n"
        "server = RealServer({'workers_dir': 'workers'})\nserver.start()\n"
        "print(server._keeper.pid, server._folder, flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().split()
        keeper = os.pidfd_open(int(pid))
        session.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        assert select.select([keeper], [], [], deadline - time.monotonic())[0]
        os.close(keeper)
    assert not (Path(folder) / "run/control.sock").exists()  # it has stopped in order
    shutil.rmtree(folder)
