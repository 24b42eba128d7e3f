"""The states of pools and of workers, those first that need a look: the order of pages and of `top`. Pure."""

from __future__ import annotations

from typing import Final

POOL_STATES: Final = ("failing", "backing-off", "paused", "running", "retiring", "stopping")
#: Those that leave or come, then those that run jobs.
WORKER_STATES: Final = ("stopping", "draining", "starting", "ordered", "busy", "idle")
