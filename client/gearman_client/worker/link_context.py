"""The state that all links of one worker share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.readiness import Readiness
from gearman_client.worker.worker_settings import Batch, WorkerSettings


@dataclass(slots=True)
class LinkContext:
    """Settings, observer and poll object of a worker, and the functions that it offers: their names by their bytes."""

    settings: WorkerSettings
    observer: WorkerObserver
    readiness: Readiness
    functions: dict[bytes, str] = field(default_factory=dict)
    #: Those of the functions whose jobs come in batches.
    batches: dict[bytes, Batch] = field(default_factory=dict)
    #: The number of the last request for a set of jobs.
    set_number: int = 0

    def backoff_s(self, failures: int) -> float:
        """The pause after so many connections and attempts in a row that ended early."""
        doublings = min(max(failures, 1) - 1, 30)
        pause_s = min(self.settings.max_backoff_s, self.settings.first_backoff_s * float(2**doublings))
        return pause_s * random.uniform(0.5, 1.0)  # so that a hundred workers do not come back at the same moment
