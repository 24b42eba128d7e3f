"""Modules that do not survive a fork, or that must not be shared: each worker imports them after the fork."""

from __future__ import annotations

import pytest

from .conftest import RunningManager, eventually

PLAIN = "import os\nIMPORTED_IN = os.getpid()\ndef plain(job): return f'{IMPORTED_IN} {os.getpid()}'\n"


def where(manager: RunningManager, function: str) -> tuple[int, int]:
    """The pid that imported the module, and the pid that ran the job."""
    with manager.client(timeout_s=20) as client:
        imported, ran = client.submit(function, b"").split()
    return int(imported), int(ran)


@pytest.mark.parametrize(
    ("trace", "kind"),
    [
        (
            "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
            "a running thread",
        ),
        ("import socket\nkept = socket.socket()\n", "an open socket"),
        ("import select\nkept = select.epoll()\n", "an event loop"),
    ],
)
def test_a_module_that_starts_threads_or_opens_descriptors_is_imported_in_each_worker(
    manager: RunningManager, trace: str, kind: str
) -> None:
    tainted = trace + PLAIN.replace("plain", "tainted")
    file = manager.write_module("tainted.py", tainted)
    manager.write_module("plain.py", PLAIN)
    manager.start("")
    imported, ran = where(manager, "tainted")
    assert imported == ran
    zygote = manager.pid_of("gearman-manager: zygote")
    assert where(manager, "plain")[0] == zygote
    assert f"{file} leaves {kind} behind" in manager.log()
    with open(f"/proc/{zygote}/status") as status:
        assert "Threads:\t1\n" in status.read()


def test_a_pool_with_preload_false_imports_after_the_fork(manager: RunningManager) -> None:
    manager.write_module("plain.py", PLAIN)
    manager.write_module("other.py", PLAIN.replace("plain", "other"))
    manager.start("pools: {p: {functions: [plain], preload: false}}\n")
    imported, ran = where(manager, "plain")
    assert imported == ran
    assert where(manager, "other")[0] == manager.pid_of("gearman-manager: zygote")


def test_changed_code_of_a_module_that_is_imported_late_is_loaded_too(manager: RunningManager) -> None:
    manager.write_module("plain.py", PLAIN)
    manager.start("pools: {p: {functions: [plain], preload: false}}\n")
    manager.write_module("plain.py", "def plain(job): return b'new'\n")
    with manager.client(timeout_s=20) as client:
        eventually(lambda: client.submit("plain", b"") == b"new", "the new code answers")
