"""Starts workers that run several jobs at once: by exec, so that gevent patches the standard library first."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.ipc.links import Links, descriptor_options
from gearman_manager.worker.order import Order

#: Not `-m`, which would import this package, and with it half of the standard library, before the patch.
_BOOTSTRAP: Final = (
    "from gevent import monkey; monkey.patch_all(); "
    "import sys; from gearman_manager.worker.concurrent_worker import main; main(sys.argv[1:])"
)


def start_concurrent_worker(links: Links, order: Order, output: int) -> process.Child:
    """Start a worker, with its order in a file that only it can read: the functions' settings may hold secrets.

    Raises:
        StartError: it can't be started.
    """
    try:
        memory = os.memfd_create("gearman-manager-order", os.MFD_CLOEXEC)
        with open(memory, "wb") as file:
            file.write(json.dumps(order.to_message()).encode())
            file.flush()
            os.lseek(memory, 0, os.SEEK_SET)
            descriptors = links.descriptors(order=memory, scoreboard=links.scoreboard.descriptor)
            # -P: a file in the working directory must not shadow a library.
            arguments = [sys.executable, "-P", "-c", _BOOTSTRAP, *descriptor_options(descriptors)]
            return process.start(arguments, list(descriptors.values()), output)
    except OSError as error:
        raise StartError(f"can't start a worker: {error.strerror}") from error
