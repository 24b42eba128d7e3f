"""The process that delivers one message to one target: `python -m gearman_manager.alerts.deliver DESCRIPTOR`.

The descriptor is of a file with the order, as JSON: addresses and passwords stand in no command line. It ends with 0 if
the target has taken the message; otherwise its last line is the reason.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, Final

from gearman_manager.alerts.message import Message
from gearman_manager.alerts.targets import Target
from gearman_manager.alerts.ways import Undelivered, deliver

FAILED: Final = 1


def main(descriptor: int) -> int:
    """Carry out the order."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us has blocked some
    with os.fdopen(descriptor, "rb") as file:
        ordered: dict[str, Any] = json.load(file)
    try:
        deliver(Target.from_json(ordered["target"]), Message(**ordered["message"]))
    except Undelivered as error:
        print(error, flush=True)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
