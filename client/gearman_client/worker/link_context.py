"""The state that all links of one worker share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from gearman_client.address import Address
from gearman_client.connection.roster import Roster
from gearman_client.extensions import (
    CHECKPOINTS_OPTION,
    JOB_FAILURE_OPTION,
    JOB_OPTIONS_OPTION,
    ORPHANED_JOBS_OPTION,
    OWN_STOPS_OPTION,
    SERVERS_OPTION,
)
from gearman_client.packet import PacketType, encode_request
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.orphans import Orphans
from gearman_client.worker.readiness import Readiness
from gearman_client.worker.worker_settings import Batch, WorkerSettings

#: What a server of ours is asked for, beside the attempt number by which it is known.
OPTIONS_OF_OURS: Final = (
    JOB_FAILURE_OPTION,
    JOB_OPTIONS_OPTION,
    CHECKPOINTS_OPTION,
    ORPHANED_JOBS_OPTION,
    OWN_STOPS_OPTION,
)
#: The same, and the servers of its cluster.
KNOWN_OPTIONS: Final = (*OPTIONS_OF_OURS, SERVERS_OPTION)
#: The longest pause of a worker that has to tell of jobs: a server that has come up waits 1.5 seconds for words.
WORD_PAUSE_S: Final = 0.75
#: The answer of a server that does not know one of them.
UNKNOWN_OPTION: Final = b"UNKNOWN_OPTION\0"


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
    #: Whether the worker was told to end, so that jobs which can be interrupted give way.
    must_leave: Callable[[], bool] = bool
    #: The jobs whose servers are gone.
    orphans: Orphans = field(default_factory=Orphans)
    #: The servers that are known; None: only those that were given, and none tells of others.
    roster: Roster | None = None

    def option_requests(self) -> bytes:
        """The packets that ask a server of ours for its extensions."""
        wanted = OPTIONS_OF_OURS if self.settings.hears_stops else OPTIONS_OF_OURS[:-1]
        if self.roster is not None:
            wanted = (*wanted, SERVERS_OPTION)
        return b"".join(encode_request(PacketType.OPTION_REQ, option) for option in wanted)

    def learn(self, told_by: Address, table: bytes) -> None:
        """Take in what a server tells of its cluster."""
        if self.roster is not None:
            is_of_cluster = self.roster.learn(told_by, table, monotonic())
            if is_of_cluster or self.roster.dead:
                self.orphans.note_dead(self.roster.dead)

    def backoff_s(self, failures: int) -> float:
        """The pause after so many connections and attempts in a row that ended early."""
        doublings = min(max(failures, 1) - 1, 30)
        longest_s = self.settings.max_backoff_s
        if self.orphans.has_words:
            longest_s = min(longest_s, WORD_PAUSE_S)
        pause_s = min(longest_s, self.settings.first_backoff_s * float(2**doublings))
        return pause_s * random.uniform(0.5, 1.0)  # so that a hundred workers do not come back at the same moment
