"""Starts workers that run several jobs at once: by exec, with the standard library patched before all else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.pools.zygote_process import Inherited

#: Not `-m`: that would import this package, and by it half of the standard library, before it is patched.
_BOOTSTRAP: Final = (
    "from gevent import monkey; monkey.patch_all(); "
    "import sys; from gearman_manager.worker.concurrent_worker import main; main(sys.argv[1:])"
)


def start_concurrent_worker(inherited: Inherited, message: dict[str, Any], output: int) -> process.Child:
    """Start one, its order in a file that only it can read: the functions' settings may hold secrets.

    Raises:
        StartError: it can't be started.
    """
    try:
        order = os.memfd_create("gearman-manager-order", os.MFD_CLOEXEC)
        with open(order, "wb") as file:
            file.write(json.dumps(message).encode())
            file.flush()
            os.lseek(order, 0, os.SEEK_SET)
            return process.start(_arguments(order, inherited), _descriptors(order, inherited), output)
    except OSError as error:
        raise StartError(f"can't start a worker: {error.strerror}") from error


def _arguments(order: int, inherited: Inherited) -> list[str]:
    names = ("--order", "--scoreboard", "--lifeline", "--doorbell")
    options = [text for pair in zip(names, map(str, _descriptors(order, inherited)), strict=True) for text in pair]
    # -P: a file in the working directory must not shadow a library.
    return [sys.executable, "-P", "-c", _BOOTSTRAP, *options]


def _descriptors(order: int, inherited: Inherited) -> Sequence[int]:
    return order, inherited.scoreboard.descriptor, inherited.lifeline, inherited.doorbell
