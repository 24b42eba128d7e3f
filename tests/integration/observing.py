"""Looking at a manager's processes from outside, and at how it ends."""

from __future__ import annotations

import psutil

from .conftest import RunningManager, alive, eventually

WITHIN_S = 25.0  # what never comes is waited for longer, what comes is not
STOPS_WITHIN_S = 20.0  # before the 30 s of `stop_timeout` would end what does not end by itself
WORKER, ZYGOTE, SERVER = "gearman-manager: worker ", "gearman-manager: zygote", "gearman-server: "
NAPPING = f"{WORKER}nap/"
NO_JOB_SERVER = "run_dir: run\nservers: ['127.0.0.1:1']\n"


def titled(manager: RunningManager, title: str) -> list[int]:
    """The processes below the supervisor whose titles start so; zombies have none."""
    found = []
    for pid in manager.family()[1:]:
        try:
            if " ".join(psutil.Process(pid).cmdline()).startswith(title):
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def end_without_a_trace(manager: RunningManager, *others: int) -> None:
    """It stops with 0, no process is left, and nothing of what happened was a surprise to it."""
    pids = [*manager.family(), *others]
    assert manager.stop(within_s=STOPS_WITHIN_S) == 0
    eventually(lambda: not any(alive(pid) for pid in pids), "no process is left", WITHIN_S)
    assert "Traceback" not in manager.log()


def launch(manager: RunningManager, config: str = NO_JOB_SERVER) -> None:
    """Start without waiting, with a log of its own."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(config)
    manager.log_file.unlink(missing_ok=True)
    manager.launch()
