"""A manager's processes seen from outside, and the checks of a clean end."""

from __future__ import annotations

import psutil

from .conftest import RunningManager, alive, eventually

WITHIN_S = 25.0  # only a condition that never becomes true waits for so long
STOPS_WITHIN_S = 20.0  # less than the 30 s of `stop_timeout`, so that a forced end does not pass for a clean one
WORKER, ZYGOTE, SERVER = "gearman-manager: worker ", "gearman-manager: zygote", "gearman-server: "
NAPPING = f"{WORKER}nap/"
NO_JOB_SERVER = "run_dir: run\nservers: ['127.0.0.1:1']\n"


def titled(manager: RunningManager, title: str) -> list[int]:
    """The processes below the supervisor whose titles start with this text; zombies have no title."""
    found = []
    for pid in manager.family()[1:]:
        try:
            if " ".join(psutil.Process(pid).cmdline()).startswith(title):
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def pids(manager: RunningManager, *pools: str) -> set[int]:
    """The workers of these pools."""
    return {worker["pid"] for pool in pools for worker in manager.workers(pool)}


def replaced(manager: RunningManager, before: set[int], *pools: str) -> None:
    """Wait until other workers have taken the place of these."""
    eventually(lambda: manager.settled() and not before & pids(manager, *pools), f"the workers of {pools} are replaced")


def end_without_a_trace(manager: RunningManager, *others: int) -> None:
    """The manager stops with 0, no process is left, and its log shows no traceback."""
    pids = [*manager.family(), *others]
    assert manager.stop(within_s=STOPS_WITHIN_S) == 0
    eventually(lambda: not any(alive(pid) for pid in pids), "no process is left", WITHIN_S)
    assert "Traceback" not in manager.log()


def launch(manager: RunningManager, config: str = NO_JOB_SERVER) -> None:
    """Start without waiting, with an empty log."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(config)
    manager.log_file.unlink(missing_ok=True)
    manager.launch()
